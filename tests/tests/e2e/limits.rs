//! Limits of the server, and what the server cannot undo: both are found before anything is
//! changed, by executing every step on empty copies of the tables.

use std::path::Path;

use reelshift_tests::{Legacy, Ran, Reelshift};
use serde_json::Value;
use sqlx::Row as _;

fn run(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> Ran {
    println!("reelshift {arguments:?}");
    Reelshift::new(directory, arguments).database(&legacy.url).run()
}

async fn tables(legacy: &Legacy) -> Vec<String> {
    let tables = match legacy.url.starts_with("sqlite") {
        true => "SELECT name FROM sqlite_schema ORDER BY name",
        false => {
            "SELECT CAST(TABLE_NAME AS CHAR) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() ORDER BY 1"
        }
    };
    legacy.rows(tables).await.iter().map(|row| row.get(0)).collect()
}

async fn is_mariadb(legacy: &Legacy) -> bool {
    legacy.rows("SELECT VERSION()").await[0].get::<String, _>(0).contains("MariaDB")
}

/// `count` times `one`, with the number in place of `#`.
fn many(count: usize, one: &str) -> String {
    (0..count).map(|n| one.replace('#', &n.to_string())).collect::<Vec<_>>().join(", ")
}

/// `plan` and `apply expand` refuse, by `check`, with `words`; nothing is made.
async fn refused(directory: &Path, change: &str, check: &str, words: &[&str]) {
    let legacy = Legacy::mariadb().await;
    legacy.execute(change).await;
    let before = tables(&legacy).await;
    let plan = run(directory, &legacy, &["--json", "plan"]).expect(4).json();
    let findings = plan["findings"].as_array().expect("findings");
    let found = findings.iter().find(|finding| finding["verdict"] == "refusal").expect("a refusal");
    assert_eq!(found["check"], check, "{change:.60}: {found}");
    let said = run(directory, &legacy, &["apply", "expand"]).expect(4).stderr;
    for word in words {
        assert!(said.contains(word), "{change:.60}: {word} is not in {said}");
    }
    assert_eq!(tables(&legacy).await, before);
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_room_is_refused_before_expand() {
    let directory = tempfile::tempdir().expect("a directory");
    let indexes = format!("ALTER TABLE videos {}", many(61, "ADD INDEX i# (fps, duration)"));
    let columns = format!("ALTER TABLE videos {}", many(1_000, "ADD COLUMN c# INT"));
    for (change, check, words) in [
        ("ALTER TABLE videos ROW_FORMAT = COMPACT", "trial", ["0104", "ROW_FORMAT=DYNAMIC"]),
        ("ALTER TABLE videos ROW_FORMAT = REDUNDANT", "trial", ["0104", "ROW_FORMAT=DYNAMIC"]),
        (
            "ALTER TABLE videos ADD COLUMN d VARCHAR(14500)",
            "trial",
            ["0104", "rows would be longer"],
        ),
        (&columns, "trial", ["0104", "1,017 columns"]),
        (&indexes, "trial", ["step 02", "64 indexes"]),
        (
            "ALTER TABLE videos MODIFY id VARCHAR(768)",
            "trial",
            ["table reelshift_batches: a key", "id before all"],
        ),
        (
            "ALTER TABLE videos PARTITION BY KEY (id) PARTITIONS 4",
            "engine",
            ["partitioned", "foreign key"],
        ),
    ] {
        refused(directory.path(), change, check, &words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_history_is_refused_before_expand() {
    let directory = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    let mariadb = is_mariadb(&legacy).await;
    legacy.drop_database().await;
    // MySQL knows no such tables.
    if mariadb {
        let words = ["keeps a history of its rows", "DROP SYSTEM VERSIONING"];
        refused(directory.path(), "ALTER TABLE videos ADD SYSTEM VERSIONING", "engine", &words)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_only_a_copy_changes_needs_leave_both_ways() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    let legacy = Legacy::mariadb().await;
    legacy.fill(20).await;
    legacy.execute("ALTER TABLE videos ADD FULLTEXT INDEX words (filename)").await;
    let said = run(directory, &legacy, &["apply", "expand"]).expect(4).stderr;
    assert!(said.contains("FULLTEXT") && said.contains("--allow-copy videos"), "{said}");
    run(directory, &legacy, &["apply", "expand", "--allow-copy", "videos", "--yes"]).ok();
    let said = run(directory, &legacy, &["rollback", "--archive", "kept"]).expect(4).stderr;
    assert!(said.contains("0104") && said.contains("--allow-copy videos"), "{said}");
    let copies = ["rollback", "--archive", "kept", "--allow-copy", "videos"];
    let said = run(directory, &legacy, &copies).expect(4).stderr;
    assert!(said.contains("add --yes"), "{said}");
    let copies = [&copies[..], &["--yes"]].concat();
    run(directory, &legacy, &copies).ok();
    assert!(tables(&legacy).await.iter().all(|table| !table.starts_with("video_processing")));
    legacy.drop_database().await;
}

/// Steps that are applied.
async fn applied(legacy: &Legacy) -> i64 {
    legacy.number("SELECT COUNT(*) FROM reelshift_schema_steps WHERE number >= 100").await
}

async fn cannot_end(directory: &Path, legacy: &Legacy, cases: &[(&str, &str, &str, &[&str])]) {
    legacy.fill(20).await;
    run(directory, legacy, &["apply", "expand"]).ok();
    let steps = applied(legacy).await;
    for (change, despite, undo, words) in cases {
        legacy.execute(change).await;
        let before = tables(legacy).await;
        let arguments = ["rollback", "--archive", "kept", "--despite", despite];
        let said = run(directory, legacy, &arguments).expect(4).stderr;
        for word in *words {
            assert!(said.contains(word), "{change}: {word} is not in {said}");
        }
        let shown = run(directory, legacy, &[&["rollback", "--dry-run"], &arguments[3..]].concat());
        assert!(shown.expect(4).stdout.contains("would be refused"), "{change}");
        assert_eq!((applied(legacy).await, tables(legacy).await), (steps, before), "{change}");
        assert!(!directory.join("kept").exists(), "nothing was archived");
        legacy.execute(undo).await;
    }
    run(directory, legacy, &["rollback", "--archive", "kept"]).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_cannot_end_does_not_begin_on_mariadb() {
    let directory = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    cannot_end(
        directory.path(),
        &legacy,
        &[
            (
                "CREATE TABLE app_f (id VARCHAR(36) PRIMARY KEY, CONSTRAINT app_fk FOREIGN KEY (id) REFERENCES video_processing_status (id))",
                "app_f.app_fk",
                "DROP TABLE app_f",
                &["0101", "app_fk", "DROP FOREIGN KEY"],
            ),
            (
                "ALTER TABLE videos ADD CONSTRAINT app_c CHECK (annotations_count < duration)",
                "videos.app_c",
                "ALTER TABLE videos DROP CONSTRAINT app_c",
                &["0104", "annotations_count"],
            ),
            (
                "ALTER TABLE videos ADD COLUMN app_g INT AS (annotations_count + 1) VIRTUAL",
                "videos.app_g",
                "ALTER TABLE videos DROP COLUMN app_g",
                &["0104", "annotations_count"],
            ),
            (
                "ALTER TABLE videos ADD FULLTEXT INDEX words (filename)",
                "nothing",
                "ALTER TABLE videos DROP INDEX words",
                &["0104", "--allow-copy videos"],
            ),
        ],
    )
    .await;
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_cannot_end_does_not_begin_on_sqlite() {
    let directory = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(directory.path()).await;
    cannot_end(
        directory.path(),
        &legacy,
        &[
            (
                "CREATE INDEX app_i ON videos (file_hash)",
                "videos.app_i",
                "DROP INDEX app_i",
                &["0104", "file_hash"],
            ),
            (
                "CREATE VIEW app_v AS SELECT workflow_state FROM videos",
                "app_v",
                "DROP VIEW app_v",
                &["app_v"],
            ),
            (
                "CREATE TABLE app_f (id VARCHAR(36) PRIMARY KEY REFERENCES video_processing_status (id))",
                "app_f.id",
                "DROP TABLE app_f",
                &["0101", "app_f"],
            ),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_a_killed_trial_are_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    for left in [
        "CREATE TABLE reelshift_trial_videos LIKE videos",
        "CREATE TABLE reelshift_trial_video_processing_status (video_id VARCHAR(36), FOREIGN KEY (video_id) REFERENCES reelshift_trial_videos (id))",
        "CREATE VIEW reelshift_trial_v_processing_dashboard_stats AS SELECT id FROM reelshift_trial_videos",
    ] {
        legacy.execute(left).await;
    }
    run(directory.path(), &legacy, &["plan"]).ok();
    assert_eq!(tables(&legacy).await, ["videos"]);
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_the_steps_and_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    for legacy in [Legacy::sqlite(directory.path()).await, Legacy::mariadb().await] {
        legacy.fill(5).await;
        run(directory.path(), &legacy, &["apply", "expand"]).ok();
        let before = (tables(&legacy).await, applied(&legacy).await);
        let report =
            run(directory.path(), &legacy, &["--json", "rollback", "--dry-run"]).expect(0).json();
        let steps = report["steps"].as_array().expect("steps");
        assert_eq!(steps.len(), usize::try_from(before.1).expect("few"), "{report}");
        assert_eq!(report["refused"], Value::Array(Vec::new()), "{report}");
        let last = steps.last().expect("there are steps");
        assert_eq!(last["number"], 100, "{report}");
        let statement = last["statement"].as_str().expect("a statement");
        assert!(statement.starts_with("DROP TABLE processing_error_log"), "{statement}");
        assert!(!report["steps"].to_string().contains("{ddl_options}"), "{report}");
        let purge = ["--json", "rollback", "--dry-run", "--purge"];
        let report = run(directory.path(), &legacy, &purge).expect(0).json();
        assert!(report["steps"].as_array().expect("steps").len() > steps.len(), "{report}");
        let undecided = run(directory.path(), &legacy, &["rollback", "--dry-run"]).expect(0).stdout;
        assert!(undecided.contains("To do it: reelshift rollback --archive DIR"), "{undecided}");
        let shown = run(directory.path(), &legacy, &["rollback", "--dry-run", "--discard"])
            .expect(0)
            .stdout;
        for part in [
            "0101 ",
            "removes 19 columns of videos",
            "DROP COLUMN",
            "nothing was changed",
            "reelshift rollback --discard",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert_eq!((tables(&legacy).await, applied(&legacy).await), before);
        legacy.drop_database().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_for_good_has_to_be_confirmed() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    let legacy = Legacy::sqlite(directory).await;
    run(directory, &legacy, &["apply", "expand"]).ok();
    for arguments in
        [&["rollback", "--discard"] as &[&str], &["rollback", "--archive", "kept", "--purge"]]
    {
        let said = run(directory, &legacy, arguments).expect(4).stderr;
        assert!(said.contains("--yes") && said.contains("nothing was changed"), "{said}");
    }
    assert!(applied(&legacy).await > 0);
    run(directory, &legacy, &["rollback", "--discard", "--yes"]).ok();
    assert_eq!(applied(&legacy).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_stopped_says_where_and_what_to_type() {
    let directory = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(directory.path()).await;
    run(directory.path(), &legacy, &["apply", "expand"]).ok();
    // A journal that refuses stands for whatever stops a rollback between two steps.
    legacy
        .execute(
            "CREATE TRIGGER stop BEFORE DELETE ON reelshift_schema_steps WHEN OLD.number = 101 \
             BEGIN SELECT RAISE(ABORT, 'no further'); END",
        )
        .await;
    let arguments = ["rollback", "--discard", "--yes"];
    let said = run(directory.path(), &legacy, &arguments).expect(1).stderr;
    for part in
        ["step 0101 expand_video_processing_status", "no further", "`reelshift rollback --discard`"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    legacy.execute("DROP TRIGGER stop").await;
    run(directory.path(), &legacy, &arguments).ok();
}
