//! What stands beside `videos` in the platform's database: foreign keys and the indexes that the
//! server made for them, names that are ours, tables that nobody can open.

use std::path::Path;

use reelshift_tests::{Legacy, Ran, Reelshift};
use sqlx::Row;

fn run(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> Ran {
    Reelshift::new(directory, arguments).database(&legacy.url).run()
}

async fn shown(legacy: &Legacy) -> String {
    legacy.rows("SHOW CREATE TABLE videos").await[0].get(1)
}

/// Three videos of a project, by a key for which the server has made the index.
async fn projects(legacy: &Legacy) {
    legacy.fill(3).await;
    for statement in [
        "CREATE TABLE projects (id VARCHAR(36) PRIMARY KEY) DEFAULT CHARSET = utf8mb4",
        "INSERT INTO projects VALUES ('p1'), ('p2')",
        "UPDATE videos SET project_id = 'p1'",
        "ALTER TABLE videos ADD INDEX first (fps), \
           ADD FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE",
        "ALTER TABLE videos ADD INDEX part (filename(10)) COMMENT 'a, `b`', \
           ADD INDEX last (status, fps), ADD UNIQUE INDEX one (id, status)",
    ] {
        legacy.execute(statement).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_key_keeps_the_index_that_the_server_made_for_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let legacy = Legacy::mariadb().await;
    projects(&legacy).await;
    let before = shown(&legacy).await;
    assert!(before.contains("KEY `project_id` (`project_id`)"), "{before}");
    run(dir, &legacy, &["apply", "expand"]).ok();
    // On a cluster somebody types what the plan shows.
    let planned = run(dir, &legacy, &["plan"]).expect(0).stdout;
    assert!(planned.contains("DROP INDEX `project_id`, ADD KEY `project_id`"), "{planned}");
    for stall in ["1ms", "10min"] {
        // Built online, and under a gate.
        let apply = ["apply", "index", "--longest-stall", stall, "--accept-victims", "9", "--yes"];
        run(dir, &legacy, &apply).ok();
        let now = shown(&legacy).await;
        assert!(now.contains("KEY `project_id` (`project_id`)"), "{stall}: {now}");
        assert!(now.contains("KEY `idx_video_project_workflow`"), "{stall}: {now}");
        run(dir, &legacy, &["rollback", "--to", "rollout", "--yes"]).ok();
    }
    run(dir, &legacy, &["apply", "index"]).ok();
    run(dir, &legacy, &["rollback", "--discard", "--yes"]).ok();
    assert_eq!(shown(&legacy).await, before);
    legacy.execute("DELETE FROM projects WHERE id = 'p1'").await;
    assert_eq!(legacy.number("SELECT COUNT(*) FROM videos").await, 0);
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_would_leave_a_key_without_an_index_does_not_begin() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let legacy = Legacy::mariadb().await;
    projects(&legacy).await;
    for arguments in [["apply", "expand"], ["apply", "index"]] {
        run(dir, &legacy, &arguments).ok();
    }
    // Ours serves the key: the platform's own is dropped as one too many.
    legacy.execute("ALTER TABLE videos DROP INDEX project_id").await;
    let steps = "SELECT COUNT(*) FROM reelshift_schema_steps WHERE finished_at IS NOT NULL";
    let before = legacy.number(steps).await;
    let refused = run(dir, &legacy, &["rollback", "--discard", "--yes"]).expect(4).stderr;
    for words in ["foreign key", "ALTER TABLE videos ADD INDEX (`project_id`)"] {
        assert!(refused.contains(words), "{words}: {refused}");
    }
    assert_eq!(legacy.number(steps).await, before, "nothing was undone");
    legacy.execute("ALTER TABLE videos ADD INDEX (`project_id`)").await;
    run(dir, &legacy, &["rollback", "--dry-run"]).ok();
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_key_with_a_name_of_ours_is_refused_before_expand() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    for name in ["fk_video_processing_status_video", "fk_processing_error_log_video"] {
        let legacy = Legacy::mariadb().await;
        legacy
            .execute(&format!(
                "CREATE TABLE other (id INT PRIMARY KEY, v VARCHAR(36), \
                 CONSTRAINT {name} FOREIGN KEY (v) REFERENCES videos (id)) DEFAULT CHARSET = utf8mb4"
            ))
            .await;
        let refused = run(dir, &legacy, &["apply", "expand"]).expect(4).stderr;
        assert!(refused.contains(&format!("foreign key {name} of table other")), "{refused}");
        let tables =
            "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()";
        assert_eq!(legacy.number(tables).await, 2, "nothing was made");
        legacy.drop_database().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_nobody_can_open_is_in_nobodys_way() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let legacy = Legacy::mariadb().await;
    legacy.fill(3).await;
    for statement in [
        "CREATE TABLE part (a INT) ENGINE = MyISAM",
        "CREATE TABLE parts (a INT) ENGINE = MERGE UNION = (part)",
        "DROP TABLE part",
    ] {
        legacy.execute(statement).await;
    }
    for arguments in [
        &["apply", "expand"][..],
        &["rollback", "--dry-run"],
        &["rollback", "--discard", "--purge", "--yes"],
    ] {
        run(dir, &legacy, arguments).ok();
    }
    legacy.drop_database().await;
}

// MariaDB counts columns that went instantly until the table is rebuilt.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_full_of_columns_that_went_is_rebuilt_or_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let legacy = Legacy::mariadb().await;
    let wide: Vec<_> = (0..28).map(|n| format!("ADD COLUMN b{n} VARCHAR(50)")).collect();
    legacy.execute(&format!("ALTER TABLE videos {}", wide.join(", "))).await;
    legacy.fill(3).await;
    let before = shown(&legacy).await;
    for cycle in 0..4 {
        let applied = run(dir, &legacy, &["apply", "expand"]);
        if applied.code != Some(0) {
            let refused = applied.expect(4).stderr;
            assert!(refused.contains("step 0104"), "cycle {cycle}: {refused}");
            let rebuild = "ALTER TABLE videos FORCE, ALGORITHM=INPLACE, LOCK=NONE";
            assert!(refused.contains(rebuild), "cycle {cycle}: {refused}");
            legacy.execute(rebuild).await;
            run(dir, &legacy, &["apply", "expand"]).ok();
        }
        run(dir, &legacy, &["rollback", "--discard", "--yes"]).ok();
        assert_eq!(shown(&legacy).await, before, "cycle {cycle}");
    }
    legacy.drop_database().await;
}
