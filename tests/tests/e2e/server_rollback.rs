//! A rollback beside a running server: what is read is answered in the old shape, nothing is
//! switched on that is not there, and off is always possible.

use std::path::Path;

use reelshift_tests::http::{Answer, Request, csrf};
use reelshift_tests::server::{OPERATOR, Server};
use reelshift_tests::{Legacy, Ran, Reelshift, until};
use serde_json::{Value, json};
use sqlx::Row as _;

fn run(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> Ran {
    Reelshift::new(directory, arguments).database(&legacy.url).run()
}

fn set(server: &Server, flag: &str, wanted: &Value) -> Answer {
    let path = format!("/api/v1/flags/{flag}");
    server.send(&Request::new("PUT", &path).bearer(OPERATOR).json(wanted))
}

fn emergency(server: &Server) -> Value {
    let off = Request::new("POST", "/api/v1/flags/emergency-disable").bearer(OPERATOR);
    server.send(&off.json(&json!({}))).expect(200).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_are_read_and_flags_go_off_whatever_is_rolled_back() {
    let dir = tempfile::tempdir().expect("a directory");
    for (legacy, archive) in
        [(Legacy::sqlite(dir.path()).await, "a"), (Legacy::mariadb().await, "b")]
    {
        legacy.fill(3).await;
        run(dir.path(), &legacy, &["apply", "expand"]).ok();
        let server = Server::start(dir.path(), &legacy).await;
        let video: String = legacy.rows("SELECT id FROM videos").await[0].get(0);
        let path = format!("/videos/{video}/status");
        let status = || server.send(&Request::get(&path).bearer(OPERATOR)).expect(200).json();
        for flag in ["enhanced_video_processing", "advanced_error_handling"] {
            let set = set(&server, flag, &json!({ "enabled": true })).expect(200).json();
            assert_eq!(set["changes"][0]["enabled"], true);
        }
        until("the new shape is read", async || status()["enhanced_processing"] == true).await;

        let archive = dir.path().join(archive).display().to_string();
        run(dir.path(), &legacy, &["rollback", "--archive", &archive]).ok();
        assert_eq!(status()["enhanced_processing"], false, "the flag is on, its columns are gone");
        // Who rolled back can be looked up.
        let activity = server.send(&Request::get("/activity").bearer(OPERATOR)).expect(200).body;
        assert!(activity.contains("rolled back"), "{activity}");
        let audit = run(dir.path(), &legacy, &["audit"]).expect(0).stdout;
        assert!(audit.contains("rollback"), "{audit}");
        let half = json!({ "enabled": true, "rollout_percent": 50 });
        let refused = set(&server, "enhanced_video_processing", &half).expect(409);
        assert!(refused.json()["detail"].as_str().is_some_and(|why| why.contains("expand")));
        let enable = run(dir.path(), &legacy, &["flags", "enable", "enhanced_video_processing"]);
        assert_eq!(enable.code, Some(4), "{enable:?}");
        let off = set(&server, "advanced_error_handling", &json!({ "enabled": false })).expect(200);
        assert_eq!(off.json()["changes"][0]["enabled"], false);
        assert_eq!(emergency(&server)["changes"].as_array().map(Vec::len), Some(3));
        run(dir.path(), &legacy, &["flags", "emergency-disable"]).ok();

        run(dir.path(), &legacy, &["rollback", "--discard", "--purge", "--yes"]).ok();
        assert_eq!(status()["enhanced_processing"], false);
        assert_eq!(emergency(&server)["changes"], json!([]), "there is nothing left to be on");
        let none = run(dir.path(), &legacy, &["flags", "emergency-disable"]).expect(0);
        assert!(none.stdout.contains("no feature flags"), "{none:?}");
        legacy.drop_database().await;
    }
}

/// The page that is shown after the form at `path` was sent.
fn page_after(server: &Server, path: &str) -> String {
    let page = server.send(&Request::get("/failures")).expect(200).body;
    let form = format!("csrf={}&back=%2Ffailures", csrf(&page));
    let answer = server.send(&Request::new("POST", path).form(&form)).expect(303);
    let cookie = answer.header("set-cookie").expect("what came of it").to_owned();
    let cookie = cookie.split(';').next().expect("a cookie");
    server.send(&Request::get("/failures").header("Cookie", cookie)).expect(200).body
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_enqueued_while_a_rollback_is_open_or_expand_is_gone() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in [Legacy::sqlite(dir.path()).await, Legacy::mariadb().await] {
        legacy.fill(3).await;
        run(dir.path(), &legacy, &["apply", "expand"]).ok();
        run(dir.path(), &legacy, &["enqueue", "backfill"]).ok();
        run(dir.path(), &legacy, &["work", "--until-idle"]).ok();
        legacy.execute("UPDATE reelshift_batches SET state = 'failed'").await;
        legacy.execute("UPDATE reelshift_runs SET state = 'failed'").await;
        let server = Server::start(dir.path(), &legacy).await;
        let post = |path: &str, body: &Value| {
            server.send(&Request::new("POST", path).bearer(OPERATOR).json(body))
        };
        // Without tokens: who is on this machine is operator, and forms need no login.
        let pages = Server::start_with(dir.path(), &legacy, &[]).await;
        for state in ["archiving", "undoing"] {
            legacy.execute("DELETE FROM reelshift_rollbacks").await;
            let open = format!(
                "INSERT INTO reelshift_rollbacks (id, state, directory, started_by, started_at) VALUES \
                 ('6f0d2b0c-8a4e-4f53-9b6e-6c7f1d3e2a10', '{state}', '/kept', 'ops@host', \
                  '2026-01-02 03:04:05.000')"
            );
            legacy.execute(&open).await;
            let why =
                "the rollback that ops@host began at 2026-01-02 03:04:05 UTC is not at its end";
            let refused = |answer: Answer| {
                let detail = answer.expect(409).json()["detail"].to_string();
                assert!(detail.contains(why), "{detail}");
            };
            refused(post("/api/v1/rerun", &json!({})));
            refused(post("/api/v1/rerun", &json!({ "dry_run": true })));
            refused(post("/api/v1/runs", &json!({ "kind": "hash" })));
            let page = page_after(&pages, "/actions/rerun");
            assert!(page.contains(&format!("Not done: {why}")), "{page}");
        }
        let counted = async |sql: &str| legacy.number(sql).await;
        assert_eq!(counted("SELECT COUNT(*) FROM reelshift_runs").await, 1, "none was begun");
        assert_eq!(counted("SELECT COUNT(*) FROM reelshift_batches").await, 1);

        legacy.execute("DELETE FROM reelshift_rollbacks").await;
        run(dir.path(), &legacy, &["rollback", "--discard", "--yes"]).ok();
        let refused = post("/api/v1/runs", &json!({ "kind": "hash" })).expect(409).json();
        assert!(refused["detail"].to_string().contains("apply expand"), "{refused}");
        let refused = post("/api/v1/rerun", &json!({})).expect(409).json();
        assert!(refused["detail"].to_string().contains("apply expand"), "{refused}");
        legacy.drop_database().await;
    }
}
