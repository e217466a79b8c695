//! A server whose globals are all against us: every session of ours sets what it relies on.

use std::path::Path;

use reelshift_tests::chaos::server::Server;
use reelshift_tests::{Legacy, Ran, Reelshift, Video, oracle};
use sqlx::{AssertSqlSafe, Row};

/// What an administrator may have set for the application's sake, or by mistake.
const HOSTILE: [&str; 28] = [
    "autocommit = 0",
    "completion_type = 2",
    "sql_mode = 'TRADITIONAL,ANSI,NO_BACKSLASH_ESCAPES'",
    "time_zone = '+05:00'",
    "TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY",
    "sql_safe_updates = 1",
    "sql_select_limit = 3",
    "max_join_size = 2",
    "sql_auto_is_null = 1",
    "foreign_key_checks = 0",
    "unique_checks = 0",
    "group_concat_max_len = 4",
    "div_precision_increment = 0",
    "max_sort_length = 64",
    "sql_quote_show_create = 0",
    "max_statement_time = 0.001",
    "idle_transaction_timeout = 1",
    "check_constraint_checks = 0",
    "sql_if_exists = 1",
    "default_regex_flags = 'EXTENDED'",
    "default_storage_engine = MyISAM",
    "character_set_server = latin1",
    "character_set_client = latin1",
    "character_set_results = latin1",
    "character_set_connection = latin1",
    "innodb_strict_mode = 0",
    // Keys of 767 bytes in a new table without a row format of its own.
    "innodb_default_row_format = compact",
    "innodb_snapshot_isolation = 1",
];

fn run(directory: &Path, url: &str, arguments: &[&str]) -> Ran {
    Reelshift::new(directory, arguments).database(url).media(&directory.join("media")).run()
}

#[tokio::test]
async fn hostile_globals_change_nothing() {
    let server = Server::start().await;
    let legacy = Legacy::on(server.url()).await;
    let dir = tempfile::tempdir().expect("a directory");
    let media = dir.path().join("media");
    std::fs::create_dir(&media).expect("a directory");
    let names = ["\u{1f600}.mp4", "\u{65e5}\u{672c}.mov", "plain.avi", "a\\b'.mkv", "none"];
    let videos = names.map(|name| {
        std::fs::write(media.join(name), name).expect("a file is written");
        Video {
            id: format!("id {name}"),
            filename: Some(name.to_owned()),
            file_path: Some(name.to_owned()),
            file_size: Some(i64::try_from(name.len()).expect("a size")),
            status: Some("uploaded".to_owned()),
            processing_status: Some("completed".to_owned()),
            ground_truth: Some(true),
        }
    });
    legacy.insert(&videos).await;
    // As old servers made the second TIMESTAMP of a table. MySQL copies a table without a row
    // format of its own where the default has changed since.
    legacy
        .execute(
            "SET sql_mode = ''; ALTER TABLE videos \
             MODIFY created_at TIMESTAMP NOT NULL DEFAULT '0000-00-00 00:00:00', \
             ROW_FORMAT = DYNAMIC; \
             UPDATE videos SET created_at = '0000-00-00' WHERE id = 'id none'",
        )
        .await;
    let definition = async || legacy.rows("SHOW CREATE TABLE videos").await[0].get::<String, _>(1);
    let before = definition().await;
    // The test's own connections, all made before the globals are against them.
    let mut own = Vec::new();
    for _ in 0..legacy.pool.options().get_max_connections() {
        own.push(legacy.pool.acquire().await.expect("a connection"));
    }
    drop(own);
    for setting in HOSTILE {
        let set = AssertSqlSafe(format!("SET GLOBAL {setting}"));
        if let Err(error) = sqlx::raw_sql(set).execute(&legacy.pool).await {
            // Some are of one product only.
            assert!(error.to_string().contains("Unknown system variable"), "{setting}: {error}");
        }
    }

    let reelshift = |arguments: &[&str]| run(dir.path(), &legacy.url, arguments);
    reelshift(&["plan"]).ok();
    reelshift(&["inspect"]).ok();
    reelshift(&["apply", "expand"]).ok();
    reelshift(&["enqueue", "backfill", "--batch-size", "2"]).ok();
    reelshift(&["enqueue", "hash"]).ok();
    reelshift(&["work", "--until-idle"]).ok();
    reelshift(&["apply", "index"]).ok();
    reelshift(&["apply", "automate"]).ok();
    reelshift(&["notify", "hello", "--room", "\u{1f600}"]).ok();
    assert_eq!(legacy.number("SELECT COUNT(*) FROM realtime_notification_queue").await, 1);
    assert_eq!(legacy.number("SELECT COUNT(*) FROM videos WHERE file_hash IS NOT NULL").await, 5);
    let copied = "SELECT COUNT(*) FROM videos WHERE BINARY original_filename = BINARY filename";
    assert_eq!(legacy.number(copied).await, 5);
    let status = reelshift(&["--json", "video", "id \u{1f600}.mp4"]).expect(0).json();
    assert_eq!(status["filename"], "\u{1f600}.mp4", "{status}");
    reelshift(&["validate"]).ok();
    oracle::check_every_row(&legacy).await;

    let archive = dir.path().join("archive");
    let archive = archive.to_str().expect("a path");
    reelshift(&["rollback", "--archive", archive]).ok();
    assert_eq!(definition().await, before);
    reelshift(&["apply", "expand"]).ok();
    reelshift(&["restore", archive]).ok();
    assert_eq!(legacy.number("SELECT COUNT(*) FROM realtime_notification_queue").await, 1);
    assert_eq!(legacy.number(copied).await, 5);
}
