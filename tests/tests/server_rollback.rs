//! A rollback beside a running server: what is read is answered in the old shape, nothing is
//! switched on that is not there, and off is always possible.

use std::path::Path;

use reelshift_tests::http::{Answer, Request};
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
