//! Rows of the ledger that this version cannot read: they are named, and all others go on.

use reelshift_tests::http::Request;
use reelshift_tests::server::{OPERATOR, Server};
use reelshift_tests::{LIMIT, Legacy, Reelshift, oracle, until, wait};

async fn others_go_on(legacy: Legacy, spoil: &str, names: &[&str]) {
    let dir = tempfile::tempdir().expect("a directory");
    let reelshift =
        |arguments: &[&str]| Reelshift::new(dir.path(), arguments).database(&legacy.url);
    legacy.fill(20).await;
    reelshift(&["apply", "expand"]).run().ok();
    legacy.execute("UPDATE videos SET file_path = 'a.mp4'").await;
    reelshift(&["enqueue", "hash"]).run().ok();
    legacy.execute(spoil).await;
    reelshift(&["enqueue", "backfill"]).run().ok();
    let mut worker = reelshift(&["work"]).start();
    let done = "SELECT COUNT(*) FROM reelshift_runs WHERE kind = 'backfill' AND state = 'done'";
    until("the other run is done", async || legacy.number(done).await == 1).await;
    assert_eq!(oracle::check_every_row(&legacy).await, 20);

    let status = reelshift(&["status"]).run().expect(5).stdout;
    let json = reelshift(&["--json", "status"]).run().expect(5).json();
    let unreadable = json["unreadable"][0].as_str().expect("a row").to_owned();
    let server = Server::start(dir.path(), &legacy).await;
    let get = |path: &str| server.send(&Request::get(path).bearer(OPERATOR)).expect(200).body;
    for name in names {
        assert!(unreadable.contains(name), "{name}: {unreadable}");
        assert!(status.contains(name), "{name}: {status}");
        assert!(get("/").contains(name), "{name}");
    }
    for path in ["/runs", "/workers", "/failures", "/api/v1/runs"] {
        get(path);
    }
    worker.kill().expect("it is killed");
    assert!(wait(&mut worker, LIMIT).is_none());
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_in_a_state_that_nobody_knows() {
    let spoil = "UPDATE reelshift_runs SET state = 'becalmed'";
    others_go_on(Legacy::mariadb().await, spoil, &["reelshift_runs", "becalmed"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_in_a_state_that_nobody_knows() {
    let spoil = "UPDATE reelshift_batches SET state = 'becalmed'";
    others_go_on(Legacy::mariadb().await, spoil, &["reelshift_batches", "becalmed"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_nobody_understands() {
    let spoil = "UPDATE reelshift_runs SET plan = '[]'";
    others_go_on(Legacy::mariadb().await, spoil, &["reelshift_runs", "plan"]).await;
    let dir = tempfile::tempdir().expect("a directory");
    others_go_on(Legacy::sqlite(dir.path()).await, spoil, &["reelshift_runs", "plan"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_nobody_understands_is_open_work() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in [Legacy::mariadb().await, Legacy::sqlite(dir.path()).await] {
        let reelshift =
            |arguments: &[&str]| Reelshift::new(dir.path(), arguments).database(&legacy.url);
        legacy.fill(3).await;
        reelshift(&["apply", "expand"]).run().ok();
        reelshift(&["enqueue", "backfill"]).run().ok();
        legacy.execute("UPDATE reelshift_runs SET plan = '[]'").await;
        let refused = reelshift(&["rollback", "--discard", "--yes"]).run().expect(4).stderr;
        assert!(refused.contains("reelshift_runs") && refused.contains("may be open"), "{refused}");
        legacy.drop_database().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_duties_and_batches_that_nobody_understands() {
    // SQLite takes no such value.
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    let reelshift =
        |arguments: &[&str]| Reelshift::new(dir.path(), arguments).database(&legacy.url);
    legacy.fill(20).await;
    reelshift(&["apply", "expand"]).run().ok();
    reelshift(&["enqueue", "backfill", "--batch-size", "10"]).run().ok();
    reelshift(&["work", "--until-idle"]).run().ok();
    for spoil in [
        "UPDATE reelshift_workers SET state = 'becalmed'",
        "INSERT INTO reelshift_duties (name, beat_at, state) \
         VALUES ('odd', CURRENT_TIMESTAMP, 'garbage')",
        "UPDATE reelshift_batches SET state = 'becalmed' WHERE seq = 1",
    ] {
        legacy.execute(spoil).await;
    }
    let status = reelshift(&["status"]).run().expect(5).stdout;
    for table in ["reelshift_workers", "reelshift_duties", "reelshift_batches"] {
        assert!(status.contains(table), "{table}: {status}");
    }
    // What cannot be read may be open.
    assert!(status.contains("NEEDS ATTENTION"), "{status}");
    let waited = reelshift(&["wait", "--for", "done"]).run().expect(1).stderr;
    assert!(waited.contains("cannot be read"), "{waited}");
    for list in ["workers", "batches"] {
        reelshift(&[list]).run().ok();
    }
    let server = Server::start(dir.path(), &legacy).await;
    for path in ["/", "/workers", "/api/v1/status", "/api/v1/workers", "/api/v1/batches"] {
        let _answer = server.send(&Request::get(path).bearer(OPERATOR)).expect(200);
    }
    // The fleet goes on.
    reelshift(&["enqueue", "backfill", "--where", "status=uploaded"]).run().ok();
    reelshift(&["enqueue", "validate"]).run().ok();
    let _undone = reelshift(&["work", "--until-idle"]).run();
    let done = "SELECT COUNT(*) FROM reelshift_runs WHERE kind = 'validate' AND state = 'done'";
    assert_eq!(legacy.number(done).await, 1);
    legacy.drop_database().await;
}
