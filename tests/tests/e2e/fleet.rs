//! Several worker processes on one ledger: killed, drained, and enqueued twice.

use std::path::Path;
use std::process::{Child, Command};

use reelshift_tests::{LIMIT, Legacy, Reelshift, backlog, oracle, until, wait};

fn run(directory: &Path, legacy: &Legacy, arguments: &[&str], code: i32) -> serde_json::Value {
    let arguments: Vec<&str> = ["--json"].into_iter().chain(arguments.iter().copied()).collect();
    Reelshift::new(directory, &arguments).database(&legacy.url).run().expect(code).json()
}

fn worker(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> Child {
    let arguments: Vec<&str> = ["work"].into_iter().chain(arguments.iter().copied()).collect();
    Reelshift::new(directory, &arguments).database(&legacy.url).start()
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(status.expect("kill runs").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_loses_nothing_on_mariadb() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    legacy.fill(3_000).await;
    run(dir.path(), &legacy, &["apply", "expand"], 0);
    run(dir.path(), &legacy, &["enqueue", "backfill", "--batch-size", "50"], 0);
    backlog::keep_back(&legacy, 4).await;

    // The victim is stopped in the middle of a batch, so that it certainly holds one.
    let mut victim = worker(dir.path(), &legacy, &[]);
    until("a leased batch of the victim", async || {
        backlog::feed(&legacy, 4).await;
        let leased =
            legacy.number("SELECT COUNT(*) FROM reelshift_batches WHERE state = 'leased'").await
                > 0;
        if leased {
            signal(&victim, "-STOP");
        }
        let held =
            legacy.number("SELECT COUNT(*) FROM reelshift_batches WHERE state = 'leased'").await
                > 0;
        if !held {
            signal(&victim, "-CONT");
        }
        held
    })
    .await;
    victim.kill().expect("the victim dies");
    victim.wait().expect("the victim is dead");
    backlog::release_all(&legacy).await;

    let mut others: Vec<Child> =
        (0..3).map(|_| worker(dir.path(), &legacy, &["--until-idle"])).collect();
    for other in &mut others {
        assert_eq!(wait(other, LIMIT), Some(0));
    }
    assert_eq!(oracle::check_every_row(&legacy).await, 3_000);
    assert_eq!(
        legacy.number("SELECT COUNT(*) FROM reelshift_workers WHERE state = 'lost'").await,
        1
    );
    // A lost lease is not a failed attempt.
    assert_eq!(legacy.number("SELECT COUNT(*) FROM reelshift_batches WHERE attempts > 0").await, 0);
    assert_eq!(run(dir.path(), &legacy, &["validate"], 0)["valid"], true);
    legacy.drop_database().await;
}

async fn drains(legacy: &Legacy, directory: &Path) {
    legacy.fill(4_000).await;
    run(directory, legacy, &["apply", "expand"], 0);
    run(directory, legacy, &["enqueue", "backfill", "--batch-size", "100"], 0);
    backlog::keep_back(legacy, 4).await;
    // Who is to work until all is done has not done so.
    let ways: [(&str, &[&str], i32); 3] =
        [("-TERM", &[], 0), ("-INT", &[], 0), ("-INT", &["--until-idle"], 130)];
    for (name, more, code) in ways {
        let arguments = [&["--concurrency", "1"], more].concat();
        let mut drained = worker(directory, legacy, &arguments);
        until("a leased batch", async || {
            backlog::feed(legacy, 4).await;
            legacy.number("SELECT COUNT(*) FROM reelshift_batches WHERE state = 'leased'").await > 0
        })
        .await;
        signal(&drained, name);
        if !more.is_empty() {
            // Whoever started it gets the Ctrl-C, too, and tells it to end.
            signal(&drained, "-TERM");
        }
        assert_eq!(wait(&mut drained, LIMIT), Some(code), "after {name}");
        assert_eq!(
            legacy.number("SELECT COUNT(*) FROM reelshift_batches WHERE state = 'leased'").await,
            0
        );
        assert_eq!(
            legacy.number("SELECT COUNT(*) FROM reelshift_workers WHERE state <> 'left'").await,
            0
        );
    }
    backlog::release_all(legacy).await;
    assert_eq!(wait(&mut worker(directory, legacy, &["--until-idle"]), LIMIT), Some(0));
    assert_eq!(oracle::check_every_row(legacy).await, 4_000);
    assert_eq!(legacy.number("SELECT COUNT(*) FROM reelshift_batches WHERE attempts > 0").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_drains_on_sqlite() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    drains(&legacy, dir.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_drains_on_mariadb() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    drains(&legacy, dir.path()).await;
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_plan_twice_adds_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    legacy.fill(500).await;
    run(dir.path(), &legacy, &["apply", "expand"], 0);
    let first = run(dir.path(), &legacy, &["enqueue", "backfill", "--batch-size", "100"], 0);
    assert_eq!((&first["created"], &first["batches_added"]), (&true.into(), &5.into()));
    let second = run(dir.path(), &legacy, &["enqueue", "backfill", "--batch-size", "70"], 0);
    assert_eq!((&second["created"], &second["batches_added"]), (&false.into(), &0.into()));
    assert_eq!(second["run"]["id"], first["run"]["id"]);
    let said =
        Reelshift::new(dir.path(), &["enqueue", "backfill"]).database(&legacy.url).run().expect(0);
    assert!(said.stdout.contains("nothing added"), "{}", said.stdout);

    run(dir.path(), &legacy, &["work", "--until-idle"], 0);
    assert_eq!(oracle::check_every_row(&legacy).await, 500);
    // Done: the same command again finds no row that needs it.
    let third = run(dir.path(), &legacy, &["enqueue", "backfill"], 0);
    assert_eq!((&third["batches_added"], &third["run"]["state"]), (&0.into(), &"done".into()));
    // A row that fell out of agreement is found, and only it.
    legacy
        .execute(
            "DELETE FROM video_processing_status WHERE video_id IN
             (SELECT id FROM videos WHERE filename LIKE 'video 7.%')",
        )
        .await;
    run(dir.path(), &legacy, &["validate"], 3);
    let fourth = run(dir.path(), &legacy, &["enqueue", "backfill"], 0);
    assert_eq!((&fourth["rows_added"], &fourth["batches_added"]), (&1.into(), &1.into()));
    run(dir.path(), &legacy, &["work", "--until-idle"], 0);
    run(dir.path(), &legacy, &["validate"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_limits_a_run() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    legacy.fill(100).await;
    legacy.execute("UPDATE videos SET project_id = 'x''y' WHERE filename LIKE 'video 1%'").await;
    run(dir.path(), &legacy, &["apply", "expand"], 0);
    let run_of = run(dir.path(), &legacy, &["enqueue", "backfill", "--where", "project=x'y"], 0);
    assert_eq!(run_of["rows_added"], 11);
    run(dir.path(), &legacy, &["work", "--until-idle"], 0);
    assert_eq!(legacy.number("SELECT COUNT(*) FROM video_processing_status").await, 11);
    // No video meets it: no run is made.
    let none = ["enqueue", "backfill", "--where", "created-before=2020-01-01"];
    drop(Reelshift::new(dir.path(), &none).database(&legacy.url).run().expect(2));
    assert_eq!(legacy.number("SELECT COUNT(*) FROM reelshift_runs").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_finish_the_plan_of_a_dead_producer() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    legacy.fill(1_500).await;
    run(dir.path(), &legacy, &["apply", "expand"], 0);
    let mut producer = Reelshift::new(dir.path(), &["enqueue", "backfill", "--batch-size", "1"])
        .database(&legacy.url)
        .start();
    until("some planned batches", async || {
        legacy.number("SELECT COUNT(*) FROM reelshift_batches").await > 0
    })
    .await;
    producer.kill().expect("the producer dies");
    producer.wait().expect("the producer is dead");
    let planned = legacy.number("SELECT COUNT(*) FROM reelshift_batches").await;
    assert!(planned < 1_500, "the producer was killed too late for this test");
    run(dir.path(), &legacy, &["work", "--until-idle"], 0);
    assert_eq!(oracle::check_every_row(&legacy).await, 1_500);
    // A row that was locked in passing is the sweep's; but no range was planned twice.
    let twice = "SELECT COUNT(*) FROM (SELECT upto_id FROM reelshift_batches
                 GROUP BY after_id, upto_id HAVING COUNT(*) > 1) AS twice";
    assert_eq!(legacy.number(twice).await, 0);
    legacy.drop_database().await;
}

/// A replica is promoted that has not heard the end of a worker's last batches, nor that the
/// worker registered.
async fn outlives_a_lost_tail(directory: &Path, legacy: &Legacy) {
    legacy.fill(500).await;
    run(directory, legacy, &["apply", "expand"], 0);
    run(directory, legacy, &["enqueue", "backfill", "--batch-size", "50"], 0);
    let mut worker = worker(directory, legacy, &[]);
    let all_done = async || {
        legacy.number("SELECT COUNT(*) FROM reelshift_batches WHERE state <> 'done'").await == 0
            && legacy.number("SELECT COUNT(*) FROM reelshift_runs WHERE state = 'done'").await == 1
    };
    until("the run's end", &all_done).await;
    // In this order, so that the worker meets both at once.
    for sql in [
        "UPDATE reelshift_runs SET state = 'running', finished_at = NULL",
        "UPDATE reelshift_batches SET state = 'leased', finished_at = NULL, lease_token = seq, \
         rows_done = 0, checkpoint = NULL, leased_by = claimed_by WHERE seq % 3 = 0",
        "DELETE FROM reelshift_workers",
    ] {
        legacy.execute(sql).await;
    }
    until("the run's end once more", &all_done).await;
    let live = "SELECT COUNT(*) FROM reelshift_workers WHERE state = 'live'";
    until("the worker's row", async || legacy.number(live).await == 1).await;
    let counted = "SELECT COUNT(*) FROM reelshift_batches WHERE attempts > 0 OR lost_leases > 0";
    assert_eq!(legacy.number(counted).await, 0, "nothing counts as an attempt");
    signal(&worker, "-TERM");
    assert_eq!(wait(&mut worker, LIMIT), Some(0), "the worker went on");
    assert_eq!(oracle::check_every_row(legacy).await, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_outlives_a_lost_tail_on_mariadb() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    outlives_a_lost_tail(dir.path(), &legacy).await;
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_outlives_a_lost_tail_on_sqlite() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    outlives_a_lost_tail(dir.path(), &legacy).await;
}
