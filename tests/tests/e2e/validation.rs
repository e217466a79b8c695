//! Validation: by this process, by the fleet, and the repair of exactly what differs.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Child;

use reelshift_tests::{LIMIT, Legacy, Reelshift, backlog, oracle, until, wait};
use serde_json::Value;
use sqlx::Row as _;

fn run(directory: &Path, legacy: &Legacy, arguments: &[&str], code: i32) -> Value {
    let arguments: Vec<&str> = ["--json"].into_iter().chain(arguments.iter().copied()).collect();
    Reelshift::new(directory, &arguments).database(&legacy.url).run().expect(code).json()
}

fn start(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> Child {
    Reelshift::new(directory, arguments).database(&legacy.url).start()
}

/// `count` videos that are backfilled.
async fn backfilled(directory: &Path, legacy: &Legacy, count: u32) {
    legacy.fill(count).await;
    run(directory, legacy, &["apply", "expand"], 0);
    run(directory, legacy, &["enqueue", "backfill"], 0);
    run(directory, legacy, &["work", "--until-idle"], 0);
}

/// Takes the status row of every video whose number ends in 7.
async fn spoil(legacy: &Legacy) -> BTreeSet<String> {
    let spoilt = "SELECT id FROM videos WHERE filename LIKE 'video %7.%'";
    let rows = legacy.rows(spoilt).await;
    legacy
        .execute(&format!("DELETE FROM video_processing_status WHERE video_id IN ({spoilt})"))
        .await;
    rows.iter().map(|row| row.get::<String, _>("id")).collect()
}

/// The keys in a file of `--all-keys`.
fn keys(file: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(file).expect("the file is there");
    let of_line = |line: &str| {
        let difference: Value = serde_json::from_str(line).expect("a JSON object a line");
        assert_eq!(difference["table"], "videos", "{difference}");
        difference["key"].as_str().expect("a key").to_owned()
    };
    text.lines().map(of_line).collect()
}

async fn the_fleet_validates(directory: &Path, legacy: &Legacy) {
    const COUNT: u32 = 900;
    backfilled(directory, legacy, COUNT).await;
    let spoilt = spoil(legacy).await;
    assert!(spoilt.len() > 50, "{}", spoilt.len());
    let enqueued = run(directory, legacy, &["enqueue", "validate", "--batch-size", "50"], 0);
    // A batch for each range, and one for each other table.
    assert_eq!((&enqueued["rows_added"], &enqueued["batches_added"]), (&COUNT.into(), &21.into()));
    let id = enqueued["run"]["id"].as_str().expect("an id").to_owned();
    let early = run(directory, legacy, &["validate", "--run", &id], 5);
    assert_eq!((&early["complete"], &early["videos_compared"]), (&false.into(), &0.into()));

    let mut workers: Vec<Child> =
        (0..2).map(|_| start(directory, legacy, &["work", "--until-idle"])).collect();
    for worker in &mut workers {
        assert_eq!(wait(worker, LIMIT), Some(0));
    }
    let file = directory.join("keys.jsonl");
    let name = file.to_str().expect("a name");
    let arguments = ["validate", "--run", &id, "--all-keys", name, "--repair"];
    let report = run(directory, legacy, &arguments, 3);
    assert_eq!((&report["complete"], &report["videos_compared"]), (&true.into(), &COUNT.into()));
    assert!(report["by"].as_str().is_some_and(|by| by.contains('@')), "{report}");
    assert!(report["finished_at"].is_string(), "{report}");
    assert_eq!(keys(&file), spoilt);
    assert_eq!(report["repair"]["videos"], spoilt.len());

    // The repair makes good exactly those: none is found by another look at the table.
    let healthy = "SELECT id FROM videos WHERE filename LIKE 'video 1.%'";
    legacy
        .execute(&format!("DELETE FROM video_processing_status WHERE video_id IN ({healthy})"))
        .await;
    run(directory, legacy, &["work", "--until-idle"], 0);
    let left = format!(
        "SELECT COUNT(*) FROM videos v WHERE NOT EXISTS \
        (SELECT 1 FROM video_processing_status s WHERE s.video_id = v.id) AND v.id IN ({healthy})"
    );
    assert_eq!(legacy.number(&left).await, 1, "found after the validation, so not of the repair");
    let here = run(directory, legacy, &["validate", "--repair", "--parallel", "4"], 3);
    assert_eq!((&here["videos_compared"], &here["run"]), (&COUNT.into(), &Value::Null));
    assert_eq!(here["repair"]["videos"], 1);
    run(directory, legacy, &["work", "--until-idle"], 0);
    let clean = run(directory, legacy, &["validate", "--repair"], 0);
    assert_eq!((&clean["valid"], &clean["repair"]), (&true.into(), &Value::Null));
    assert_eq!(oracle::check_every_row(legacy).await, COUNT as usize);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_validates_on_sqlite() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    the_fleet_validates(dir.path(), &legacy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_validates_on_mariadb() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    the_fleet_validates(dir.path(), &legacy).await;
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_compares_no_row_twice() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    backfilled(dir.path(), &legacy, 3_000).await;
    let enqueued = run(dir.path(), &legacy, &["enqueue", "validate", "--batch-size", "1000"], 0);
    let id = enqueued["run"]["id"].as_str().expect("an id").to_owned();
    backlog::keep_back(&legacy, 1).await;
    // A pause a chunk gives time to be killed within a batch.
    let mut victim = start(dir.path(), &legacy, &["work", "--concurrency", "1"]);
    until("some rows of a batch", async || {
        backlog::feed(&legacy, 1).await;
        legacy.number("SELECT COUNT(*) FROM reelshift_batches WHERE rows_done > 0").await > 0
    })
    .await;
    victim.kill().expect("the victim dies");
    victim.wait().expect("the victim is dead");
    backlog::release_all(&legacy).await;
    run(dir.path(), &legacy, &["work", "--until-idle"], 0);
    let report = run(dir.path(), &legacy, &["validate", "--run", &id], 0);
    assert_eq!((&report["complete"], &report["videos_compared"]), (&true.into(), &3_000.into()));
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_fleet_compares_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    backfilled(dir.path(), &legacy, 200).await;
    run(dir.path(), &legacy, &["pause"], 0);
    run(dir.path(), &legacy, &["enqueue", "validate"], 0);
    let mut worker = start(dir.path(), &legacy, &["work", "--until-idle"]);
    let paused = "SELECT COUNT(*) FROM reelshift_workers WHERE doing = 'paused'";
    until("a worker that knows of the pause", async || legacy.number(paused).await > 0).await;
    let done = "SELECT COUNT(*) FROM reelshift_batches WHERE state <> 'pending'
        AND run_id IN (SELECT id FROM reelshift_runs WHERE kind = 'validate')";
    assert_eq!(legacy.number(done).await, 0);
    run(dir.path(), &legacy, &["resume"], 0);
    assert_eq!(wait(&mut worker, LIMIT), Some(0));
    assert_eq!(legacy.number(done).await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_validation_ends_with_the_rollout() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    backfilled(dir.path(), &legacy, 50).await;
    let mut worker = start(dir.path(), &legacy, &["work"]);
    let watch = ["enqueue", "validate", "--watch", "--every", "1s"];
    let mut watcher = start(dir.path(), &legacy, &watch);
    let done = "SELECT COUNT(*) FROM reelshift_runs WHERE kind = 'validate' AND state = 'done'";
    until("two validations, one after the other", async || legacy.number(done).await >= 2).await;
    let flag = "enhanced_video_processing";
    run(dir.path(), &legacy, &["flags", "rollout", flag, "50"], 0);
    let so_far = legacy.number(done).await;
    until("a validation at 50 %", async || legacy.number(done).await > so_far).await;
    run(dir.path(), &legacy, &["flags", "enable", flag], 0);
    assert_eq!(wait(&mut watcher, LIMIT), Some(0), "it ends by itself");
    worker.kill().expect("the worker ends");
    worker.wait().expect("the worker has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_an_expression_is_the_applications_business() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    let index = "CREATE INDEX by_lower ON videos ((LOWER(filename)))";
    // MariaDB has none.
    if sqlx::raw_sql(index).execute(&legacy.pool).await.is_ok() {
        backfilled(dir.path(), &legacy, 10).await;
        run(dir.path(), &legacy, &["validate"], 0);
    }
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_shown_or_written_is_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    legacy.fill(10).await;
    run(dir.path(), &legacy, &["apply", "expand"], 0);
    let backfill = run(dir.path(), &legacy, &["enqueue", "backfill"], 0);
    let id = backfill["run"]["id"].as_str().expect("an id");
    let refused = |arguments: &[&str], code| {
        let ran = Reelshift::new(dir.path(), arguments).database(&legacy.url).run().expect(code);
        ran.stderr
    };
    let said = refused(&["validate", "--run", id], 4);
    assert!(said.contains("is a backfill"), "{said}");
    let said = refused(&["validate", "--all-keys", "/dev/full"], 1);
    assert!(said.contains("/dev/full cannot be written"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_text_is_a_difference_like_any_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    backfilled(dir.path(), &legacy, 20).await;
    let some = "WHERE id = (SELECT MIN(id) FROM videos)";
    for value in ["x'ff'", "CAST(x'61ff' AS TEXT)"] {
        legacy.execute(&format!("UPDATE videos SET file_mime_type = {value} {some}")).await;
        let found = run(dir.path(), &legacy, &["validate"], 3);
        let column = found.to_string();
        assert!(column.contains("file_mime_type") && column.contains('\u{fffd}'), "{column}");
    }
    // The fleet finds the same, and the video is shown.
    run(dir.path(), &legacy, &["enqueue", "validate"], 0);
    run(dir.path(), &legacy, &["work", "--until-idle"], 0);
    legacy.execute(&format!("UPDATE videos SET filename = x'ff' {some}")).await;
    let id: String = legacy.rows(&format!("SELECT id FROM videos {some}")).await[0].get(0);
    run(dir.path(), &legacy, &["video", &id], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_that_nobody_reads_is_no_place_for_keys() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    backfilled(dir.path(), &legacy, 5).await;
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
    assert!(made.success());
    let pipe = pipe.to_str().expect("a path");
    for arguments in [&["validate", "--all-keys", pipe][..], &["report", pipe]] {
        let mut child = start(dir.path(), &legacy, arguments);
        assert_eq!(wait(&mut child, LIMIT), Some(1), "{arguments:?}");
    }
}
