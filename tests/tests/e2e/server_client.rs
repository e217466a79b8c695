//! A client that openapi-generator makes of the OpenAPI document takes a migration through
//! its phases. It checks every answer against the document.

use std::path::Path;
use std::process::Command;

use reelshift_tests::chaos::skipped;
use reelshift_tests::server::{OPERATOR, Server};
use reelshift_tests::{Legacy, Reelshift};
use serde_json::json;

/// Where the task that runs the tests has installed it, with what its clients need.
const PROGRAM: &str = "REELSHIFT_TEST_OPENAPI_GENERATOR";

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_client_drives_a_migration() {
    let Some(program) = std::env::var_os(PROGRAM) else {
        return skipped(&format!("{PROGRAM} is not set: run `cargo xtask test`"));
    };
    let dir = tempfile::tempdir().expect("a directory");
    let directory = dir.path();
    let legacy = Legacy::mariadb().await;
    legacy.fill(60).await;
    let root = legacy.share_one_file(directory).await;
    legacy.execute("UPDATE videos SET file_size = 4").await;
    legacy.execute("UPDATE videos SET file_path = 'missing.mp4' LIMIT 1").await;
    Reelshift::new(directory, &["apply", "expand"]).database(&legacy.url).run().ok();
    let server = Server::start(directory, &legacy).await;

    let url = format!("http://{}", server.address);
    let client = directory.join("client");
    let generated = Command::new(&program)
        .args(["generate", "--generator-name", "python", "--package-name", "reelshift_client"])
        .args(["--input-spec", &format!("{url}/openapi.json")])
        .arg("--output")
        .arg(&client)
        .output()
        .expect("it runs");
    assert!(generated.status.success(), "{}", String::from_utf8_lossy(&generated.stderr));

    let mut worker =
        Reelshift::new(directory, &["work"]).database(&legacy.url).media(&root).start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/generated_client.py");
    let driven = Command::new(Path::new(&program).with_file_name("python"))
        .arg("-B")
        .arg(script)
        .args([&url, OPERATOR])
        .env("PYTHONPATH", &client)
        .output()
        .expect("Python runs");
    worker.kill().expect("it is killed");
    worker.wait().expect("it is gone");
    let trouble = String::from_utf8_lossy(&driven.stderr);
    assert!(driven.status.success(), "{trouble}\n{}", server.log());

    let seen: serde_json::Value = serde_json::from_slice(&driven.stdout).expect("JSON");
    for (what, right) in [
        ("expanded", json!(true)),
        ("paused", json!(1)),
        ("backfill", json!(["done", 60])),
        ("hash", json!("done")),
        ("errors", json!(["file_missing"])),
        ("would_rerun", json!(1)),
        ("accepted", json!(1)),
        ("refused", json!([409, "urn:reelshift:problem:conflict"])),
        ("valid", json!(true)),
    ] {
        assert_eq!(seen[what], right, "{what}: {seen}");
    }
    for phase in ["expand", "backfill", "index", "automate"] {
        assert_eq!(seen["phases"][phase], "done", "{phase}: {seen}");
    }
    // The worker lives, so the way back is shown and refused.
    assert_eq!(seen["rollback"][0], true, "{seen}");
    assert_eq!(seen["rollback"][1].as_array().map(Vec::len), Some(1), "{seen}");
    for action in ["accept", "apply", "enqueue", "reset", "rollout", "set"] {
        let done = seen["audit"].as_array().expect("what was done");
        assert!(done.contains(&json!(action)), "{action}: {seen}");
    }
    legacy.drop_database().await;
}
