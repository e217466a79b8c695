//! A worker that has run out of descriptors: nothing of that is the batch's fault or the
//! file's.

use std::process::Command;

use reelshift_tests::{LIMIT, Legacy, Reelshift, until, wait};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_descriptors_ends_and_costs_no_attempt() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    legacy.fill(100).await;
    let media = legacy.share_one_file(dir.path()).await;
    let reelshift = |arguments: &[&str]| {
        Reelshift::new(dir.path(), arguments).database(&legacy.url).media(&media)
    };
    reelshift(&["apply", "expand"]).run().ok();
    let log = dir.path().join("worker.log");
    let mut worker = reelshift(&["work"]).start_logging(&log);
    let idle = "SELECT COUNT(*) FROM reelshift_workers
                WHERE state = 'live' AND doing = 'waiting for batches'";
    until("the worker waits", async || legacy.number(idle).await == 1).await;

    // Whatever it has open it keeps; it can open nothing more, whatever it closes.
    let pid = worker.id().to_string();
    let limited = Command::new("prlimit").args(["--pid", &pid, "--nofile=0:0"]).status();
    assert!(limited.expect("prlimit runs").success());
    reelshift(&["enqueue", "hash", "--batch-files", "5"]).run().ok();
    assert_eq!(wait(&mut worker, LIMIT), Some(1));
    let log = std::fs::read_to_string(&log).expect("a log");
    assert!(log.contains("Too many open files") && log.contains("raise"), "{log}");

    let attempts =
        "SELECT COUNT(*) FROM reelshift_batches WHERE attempts > 0 OR state <> 'pending'";
    assert_eq!(legacy.number(attempts).await, 0, "all batches wait, untried");
    assert_eq!(legacy.number("SELECT COUNT(*) FROM reelshift_quarantine").await, 0);
    let errors = "SELECT COUNT(*) FROM processing_error_log WHERE error_type <> 'worker_exhausted'";
    assert_eq!(legacy.number(errors).await, 0);

    reelshift(&["work", "--until-idle"]).run().ok();
    let hashed = "SELECT COUNT(*) FROM videos WHERE file_hash IS NOT NULL";
    assert_eq!(legacy.number(hashed).await, 100);
    legacy.drop_database().await;
}
