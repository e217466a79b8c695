//! The README's demo, on SQLite and on MariaDB: what it shows is what is in the database.

use std::path::Path;

use reelshift_tests::{Legacy, Reelshift, oracle};
use sha2::{Digest, Sha256};
use sqlx::Row;

/// Every hash in the database is that of the file, read here by another library; every
/// file without a hash is in quarantine with its error.
async fn check_hashes(legacy: &Legacy, media: &Path) {
    let rows = legacy
        .rows("SELECT id, file_path, file_hash FROM videos WHERE file_path IS NOT NULL")
        .await;
    let mut hashed = 0;
    for row in &rows {
        let (id, path): (String, String) = (row.get("id"), row.get("file_path"));
        match row.get::<Option<String>, _>("file_hash") {
            Some(hash) => {
                let content = std::fs::read(media.join(&path)).expect("a hashed file is there");
                let expected: String =
                    Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(hash, expected, "{path}");
                hashed += 1;
            }
            None => {
                let held = legacy
                    .number(&format!(
                        "SELECT COUNT(*) FROM reelshift_quarantine q JOIN processing_error_log e ON e.id = q.error_id
                         WHERE q.kind = 'hash' AND q.video_id = '{id}' AND e.video_id = '{id}'"
                    ))
                    .await;
                assert_eq!(held, 1, "{path} has no hash and no explanation");
            }
        }
    }
    assert!(hashed > rows.len() * 9 / 10, "{hashed} of {} files were hashed", rows.len());
}

async fn check_demo(legacy: &Legacy, demo: &Path, videos: usize) {
    let uploaded = oracle::check_every_live_row(legacy).await;
    assert!(uploaded > videos, "the application uploaded none beside the {videos}");
    check_hashes(legacy, &demo.join("media")).await;
    assert_eq!(
        legacy.number("SELECT COUNT(*) FROM reelshift_batches WHERE state <> 'done'").await,
        0
    );
    assert_eq!(
        legacy.number("SELECT COUNT(*) FROM reelshift_workers WHERE state = 'live'").await,
        0
    );
    let workers = legacy.number("SELECT COUNT(*) FROM reelshift_workers WHERE rows_done > 0").await;
    assert!(workers >= 1, "the workers did the work");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite() {
    let dir = tempfile::tempdir().expect("a directory");
    let arguments = ["--json", "demo", "--videos", "600", "--size", "8"];
    let ran = Reelshift::new(dir.path(), &arguments).run().expect(0);
    assert_eq!(ran.json()["valid"], true);

    let demo = dir.path().join("reelshift-demo");
    let url = format!("sqlite://{}", demo.join("platform.db").display());
    let legacy = Legacy::existing(&url).await;
    check_demo(&legacy, &demo, 600).await;

    let status =
        Reelshift::new(dir.path(), &["--json", "status"]).database(&url).run().expect(5).json();
    assert_eq!(status["runs"][0]["state"], "done");
    let errors = Reelshift::new(dir.path(), &["errors"]).database(&url).run().expect(0);
    assert!(errors.stdout.contains("file_missing"), "{}", errors.stdout);

    // An earlier demo is replaced; anything else in its place is not.
    Reelshift::new(dir.path(), &["demo", "--videos", "20", "--size", "1"]).run().ok();
    std::fs::create_dir(dir.path().join("mine")).expect("a directory");
    let refused = Reelshift::new(dir.path(), &["demo", "--dir", "mine"]).run().expect(4);
    assert!(refused.stderr.contains("was not made by a demo"), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_mariadb() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::empty_mariadb().await;
    let arguments = ["demo", "--videos", "300", "--size", "4"];
    Reelshift::new(dir.path(), &arguments).database(&legacy.url).run().ok();
    check_demo(&legacy, &dir.path().join("reelshift-demo"), 300).await;

    let again = Reelshift::new(dir.path(), &arguments).database(&legacy.url).run().expect(4);
    assert!(again.stderr.contains("has a table `videos`"), "{}", again.stderr);
    legacy.drop_database().await;
}
