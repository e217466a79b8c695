//! Which of the application's statements the fleet slows: where the server counts them.

use std::path::Path;

use reelshift_tests::chaos::server::Server;
use reelshift_tests::orm::script::Orm;
use reelshift_tests::{Legacy, Reelshift, backlog, until};
use serde_json::Value;

/// Batches of one row that are due at a time, so that the fleet writes for as long as it takes.
const DUE: usize = 3;

fn run(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> Value {
    let arguments = [&["--json"], arguments].concat();
    Reelshift::new(directory, &arguments).database(&legacy.url).run().json()
}

/// Runs a fleet beside the ORM's application. Returns the slowed statements that `status` lists,
/// and its text; `None` where there is no ORM.
async fn slowed(option: &str) -> Option<(Value, String)> {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let server = Server::start_with_options(&[option]).await;
    let legacy = Legacy::empty_on(server.url()).await;
    let orm = Orm::of(&legacy.url)?;
    orm.fill(4_000);
    run(dir, &legacy, &["apply", "expand"]);
    run(dir, &legacy, &["enqueue", "backfill", "--batch-size", "1"]);
    backlog::keep_back(&legacy, DUE).await;
    let application = orm.start(3);
    let mut worker = Reelshift::new(dir, &["work"]).database(&legacy.url).start();
    let mut published = Value::Null;
    until("an answer", async || {
        backlog::feed(&legacy, DUE).await;
        published = run(dir, &legacy, &["status"])["throttle"]["slowed"].take();
        published["unknown"].is_string()
            || published["statements"].as_array().is_some_and(|statements| !statements.is_empty())
    })
    .await;
    let status = Reelshift::new(dir, &["status"]).database(&legacy.url).run().stdout;
    worker.kill().expect("it is killed");
    worker.wait().expect("it is gone");
    assert!(application.end().iter().any(|phase| phase.transactions > 0), "it was at work");
    Some((published, status))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statements_that_suffer_are_named() {
    let Some((published, _)) = slowed("--performance-schema=ON").await else { return };
    for slowed in published["statements"].as_array().expect("statements") {
        let statement = slowed["statement"].as_str().expect("a text");
        let is_ours = statement.contains("reelshift") || statement.contains("FORCE INDEX");
        assert!(!is_ours, "{statement}");
        let mean = |side: &str| slowed["mean"][side].as_f64().expect("seconds");
        assert!(mean("with") > mean("without") && mean("without") > 0.0, "{slowed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_count_statements_says_so() {
    let Some((published, status)) = slowed("--performance-schema=OFF").await else { return };
    let why = published["unknown"].as_str().expect("a reason");
    assert!(why.contains("performance_schema is off"), "{why}");
    assert!(status.contains("slowed statements: not known, the server"), "{status}");
}
