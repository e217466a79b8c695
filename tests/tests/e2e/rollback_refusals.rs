//! What a rollback is refused for, what is refused while one is not at its end, and both
//! ways on from there.

use std::path::Path;
use std::time::Duration;

use reelshift_tests::{Legacy, Ran, Reelshift};
use serde_json::Value;
use sqlx::{Connection, MySqlConnection};

fn reelshift(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> Ran {
    println!("reelshift {arguments:?}");
    Reelshift::new(directory, arguments).database(&legacy.url).run()
}

fn ok(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> String {
    reelshift(directory, legacy, arguments).expect(0).stdout
}

fn refusal(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> String {
    reelshift(directory, legacy, arguments).expect(4).stderr
}

fn json(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = ["--json"].into_iter().chain(arguments.iter().copied()).collect();
    reelshift(directory, legacy, &arguments).expect(0).json()
}

/// A backfilled database of 20 videos.
async fn backfilled(directory: &Path, legacy: &Legacy) {
    legacy.fill(20).await;
    ok(directory, legacy, &["apply", "expand"]);
    ok(directory, legacy, &["enqueue", "backfill"]);
    ok(directory, legacy, &["work", "--until-idle"]);
}

async fn interrupted(directory: &Path, legacy: &Legacy) {
    backfilled(directory, legacy).await;
    let errors = "UPDATE video_processing_status SET error_count = 7";
    legacy.execute(errors).await;
    // A journal that refuses stands for whatever stops a rollback half-way: a kill at the same
    // place would leave the same.
    let blocks = if legacy.url.starts_with("sqlite") {
        "CREATE TRIGGER stop BEFORE DELETE ON reelshift_schema_steps WHEN OLD.number = 104 \
         BEGIN SELECT RAISE(ABORT, 'no further'); END"
    } else {
        "CREATE TRIGGER stop BEFORE DELETE ON reelshift_schema_steps FOR EACH ROW \
         BEGIN IF OLD.number = 104 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no further'; END IF; END"
    };
    legacy.execute(blocks).await;
    let rollback = ["rollback", "--archive", "kept"];
    let stopped = reelshift(directory, legacy, &rollback);
    assert_ne!(stopped.code, Some(0), "{}", stopped.stdout);
    assert!(stopped.stdout.contains("0112 "), "{}", stopped.stdout);
    legacy.execute("DROP TRIGGER stop").await;

    let shown = ok(directory, legacy, &["status"]);
    let kept = directory.join("kept").display().to_string();
    for part in ["ROLLING BACK", &format!("--archive {kept}`"), &format!("restore {kept}`")] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("Next: reelshift apply expand"), "{shown}");
    let status = json(directory, legacy, &["status"]);
    assert_eq!(status["rollback"]["directory"], Value::from(kept.clone()), "{status}");
    for command in [
        &["work"] as &[&str],
        &["validate"],
        &["enqueue", "backfill"],
        &["apply", "expand"],
        &["apply", "index"],
    ] {
        let said = refusal(directory, legacy, command);
        assert!(said.contains("is not at its end") && said.contains(&kept), "{command:?}: {said}");
    }
    let said = ok(directory, legacy, &["apply", "expand", "--abandon-rollback"]);
    assert!(said.contains(&format!("Next: reelshift restore {kept}")), "{said}");
    ok(directory, legacy, &["restore", "kept"]);
    let restored = "SELECT COUNT(*) FROM video_processing_status WHERE error_count = 7";
    assert_eq!(legacy.number(restored).await, 20);
    let shown = ok(directory, legacy, &["status"]);
    assert!(!shown.contains("ROLLING BACK") && shown.contains("backfill ok"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_rollback_is_shown_and_kept_to_on_sqlite() {
    let directory = tempfile::tempdir().expect("a directory");
    interrupted(directory.path(), &Legacy::sqlite(directory.path()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_rollback_is_shown_and_kept_to_on_mariadb() {
    let directory = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    interrupted(directory.path(), &legacy).await;
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_starts_while_a_rollback_is_open() {
    let scratch = tempfile::tempdir().expect("a directory");
    let directory = scratch.path();
    let legacy = Legacy::sqlite(directory).await;
    backfilled(directory, &legacy).await;
    legacy
        .execute(
            "INSERT INTO reelshift_rollbacks (id, state, directory, started_by, started_at) VALUES \
             ('6f0d2b0c-8a4e-4f53-9b6e-6c7f1d3e2a10', 'archiving', '/kept', 'ops@host', '2026-01-02 03:04:05.000')",
        )
        .await;
    for command in [
        &["work", "--until-idle"] as &[&str],
        &["enqueue", "backfill"],
        &["enqueue", "hash", "--watch"],
        &["rerun"],
    ] {
        let said = refusal(directory, &legacy, command);
        assert!(said.contains("ops@host") && said.contains("nothing has been undone"), "{said}");
    }
    assert_eq!(legacy.number("SELECT COUNT(*) FROM reelshift_runs").await, 1);
    let shown = ok(directory, &legacy, &["status"]);
    assert!(shown.contains("ROLLING BACK") && shown.contains("backfill ok"), "{shown}");
    ok(directory, &legacy, &["apply", "expand", "--abandon-rollback"]);
    ok(directory, &legacy, &["enqueue", "backfill"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_of_before_a_rollback_does_not_count() {
    let scratch = tempfile::tempdir().expect("a directory");
    let directory = scratch.path();
    let legacy = Legacy::sqlite(directory).await;
    backfilled(directory, &legacy).await;
    assert!(ok(directory, &legacy, &["status"]).contains("backfill ok"));
    ok(directory, &legacy, &["rollback", "--discard", "--yes"]);
    let shown = ok(directory, &legacy, &["status"]);
    assert!(shown.contains("expand not started"), "{shown}");
    ok(directory, &legacy, &["apply", "expand"]);
    let shown = ok(directory, &legacy, &["status"]);
    assert!(shown.contains("backfill not started"), "{shown}");
    let noted = reelshift(directory, &legacy, &["apply", "index"]).expect(0).stderr;
    assert!(noted.contains("no backfill of this database is done"), "{noted}");
    ok(directory, &legacy, &["enqueue", "backfill"]);
    ok(directory, &legacy, &["work", "--until-idle"]);
    assert!(ok(directory, &legacy, &["status"]).contains("backfill ok"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_and_flags_are_seen() {
    let scratch = tempfile::tempdir().expect("a directory");
    let directory = scratch.path();
    let legacy = Legacy::sqlite(directory).await;
    backfilled(directory, &legacy).await;
    let watch = ["enqueue", "backfill", "--watch"];
    let mut watcher = Reelshift::new(directory, &watch).database(&legacy.url).start();
    let watching =
        "SELECT COUNT(*) FROM reelshift_duties WHERE name LIKE 'watch %' AND holder IS NOT NULL";
    while legacy.number(watching).await == 0 {
        assert!(watcher.try_wait().expect("a child can be asked").is_none(), "it watches");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let said = refusal(directory, &legacy, &["rollback", "--discard", "--yes"]);
    assert!(said.contains("watches for videos"), "{said}");
    watcher.kill().expect("it is killed");
    watcher.wait().expect("it is dead");

    ok(directory, &legacy, &["flags", "enable", "enhanced_video_processing"]);
    let report = json(directory, &legacy, &["rollback", "--to", "expand"]);
    assert_eq!(report["flags_disabled"], 1, "{report}");
    assert_eq!(report["undone"], Value::Array(Vec::new()), "{report}");
    let on =
        "SELECT COUNT(*) FROM reelshift_flags WHERE name = 'enhanced_video_processing' AND enabled";
    assert_eq!(legacy.number(on).await, 0);
}

async fn used(directory: &Path, legacy: &Legacy) {
    backfilled(directory, legacy).await;
    for statement in [
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, v VARCHAR(40))",
        "CREATE TRIGGER app_t AFTER UPDATE ON videos FOR EACH ROW \
         BEGIN UPDATE notes SET v = NEW.workflow_state WHERE id = 0; END",
        "CREATE INDEX app_i ON videos (file_hash, project_id)",
    ] {
        legacy.execute(statement).await;
    }
    let rollback = ["rollback", "--archive", "kept"];
    let said = refusal(directory, legacy, &rollback);
    for part in ["trigger app_t (videos.workflow_state)", "index videos.app_i (videos.file_hash)"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!directory.join("kept").exists(), "nothing was archived");
    ok(directory, legacy, &["work", "--until-idle"]);
    legacy.execute("DROP TRIGGER app_t").await;
    let sqlite = legacy.url.starts_with("sqlite");
    legacy.execute(if sqlite { "DROP INDEX app_i" } else { "DROP INDEX app_i ON videos" }).await;
    legacy
        .execute(
            "CREATE TRIGGER app_s AFTER UPDATE ON notes FOR EACH ROW \
             BEGIN UPDATE videos SET status = 'workflow_state' WHERE id = 'none'; END",
        )
        .await;
    assert!(refusal(directory, legacy, &rollback).contains("trigger app_s"));
    ok(directory, legacy, &["rollback", "--to", "rollout"]);
    // The schema is as before expand but for what was added since.
    let despite = ["rollback", "--archive", "kept", "--despite", "app_s"];
    let said = reelshift(directory, legacy, &despite).expect(1).stderr;
    assert!(said.contains("trigger app_s (new since)"), "{said}");
    legacy.execute("UPDATE videos SET processing_status = 'processing'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_application_uses_is_not_dropped_on_sqlite() {
    let directory = tempfile::tempdir().expect("a directory");
    used(directory.path(), &Legacy::sqlite(directory.path()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_application_uses_is_not_dropped_on_mariadb() {
    let directory = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    used(directory.path(), &legacy).await;
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_says_whom_it_waits_for() {
    let scratch = tempfile::tempdir().expect("a directory");
    let directory = scratch.path();
    let legacy = Legacy::mariadb().await;
    legacy.fill(10).await;
    ok(directory, &legacy, &["apply", "expand"]);
    let mut holder = MySqlConnection::connect(&legacy.url).await.expect("a session");
    let mut held = holder.begin().await.expect("a transaction");
    let read = sqlx::query("SELECT COUNT(*) FROM videos").fetch_one(&mut *held).await;
    read.expect("it reads videos");
    let rollback = ["rollback", "--discard", "--yes", "--lock-patience", "3s"];
    let said = refusal(directory, &legacy, &rollback);
    assert!(said.contains("waiting for the lock of step"), "{said}");
    assert!(said.contains("was never free within 3 s"), "{said}");
    held.rollback().await.expect("the transaction ends");
    ok(directory, &legacy, &rollback);
    legacy.drop_database().await;
}

/// What the application would be kept out for is asked about before the first step is undone.
async fn stalls(directory: &Path, legacy: &Legacy) {
    legacy.fill(10).await;
    for phase in ["expand", "index", "automate"] {
        ok(directory, legacy, &["apply", phase]);
    }
    let before = ok(directory, legacy, &["status", "--json"]);
    let rollback = ["rollback", "--archive", "kept", "--longest-stall", "1us"];
    let said = refusal(directory, legacy, &rollback);
    assert!(said.contains("--longest-stall allows 0 ms: nothing was done"), "{said}");
    assert!(!directory.join("kept").exists(), "an archive was begun");
    let phases = |status: &str| {
        let status: Value = serde_json::from_str(status).expect("JSON");
        status["phases"].clone()
    };
    let after = ok(directory, legacy, &["status", "--json"]);
    assert_eq!(phases(&after), phases(&before));
    ok(directory, legacy, &["rollback", "--archive", "kept", "--longest-stall", "1us", "--yes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_stall_is_asked_about_first_on_mariadb() {
    let directory = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    stalls(directory.path(), &legacy).await;
    legacy.drop_database().await;
}
