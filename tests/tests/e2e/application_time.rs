//! DATETIME columns: they stay as they are, and every command reads them in the application's
//! time zone.

use std::path::Path;

use reelshift_tests::chaos::server::Server;
use reelshift_tests::{Legacy, Ran, Reelshift, oracle};
use serde_json::Value;
use sqlx::Row;

fn run(directory: &Path, url: &str, arguments: &[&str]) -> Ran {
    Reelshift::new(directory, arguments).database(url).media(&directory.join("media")).run()
}

/// A server whose sessions are two hours ahead of UTC, with a platform on it.
async fn platform(created_at: &str, updated_at: &str) -> (Server, Legacy) {
    let server = Server::start().await;
    let legacy = Legacy::on(server.url()).await;
    legacy.execute("SET GLOBAL time_zone = '+02:00'").await;
    legacy
        .execute(&format!(
            "ALTER TABLE videos MODIFY created_at {created_at} NULL, \
             MODIFY updated_at {updated_at} NULL ON UPDATE CURRENT_{}",
            updated_at.replace("DATETIME", "TIMESTAMP")
        ))
        .await;
    (server, legacy)
}

/// Rows of one text column.
async fn texts(legacy: &Legacy, sql: &str) -> Vec<Option<String>> {
    legacy.rows(sql).await.iter().map(|row| row.get(0)).collect()
}

const TIMES: &str = "SELECT CONCAT(id, ' ', COALESCE(created_at, '-'), ' ', COALESCE(updated_at, '-')) \
     FROM videos ORDER BY id";

/// In the order of their ids, as the application wrote them.
const CREATED: [(&str, &str); 6] = [
    ("a", "'1960-05-06 07:08:09'"),
    ("b", "'2024-05-06 01:30:00.5'"),
    ("c", "'2024-12-31 23:59:59'"),
    ("d", "'2050-01-01 01:00:00'"),
    ("e", "NULL"),
    ("f", "'0000-00-00'"),
];

async fn fill(legacy: &Legacy) {
    for (id, created_at) in CREATED {
        legacy
            .execute(&format!(
                "SET sql_mode = ''; INSERT INTO videos (id, filename, file_path, created_at, updated_at) \
                 VALUES ('{id}', '{id}.mp4', '{id}.mp4', {created_at}, {created_at})"
            ))
            .await;
    }
}

fn finding<'a>(plan: &'a Value, check: &str) -> &'a str {
    let findings = plan["findings"].as_array().expect("findings");
    let found = findings.iter().find(|finding| finding["check"] == check);
    found.unwrap_or_else(|| panic!("no {check} in {plan}"))["says"].as_str().expect("a sentence")
}

#[tokio::test]
async fn datetimes_stay_as_they_are() {
    let (_server, legacy) = platform("DATETIME(6)", "DATETIME(3)").await;
    let dir = tempfile::tempdir().expect("a directory");
    let reelshift = |arguments: &[&str]| run(dir.path(), &legacy.url, arguments);
    std::fs::create_dir(dir.path().join("media")).expect("a directory");
    for (id, _) in CREATED {
        std::fs::write(dir.path().join(format!("media/{id}.mp4")), id).expect("a file is written");
    }
    fill(&legacy).await;
    let written = texts(&legacy, TIMES).await;

    let plan = reelshift(&["--json", "plan"]).expect(0).json();
    let zone = finding(&plan, "application_time_zone");
    assert!(
        zone.contains("created_at is DATETIME(6), updated_at is DATETIME(3)")
            && zone.contains("time zone +02:00, what a session of this server gets"),
        "{zone}"
    );
    assert!(finding(&plan, "newest_video").contains("2050-01-01 01:00:00"), "{plan}");

    let inspected = reelshift(&["--json", "inspect"]).expect(0).json();
    assert_eq!(inspected["latest_upload"], "2049-12-31T23:00:00Z");
    assert_eq!(inspected["earliest_upload"], "1960-05-06T05:08:09Z");

    reelshift(&["apply", "expand"]).ok();
    for (condition, ids) in [
        ("created-before=2024-05-05T23:30:00.5Z", "af"),
        ("created-before=2024-05-05T23:30:01Z", "abf"),
        ("created-after=2024-05-05T23:30:00.5Z", "bcd"),
        ("created-after=2024-12-31T22:00:00Z", "d"),
        ("created-after=2049-12-31T23:00:00Z", "d"),
        ("created-before=9999-12-31", "abcdf"),
        ("created-after=0001-01-01", "abcd"),
    ] {
        let planned = reelshift(&["--json", "enqueue", "backfill", "--where", condition]);
        let planned = planned.expect(0).json();
        assert_eq!(planned["rows_added"], ids.len(), "{condition}: {planned}");
    }
    reelshift(&["enqueue", "backfill"]).ok();
    reelshift(&["work", "--until-idle"]).ok();
    assert_eq!(texts(&legacy, TIMES).await, written, "the backfill keeps them");
    let copied = "SELECT CONCAT(video_id, ' ', COALESCE(CONVERT_TZ(created_at, @@time_zone, '+00:00'), '-')) \
         FROM video_processing_status ORDER BY video_id";
    let expected = [
        "a -",
        "b 2024-05-05 23:30:00.500000",
        "c 2024-12-31 21:59:59.000000",
        "d -",
        "e -",
        "f -",
    ];
    assert_eq!(texts(&legacy, copied).await, expected.map(|row| Some(row.to_owned())));

    // The application, strict and in its own zone: no write fails, none warns.
    for (id, created_at) in CREATED {
        let mode = if id == "f" { "" } else { "TRADITIONAL" };
        legacy
            .execute(&format!(
                "SET sql_mode = '{mode}', time_zone = '+02:00'; \
                 INSERT INTO videos (id, filename, file_path, created_at, updated_at) \
                 VALUES ('new {id}', 'a.mp4', 'a.mp4', {created_at}, NULL); \
                 SET @warnings = @@warning_count; UPDATE videos SET processing_status = 'processing' \
                 WHERE id = 'new {id}' AND IF(@warnings = 0, TRUE, (SELECT 1 UNION SELECT 2)); \
                 SET time_zone = '+00:00'"
            ))
            .await;
    }
    let status = reelshift(&["--json", "video", "b"]).expect(0).json();
    assert_eq!(status["updated_at"], "2024-05-05T23:30:00.500000", "{status}");
    reelshift(&["enqueue", "hash"]).ok();
    reelshift(&["work", "--until-idle"]).ok();
    let now = "SELECT COUNT(*) FROM videos WHERE file_hash IS NOT NULL AND NOT (ABS(TIMESTAMPDIFF(\
         SECOND, updated_at, CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', '+02:00'))) < 600)";
    assert_eq!(legacy.number(now).await, 0, "hashing writes the application's time");
    reelshift(&["validate"]).ok();
    oracle::check_every_live_row(&legacy).await;

    let live = texts(&legacy, TIMES).await;
    let archive = dir.path().join("archive");
    let archive = archive.to_str().expect("a path");
    reelshift(&["rollback", "--archive", archive]).ok();
    assert_eq!(texts(&legacy, TIMES).await, live, "the rollback keeps them");
    reelshift(&["apply", "expand"]).ok();
    reelshift(&["restore", archive]).ok();
    assert_eq!(texts(&legacy, TIMES).await, live, "the restore keeps them");
    legacy.drop_database().await;
}
