//! How far are we? The API's status, its stream, one run's progress, and the fleet's metrics;
//! and what begins and ends work by the API alone.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use reelshift_tests::http::{Answer, Request};
use reelshift_tests::server::{OPERATOR, Server, VIEWER};
use reelshift_tests::{Legacy, Reelshift, until};
use serde_json::{Value, json};

/// Both dialects, each with 30 videos whose first phase is applied.
async fn expanded(directory: &Path) -> Vec<Legacy> {
    let databases = vec![Legacy::sqlite(directory).await, Legacy::mariadb().await];
    for legacy in &databases {
        legacy.fill(30).await;
        Reelshift::new(directory, &["apply", "expand"]).database(&legacy.url).run().ok();
    }
    databases
}

fn get(server: &Server, path: &str) -> Answer {
    server.send(&Request::get(path).bearer(VIEWER))
}

fn post(server: &Server, path: &str, body: &Value) -> Answer {
    server.send(&Request::new("POST", path).bearer(OPERATOR).json(body))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_is_driven_and_followed_by_the_api() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in expanded(dir.path()).await {
        let server = Server::start(dir.path(), &legacy).await;
        let status = || get(&server, "/api/v1/status").expect(200).json();
        assert_eq!(status()["verdict"]["kind"], "idle");

        let plan = json!({ "kind": "backfill", "batch_rows": 5 });
        let begun = post(&server, "/api/v1/runs", &plan).expect(201).json();
        assert_eq!((&begun["created"], &begun["batches_added"]), (&true.into(), &6.into()));
        assert_eq!(begun["run"]["created_by"], "ann@127.0.0.1");
        let again = post(&server, "/api/v1/runs", &plan).expect(200).json();
        assert_eq!((&again["created"], &again["run"]["id"]), (&false.into(), &begun["run"]["id"]));
        let path = format!("/api/v1/runs/{}", begun["run"]["id"].as_str().expect("an id"));
        let run = || get(&server, &path).expect(200).json();
        assert_eq!(run()["batches"]["pending"], 6);
        assert_eq!(run()["progress"]["percent"], 0.0);
        until("the verdict", async || status()["verdict"]["kind"] == "dead").await;

        let arguments = ["work", "--until-idle", "--concurrency", "1"];
        Reelshift::new(dir.path(), &arguments).database(&legacy.url).run().ok();
        until("it is done", async || status()["verdict"]["kind"] == "done").await;
        let (status, run) = (status(), run());
        assert_eq!((&run["state"], &run["rows_done"]), (&"done".into(), &30.into()));
        assert_eq!(run["progress"]["percent"], 100.0);
        assert_eq!(status["runs"][0]["batches"]["done"], 6);
        assert_eq!(status["progress"][0]["run"], run["id"]);
        let phases = status["phases"].as_array().expect("phases");
        assert_eq!(
            (&phases[1]["phase"], &phases[1]["progress"]),
            (&"backfill".into(), &"done".into())
        );
        assert!(status["age_seconds"].is_number() && status["trouble"].is_null());

        // The command line prints the same document.
        let printed = Reelshift::new(dir.path(), &["status", "--json"]).database(&legacy.url).run();
        for (name, value) in printed.json().as_object().expect("an object") {
            assert!(status.get(name).is_some(), "{name} is in both: {value}");
        }

        let validation = json!({ "kind": "validate" });
        let begun = post(&server, "/api/v1/runs", &validation).expect(201).json();
        let arguments = ["work", "--until-idle"];
        Reelshift::new(dir.path(), &arguments).database(&legacy.url).run().ok();
        let path = format!("/api/v1/runs/{}/checks", begun["run"]["id"].as_str().expect("an id"));
        let checks = get(&server, &path).expect(200).json();
        let checks = checks["checks"].as_array().expect("checks");
        assert!(!checks.is_empty() && checks.iter().all(|check| check["verdict"] != "difference"));

        let metrics = get(&server, "/metrics").expect(200).body;
        for line in [
            "reelshift_fleet_verdict",
            "reelshift_fleet_batches",
            "reelshift_batch_state=\"done\"",
            "reelshift_fleet_workers",
            "reelshift_fleet_quarantined",
        ] {
            assert!(metrics.contains(line), "{line}: {metrics}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_enqueued_is_refused_and_makes_no_run() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in expanded(dir.path()).await {
        let server = Server::start(dir.path(), &legacy).await;
        for (body, word) in [
            (json!({ "kind": "hash", "where": { "status": "no such" } }), "no video meets"),
            (json!({ "kind": "backfill", "batch_rows": 0 }), "batch_rows=0"),
            (json!({ "kind": "hash", "batch_bytes": 0 }), "batch_bytes=0"),
            (json!({ "kind": "hash", "max_attempts": 101 }), "give 1 to 100"),
            (json!({ "kind": "validate", "where": { "project": "p" } }), "leave `where` out"),
        ] {
            let refused = post(&server, "/api/v1/runs", &body).expect(400);
            assert!(refused.body.contains(word), "{body}: {refused:?}");
        }
        let unknown = json!({ "kind": "backfill", "size": 5 });
        assert_eq!(post(&server, "/api/v1/runs", &unknown).expect(422).problem(), "unprocessable");
        assert_eq!(legacy.number("SELECT COUNT(*) FROM reelshift_runs").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_is_streamed() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await.remove(0);
    let server = Server::start(dir.path(), &legacy).await;
    let mut stream = TcpStream::connect(server.address).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
    let request = format!(
        "GET /api/v1/status/stream HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {VIEWER}\r\n\r\n",
        server.address
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut received = String::new();
    let mut buffer = [0_u8; 16 * 1_024];
    while received.matches("event: status").count() < 3 || !received.ends_with("\n\n\r\n") {
        let some = stream.read(&mut buffer).expect("it goes on");
        assert!(some > 0, "it ends: {received}");
        received.push_str(&String::from_utf8_lossy(&buffer[..some]));
    }
    assert!(received.contains("content-type: text/event-stream"), "{received}");
    let data = received.split("event: status\ndata: ").nth(1).expect("an event");
    let status: Value =
        serde_json::from_str(data.split('\n').next().expect("a line")).expect("JSON");
    assert_eq!(status["verdict"]["kind"], "idle");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_drained_and_plans_are_shown() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in expanded(dir.path()).await {
        let server = Server::start(dir.path(), &legacy).await;
        let mut worker = Reelshift::new(dir.path(), &["work"]).database(&legacy.url).start();
        let workers = || get(&server, "/api/v1/workers?state=live").expect(200).json();
        until("it is there", async || workers()["items"][0]["id"].is_string()).await;
        let id = workers()["items"][0]["id"].as_str().expect("an id").to_owned();
        let drain = format!("/api/v1/workers/{}/drain", &id[24..]);
        let _told = post(&server, &drain, &json!({ "reason": "a new kernel" })).expect(202);
        assert_eq!(reelshift_tests::wait(&mut worker, Duration::from_secs(60)), Some(0));
        assert_eq!(post(&server, &drain, &json!({})).expect(409).problem(), "conflict");
        let entry = get(&server, "/api/v1/audit?subject=worker").expect(200).json();
        assert_eq!(entry["items"][0]["reason"], "a new kernel");

        let plan = get(&server, "/api/v1/phases/index/plan").expect(200).json();
        assert_eq!(plan["done"], false);
        let sql = plan["statements"][0]["sql"].as_str().expect("a statement");
        assert!(sql.to_uppercase().contains("INDEX"), "{plan}");
        let done = get(&server, "/api/v1/phases/expand/plan").expect(200).json();
        assert_eq!((&done["done"], &done["statements"]), (&true.into(), &json!([])));
        let back = post(&server, "/api/v1/rollback/plan", &json!({ "to": "legacy" })).expect(200);
        let steps = back.json()["steps"].as_array().expect("steps").len();
        assert!(steps > 5, "{}", back.body);
        let count = "SELECT COUNT(*) FROM reelshift_schema_steps";
        let before = legacy.number(count).await;
        let _again = post(&server, "/api/v1/rollback/plan", &json!({ "purge": true })).expect(200);
        assert_eq!(legacy.number(count).await, before, "nothing was undone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn phases_are_applied_over_http() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in expanded(dir.path()).await {
        let server = Server::start(dir.path(), &legacy).await;
        let path = |phase: &str| format!("/api/v1/phases/{phase}/apply");
        let none = json!({});
        let viewer = Request::new("POST", &path("index")).bearer(VIEWER).json(&none);
        assert_eq!(server.send(&viewer).expect(403).problem(), "forbidden");
        for (phase, body, status) in [
            ("backfill", &none, 400),
            ("index", &json!({ "patience_seconds": 0 }), 400),
            ("index", &json!({ "patience": 1 }), 422),
        ] {
            assert_eq!(post(&server, &path(phase), body).status, status, "{phase} {body}");
        }
        assert_eq!(get(&server, &path("index")).expect(404).problem(), "not-found");

        for phase in ["index", "automate", "expand"] {
            let begun = post(&server, &path(phase), &json!({ "reason": "a quiet hour" }));
            assert_eq!(begun.expect(202).json()["phase"], phase);
            let last = || get(&server, &path(phase)).expect(200).json();
            until("it is over", async || !last()["finished_at"].is_null()).await;
            assert_eq!((&last()["complete"], &last()["trouble"]), (&true.into(), &Value::Null));
            let outcome = if phase == "expand" { "already_done" } else { "applied" };
            let steps = last()["steps"].as_array().cloned().expect("steps");
            assert!(!steps.is_empty(), "{phase}");
            assert!(steps.iter().all(|step| step["outcome"] == outcome), "{steps:?}");
        }
        let entry = get(&server, "/api/v1/audit?subject=schema&limit=1").expect(200).json();
        assert_eq!(entry["items"][0]["reason"], "a quiet hour");
        assert!(entry["items"][0]["changed_by"].to_string().contains("@127.0.0.1"), "{entry}");

        // A phase that fails says why.
        legacy.execute("ALTER TABLE reelshift_schema_steps RENAME TO elsewhere").await;
        let _begun = post(&server, &path("index"), &none).expect(202);
        let last = || get(&server, &path("index")).expect(200).json();
        until("it fails", async || last()["trouble"].is_string()).await;
        assert_eq!(last()["complete"], false);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn notifications_are_listed_and_sent() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in expanded(dir.path()).await {
        let server = Server::start(dir.path(), &legacy).await;
        let path = "/api/v1/notifications";
        let message = json!({ "type": "maintenance", "room": "video_1", "data": { "at": "noon" } });
        let sent = post(&server, path, &message).expect(201).json();
        assert_eq!(sent["delivers"], false);
        for (wrong, word) in [
            (json!({ "type": "x" }), "for nobody"),
            (json!({ "type": "", "broadcast": true }), "give 1 to 50"),
            (json!({ "type": "x", "user": "u".repeat(37) }), "user has 37 characters"),
        ] {
            let refused = post(&server, path, &wrong).expect(400);
            assert!(refused.body.contains(word), "{refused:?}");
        }
        let list = |query: &str| {
            get(&server, &format!("{path}?{query}")).expect(200).json()["items"].clone()
        };
        let one = list("state=pending&type=maintenance");
        assert_eq!((&one[0]["id"], &one[0]["room_name"]), (&sent["id"], &"video_1".into()));
        legacy
            .execute("UPDATE realtime_notification_queue SET status = 'failed', last_error = 'no'")
            .await;
        assert_eq!(list("state=failed")[0]["last_error"], "no");
        assert_eq!(list("state=sent"), json!([]));
        let _unknown = get(&server, &format!("{path}?state=lost")).expect(400);
    }
}
