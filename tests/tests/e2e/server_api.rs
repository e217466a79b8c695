//! The API of `serve` on both dialects: the specification's two shapes of a status, flags,
//! lists page by page, commands with their audit, two operators at once.

use std::path::Path;

use reelshift_tests::http::{Answer, Request};
use reelshift_tests::server::{OPERATOR, OTHER_OPERATOR, Server, VIEWER};
use reelshift_tests::{Legacy, Reelshift, until};
use serde_json::{Value, json};

fn run(directory: &Path, legacy: &Legacy, arguments: &[&str]) {
    Reelshift::new(directory, arguments).database(&legacy.url).run().ok();
}

/// Both dialects, each with 30 videos and a backfill that is done.
async fn migrated(directory: &Path) -> Vec<Legacy> {
    let databases = vec![Legacy::sqlite(directory).await, Legacy::mariadb().await];
    for legacy in &databases {
        legacy.fill(30).await;
        legacy.execute("UPDATE videos SET file_path = 'gone.mp4'").await;
        run(directory, legacy, &["apply", "expand"]);
        run(directory, legacy, &["enqueue", "backfill", "--batch-size", "5"]);
        run(directory, legacy, &["work", "--until-idle", "--concurrency", "1"]);
    }
    databases
}

fn get(server: &Server, path: &str) -> Answer {
    server.send(&Request::get(path).bearer(VIEWER))
}

fn send(server: &Server, method: &str, path: &str, body: &Value) -> Answer {
    server.send(&Request::new(method, path).bearer(OPERATOR).json(body))
}

const FLAG: &str = "/api/v1/flags/enhanced_video_processing";

#[tokio::test(flavor = "multi_thread")]
async fn a_status_has_the_shape_that_the_flag_gives_its_video() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in migrated(dir.path()).await {
        let server = Server::start(dir.path(), &legacy).await;
        let ids: Vec<String> = {
            use sqlx::Row as _;
            let rows = legacy.rows("SELECT id FROM videos ORDER BY id").await;
            rows.iter().map(|row| row.get("id")).collect()
        };
        let status = |id: &str| get(&server, &format!("/videos/{id}/status")).expect(200).json();
        let keys = |value: &Value| -> Vec<String> {
            value.as_object().expect("an object").keys().cloned().collect()
        };
        let legacy_keys = [
            "enhanced_processing",
            "filename",
            "ground_truth_generated",
            "id",
            "processing_status",
            "status",
            "updated_at",
        ];
        let enhanced_keys = [
            "current_stage",
            "enhanced_processing",
            "error_count",
            "estimated_completion",
            "filename",
            "id",
            "last_error",
            "processed_frames",
            "progress_percentage",
            "total_frames",
            "updated_at",
            "workflow_state",
        ];
        let mut seen = keys(&status(&ids[0]));
        seen.sort();
        assert_eq!(seen, legacy_keys);
        let missing = get(&server, "/videos/no-such-video/status").expect(404);
        assert_eq!(missing.problem(), "not-found");
        assert_eq!(missing.json()["detail"], "Video not found");

        for percent in [25_u64, 100, 0] {
            let wanted = json!({ "enabled": true, "rollout_percent": percent });
            let _changed = send(&server, "PUT", FLAG, &wanted).expect(200);
            let bucket = |id: &str| {
                let mut crc = u32::MAX;
                for byte in id.bytes() {
                    crc ^= u32::from(byte);
                    for _ in 0..8 {
                        crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
                    }
                }
                u64::from(!crc % 100)
            };
            until("every video has its shape", async || {
                ids.iter().all(|id| {
                    let status = status(id);
                    let enhanced = status["enhanced_processing"] == true;
                    let mut seen = keys(&status);
                    seen.sort();
                    let expected: &[&str] = if enhanced { &enhanced_keys } else { &legacy_keys };
                    assert_eq!(seen, expected);
                    enhanced == (bucket(id) < percent)
                })
            })
            .await;
        }
    }
}

/// All items of a list, in pages of `limit`.
fn all(server: &Server, path: &str, limit: u32) -> Vec<Value> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    loop {
        let sign = if path.contains('?') { '&' } else { '?' };
        let page = get(server, &format!("{path}{sign}limit={limit}{cursor}")).expect(200).json();
        let some = page["items"].as_array().expect("items").clone();
        assert!(some.len() <= limit as usize, "{path}");
        items.extend(some);
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_and_filtered() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in migrated(dir.path()).await {
        // Eleven files that are not there: failures and a quarantine, and too few for the
        // worker to doubt its media root.
        let media = dir.path().join("media");
        std::fs::create_dir_all(&media).expect("a directory");
        std::fs::write(media.join("another.mp4"), b"a film").expect("a file");
        legacy
            .execute(
                "UPDATE videos SET file_path = 'another.mp4' WHERE filename NOT LIKE 'video 1%'",
            )
            .await;
        run(dir.path(), &legacy, &["enqueue", "hash", "--batch-files", "4"]);
        let worked = Reelshift::new(dir.path(), &["work", "--until-idle", "--concurrency", "1"])
            .database(&legacy.url)
            .media(&media)
            .run();
        assert_eq!(worked.code, Some(5), "{worked:?}");
        let server = Server::start(dir.path(), &legacy).await;

        let runs = all(&server, "/api/v1/runs", 1);
        assert_eq!(runs.len(), 2);
        let hash = all(&server, "/api/v1/runs?kind=hash", 50);
        let run = hash[0]["id"].as_str().expect("an id");
        let one = get(&server, &format!("/api/v1/runs/{run}")).expect(200).json();
        for (name, value) in hash[0].as_object().expect("an object") {
            assert_eq!(&one[name], value, "{name} is as in the list");
        }
        let done = all(&server, "/api/v1/runs?state=paused", 50);
        assert_eq!(done, Vec::<Value>::new());

        let batches = all(&server, &format!("/api/v1/batches?run={run}"), 3);
        let counted = "SELECT COUNT(*) FROM reelshift_batches WHERE run_id = ";
        assert_eq!(batches.len() as i64, legacy.number(&format!("{counted}'{run}'")).await);
        let every = all(&server, "/api/v1/batches", 4);
        assert_eq!(
            every.len() as i64,
            legacy.number("SELECT COUNT(*) FROM reelshift_batches").await
        );
        let one = batches[0]["id"].as_str().expect("an id");
        assert_eq!(get(&server, &format!("/api/v1/batches/{one}")).expect(200).json(), batches[0]);

        let brief = all(&server, &format!("/api/v1/batches?run={run}&summary=true"), 3);
        assert_eq!(brief.len(), batches.len());
        let whole = batches.iter().filter(|batch| batch["bounds"]["items"][0].is_string());
        assert!(whole.count() > 0, "{batches:?}");
        assert!(brief.iter().all(|batch| batch["bounds"]["items"] == json!([])), "{brief:?}");

        let errors = all(&server, "/api/v1/errors", 7);
        let rows = legacy.number("SELECT COUNT(*) FROM processing_error_log").await;
        assert!(rows > 0 && errors.len() as i64 == rows, "{rows}");
        let ids: std::collections::BTreeSet<_> =
            errors.iter().map(|e| e["id"].to_string()).collect();
        assert_eq!(ids.len(), errors.len(), "each once");
        let missing = all(&server, "/api/v1/errors?type=file_missing&stage=hash", 50);
        assert_eq!(
            missing.len(),
            errors.iter().filter(|e| e["error_type"] == "file_missing").count()
        );
        let groups = get(&server, "/api/v1/errors/groups").expect(200).json();
        assert!(groups["age_seconds"].is_number() && groups["groups"][0]["count"].is_number());

        let quarantine = all(&server, &format!("/api/v1/quarantine?run={run}"), 4);
        let rows = legacy.number("SELECT COUNT(*) FROM reelshift_quarantine").await;
        assert!(rows > 0 && quarantine.len() as i64 == rows, "{rows}");
        let workers = all(&server, "/api/v1/workers?state=left", 1);
        assert_eq!(workers.len(), 2);

        let dry = json!({ "quarantined": true, "dry_run": true });
        let counted = send(&server, "POST", "/api/v1/rerun", &dry).expect(200).json();
        assert_eq!(counted["items"], rows);
        let again = json!({ "quarantined": true, "run": run });
        let done = send(&server, "POST", "/api/v1/rerun", &again).expect(200).json();
        assert_eq!(done, counted);
        assert_eq!(legacy.number("SELECT COUNT(*) FROM reelshift_quarantine").await, 0);
        let audit = all(&server, &format!("/api/v1/audit?run={run}"), 1);
        let told: Vec<_> = audit.iter().map(|entry| &entry["action"]).collect();
        assert_eq!(told, ["rerun", "enqueue"], "{audit:?}");
        assert_eq!(audit[0]["changed_by"], "ann@127.0.0.1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_and_settings_may_end_by_themselves() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in migrated(dir.path()).await {
        let server = Server::start(dir.path(), &legacy).await;
        let hour = json!({ "for_seconds": 3_600 });
        let _paused = send(&server, "POST", "/api/v1/controls/pause", &hour).expect(200);
        let controls = get(&server, "/api/v1/controls").expect(200).json();
        assert!(controls["pause"]["ends_at"].is_string(), "{controls}");
        let _resumed = send(&server, "POST", "/api/v1/controls/resume", &json!({})).expect(200);
        for (method, path, body) in [
            ("POST", "/api/v1/controls/pause", json!({ "for_seconds": 0 })),
            (
                "PATCH",
                "/api/v1/controls",
                json!({ "settings": { "lock_waits": "9" }, "for_seconds": 40_000_000 }),
            ),
        ] {
            let refused = send(&server, method, path, &body).expect(400);
            assert!(refused.body.contains("from 1 s to 366 days"), "{refused:?}");
        }
        let long = json!({ "reason": "why ".repeat(501) });
        let refused = send(&server, "POST", "/api/v1/controls/pause", &long).expect(422);
        assert!(refused.body.contains("2000 at the most"), "{refused:?}");
        let quiet = json!({ "settings": { "lock_waits": "8" }, "for_seconds": 1 });
        let _tuned = send(&server, "PATCH", "/api/v1/controls", &quiet).expect(200);
        let lock_waits = || {
            let controls = get(&server, "/api/v1/controls").expect(200).json();
            let mut settings = controls["settings"].as_array().into_iter().flatten();
            settings.find(|setting| setting["name"] == "lock_waits").expect("a setting").clone()
        };
        until("the setting's end", async || lock_waits()["stored"].is_null()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_done_and_recorded() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in migrated(dir.path()).await {
        run(dir.path(), &legacy, &["enqueue", "hash"]);
        let server = Server::start(dir.path(), &legacy).await;
        let hash = all(&server, "/api/v1/runs?kind=hash", 50);
        let path = format!("/api/v1/runs/{}", hash[0]["id"].as_str().expect("an id"));
        let command =
            |what: &str, body: Value| send(&server, "POST", &format!("{path}/{what}"), &body);
        let paused = command("pause", json!({ "reason": "lunch" })).expect(200).json();
        assert_eq!((&paused["state"], &paused["reason"]), (&"paused".into(), &"lunch".into()));
        assert_eq!(paused["decided_by"], "ann@127.0.0.1");
        assert_eq!(command("resume", json!({})).expect(200).json()["state"], "running");
        assert_eq!(command("resume", json!({})).expect(409).problem(), "conflict");
        let cancelled = command("cancel", json!({ "reason": "not now" })).expect(202).json();
        assert_eq!(cancelled["run"]["state"], "cancelled");
        until("the batches are cancelled", async || {
            let open = "SELECT COUNT(*) FROM reelshift_batches WHERE state = 'pending'";
            legacy.number(open).await == 0
        })
        .await;
        assert_eq!(command("pause", json!({})).expect(409).problem(), "conflict");
        let nobodys = "/api/v1/runs/0198f000-0000-7000-8000-000000000000/pause";
        assert_eq!(send(&server, "POST", nobodys, &json!({})).expect(404).problem(), "not-found");

        let _paused =
            send(&server, "POST", "/api/v1/controls/pause", &json!({ "reason": "night" }))
                .expect(200);
        let controls = get(&server, "/api/v1/controls").expect(200).json();
        assert_eq!(controls["pause"]["reason"], "night");
        assert!(controls["pause"]["ends_at"].is_null(), "{controls}");
        let _resumed = send(&server, "POST", "/api/v1/controls/resume", &json!({})).expect(200);
        let tuned =
            json!({ "settings": { "lock_waits": "7", "byte_rate": "1MiB" }, "reason": "slow" });
        let _tuned = send(&server, "PATCH", "/api/v1/controls", &tuned).expect(200);
        let wrong = json!({ "settings": { "lock_waits": "many" } });
        assert_eq!(
            send(&server, "PATCH", "/api/v1/controls", &wrong).expect(400).problem(),
            "bad-request"
        );
        let reset = json!({ "settings": { "byte_rate": null } });
        let _reset = send(&server, "PATCH", "/api/v1/controls", &reset).expect(200);
        let off = json!({ "reason": "trouble" });
        let changes =
            send(&server, "POST", "/api/v1/flags/emergency-disable", &off).expect(200).json();
        assert_eq!(changes["changes"].as_array().map(Vec::len), Some(3));

        let audit = all(&server, "/api/v1/audit", 2);
        let told: Vec<_> = audit
            .iter()
            .filter(|entry| entry["changed_by"] == "ann@127.0.0.1")
            .map(|entry| {
                let text = |name: &str| entry[name].as_str().unwrap_or("-").to_owned();
                format!(
                    "{} {} {} -> {} ({})",
                    text("name"),
                    text("action"),
                    text("previous"),
                    text("value"),
                    text("reason")
                )
            })
            .collect();
        let mut expected = vec![
            "run state running -> paused (lunch)",
            "run state paused -> running (-)",
            "run state running -> cancelled (not now)",
            "pause set - -> on (night)",
            "pause reset on -> - (-)",
            "byte_rate set - -> 1MiB (slow)",
            "lock_waits set - -> 7 (slow)",
            "byte_rate reset 1MiB -> - (-)",
        ];
        expected.reverse();
        assert_eq!(told[3..], expected, "{told:#?}");
        assert!(
            told[..3]
                .iter()
                .all(|line| line.contains("emergency_disable") && line.ends_with("(trouble)")),
            "{told:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_operators_the_second_is_told_of_the_first() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in migrated(dir.path()).await {
        let server = Server::start(dir.path(), &legacy).await;
        let seen = get(&server, "/api/v1/flags").expect(200).json();
        let flag = &seen["flags"][0];
        let expected =
            json!({ "enabled": flag["enabled"], "rollout_percent": flag["rollout_percent"] });
        let put = |token: &str, percent: u32| {
            let wanted =
                json!({ "enabled": true, "rollout_percent": percent, "expected": expected });
            server.send(&Request::new("PUT", FLAG).bearer(token).json(&wanted))
        };
        let _first = put(OPERATOR, 10).expect(200);
        let second = put(OTHER_OPERATOR, 90).expect(409);
        assert_eq!(second.problem(), "conflict");
        assert!(second.body.contains("ann@127.0.0.1"), "{second:?}");
        let flags = get(&server, "/api/v1/flags").expect(200).json();
        assert_eq!(flags["flags"][0]["rollout_percent"], 10, "nothing of the second");
        let tune = |token: &str, value: &str| {
            let body =
                json!({ "settings": { "lock_waits": value }, "expected": { "lock_waits": null } });
            server.send(&Request::new("PATCH", "/api/v1/controls").bearer(token).json(&body))
        };
        let _first = tune(OTHER_OPERATOR, "3").expect(200);
        let second = tune(OPERATOR, "4").expect(409);
        assert!(second.body.contains("ben@127.0.0.1"), "{second:?}");
        assert_eq!(
            legacy.number("SELECT COUNT(*) FROM reelshift_audit WHERE name = 'lock_waits'").await,
            1
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validation_is_made_beside_the_requests() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in migrated(dir.path()).await {
        let server = Server::start(dir.path(), &legacy).await;
        let path = "/api/v1/validation";
        assert!(get(&server, path).expect(200).json()["report"].is_null());
        let _begun = server.send(&Request::new("POST", path).bearer(OPERATOR)).expect(202);
        until("the report", async || !get(&server, path).expect(200).json()["report"].is_null())
            .await;
        let known = get(&server, path).expect(200).json();
        assert_eq!(
            (&known["report"]["valid"], &known["report"]["by"]),
            (&true.into(), &"ann@127.0.0.1".into())
        );
        assert!(known["age_seconds"].as_f64().is_some_and(|age| age < 60.0), "{known}");
        assert!(known["running_since"].is_null());
        let metrics = get(&server, "/metrics").expect(200);
        assert!(metrics.body.contains("process_memory_usage"), "{}", metrics.body);
    }
}
