//! A platform whose columns are of any charset, asked with any text.

use std::path::Path;

use reelshift_tests::http::{Request, encoded};
use reelshift_tests::server::{OPERATOR, Server};
use reelshift_tests::{Legacy, Ran, Reelshift, oracle};
use sqlx::Row;

fn run(directory: &Path, url: &str, arguments: &[&str]) -> Ran {
    Reelshift::new(directory, arguments).database(url).run()
}

/// A platform in `charset`, with names and paths in utf8mb4.
async fn platform(charset: &str, filename: &str, file_path: &str) -> Legacy {
    let legacy = Legacy::mariadb().await;
    legacy
        .execute(&format!(
            "ALTER TABLE videos CONVERT TO CHARACTER SET {charset}; ALTER TABLE videos \
             MODIFY filename {filename} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, \
             MODIFY file_path {file_path} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
        ))
        .await;
    legacy
}

const EMOJI: &str = "\u{1f600}";
const JAPANESE: &str = "\u{65e5}\u{672c}\u{8a9e}";

#[tokio::test]
async fn new_columns_hold_what_their_sources_hold() {
    let dir = tempfile::tempdir().expect("a directory");
    for (filename, file_path, expected) in [
        ("VARCHAR(255)", "VARCHAR(500)", ["varchar(500)", "varchar(500)"]),
        ("TEXT", "VARCHAR(2000)", ["text", "varchar(2000)"]),
        ("CHAR(200)", "MEDIUMTEXT", ["varchar(500)", "mediumtext"]),
    ] {
        let legacy = platform("latin1", filename, file_path).await;
        let reelshift = |arguments: &[&str]| run(dir.path(), &legacy.url, arguments);
        let insert = async |id: &str| {
            legacy
                .execute(&format!(
                    "SET NAMES utf8mb4; INSERT INTO videos (id, filename, file_path) \
                     VALUES ('{id}', '{JAPANESE} {EMOJI}.mp4', REPEAT('{JAPANESE}', 100))"
                ))
                .await;
        };
        insert("before").await;
        reelshift(&["apply", "expand"]).ok();
        insert("after").await;
        reelshift(&["enqueue", "backfill"]).ok();
        reelshift(&["work", "--until-idle"]).ok();
        reelshift(&["validate"]).ok();
        oracle::check_every_row(&legacy).await;
        let copies = "SELECT CAST(COLUMN_TYPE AS CHAR), CAST(COLLATION_NAME AS CHAR) \
             FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() \
               AND COLUMN_NAME IN ('original_filename', 'storage_location') ORDER BY COLUMN_NAME";
        for (row, expected) in legacy.rows(copies).await.iter().zip(expected) {
            assert_eq!(row.get::<String, _>(0), expected);
            assert_eq!(row.get::<String, _>(1), "utf8mb4_bin");
        }
        legacy.drop_database().await;
    }
}

#[tokio::test]
async fn a_text_that_no_id_can_hold_is_not_found() {
    let dir = tempfile::tempdir().expect("a directory");
    for charset in [
        "latin1 COLLATE latin1_bin",
        "utf8mb3 COLLATE utf8mb3_general_ci",
        "ascii",
        "utf8mb4 COLLATE utf8mb4_bin",
    ] {
        let legacy = platform(charset, "VARCHAR(255)", "VARCHAR(500)").await;
        let reelshift = |arguments: &[&str]| run(dir.path(), &legacy.url, arguments);
        legacy
            .execute("INSERT INTO videos (id, project_id, status) VALUES ('?', '?', '?'), ('a', 'b', 'c')")
            .await;
        reelshift(&["apply", "expand"]).ok();
        for text in [EMOJI, JAPANESE, "\u{e9}", "a\u{300}"] {
            let ran = reelshift(&["video", text]);
            assert_eq!(ran.code, Some(1), "{charset}: {ran:?}");
            assert!(ran.stderr.contains("there is no video"), "{charset}: {ran:?}");
            for key in ["project", "status"] {
                for kind in ["backfill", "hash"] {
                    let condition = format!("{key}={text}");
                    let planned = reelshift(&["--json", "enqueue", kind, "--where", &condition]);
                    assert!(planned.stderr.contains("no video"), "{charset}: {text}: {planned:?}");
                }
            }
        }
        let planned = reelshift(&["--json", "enqueue", "backfill", "--where", "project=b"]);
        assert_eq!(planned.expect(0).json()["rows_added"], 1);
        reelshift(&["work", "--until-idle"]).ok();

        let server = Server::start(dir.path(), &legacy).await;
        for text in [EMOJI, JAPANESE, "\u{e9}", "\0", &"x".repeat(3_000)] {
            let text = encoded(text);
            let get = |path: String| server.send(&Request::get(&path).bearer(OPERATOR)).status;
            assert_eq!(get(format!("/videos/{text}/status")), 404, "{charset}: {text}");
            assert_eq!(get(format!("/api/v1/errors?video={text}")), 200, "{charset}: {text}");
        }
        drop(server);
        legacy.drop_database().await;
    }
}

#[tokio::test]
async fn a_text_beyond_ascii_is_found_where_it_is_held() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = platform("latin1", "VARCHAR(255)", "VARCHAR(500)").await;
    let reelshift = |arguments: &[&str]| run(dir.path(), &legacy.url, arguments);
    legacy
        .execute("SET NAMES utf8mb4; INSERT INTO videos (id, project_id, filename) VALUES ('Zo\u{eb}', 'caf\u{e9}', 'a')")
        .await;
    reelshift(&["apply", "expand"]).ok();
    let planned = reelshift(&["--json", "enqueue", "backfill", "--where", "project=caf\u{e9}"]);
    assert_eq!(planned.expect(0).json()["rows_added"], 1);
    reelshift(&["work", "--until-idle"]).ok();
    assert_eq!(reelshift(&["--json", "video", "Zo\u{eb}"]).expect(0).json()["filename"], "a");
    legacy.drop_database().await;
}
