//! Many processes come and go at one file, and looking at a file does not change it.

use reelshift_store::patience::Options;
use reelshift_store::schema::{Schema as _, StepGroup, apply};
use reelshift_store_sqlite::{ConnectOptions, SqliteStore, connect};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

const VIDEOS: &str = "CREATE TABLE videos (id VARCHAR(36) PRIMARY KEY, filename TEXT, file_path TEXT,
    file_size INTEGER, duration FLOAT, fps FLOAT, resolution TEXT, status TEXT, processing_status TEXT,
    ground_truth_generated BOOLEAN, project_id TEXT, created_at TIMESTAMP, updated_at TIMESTAMP)";

async fn open(url: &str) -> SqliteStore {
    connect(url, ConnectOptions { max_connections: 2, create: false }).await.expect("it opens")
}

#[tokio::test(flavor = "multi_thread")]
async fn openings_at_once_wait_for_each_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("videos.db");
    let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.expect("a database");
    sqlx::raw_sql(VIDEOS).execute(&pool).await.expect("a table");
    pool.close().await;
    let url = format!("sqlite://{}", file.display());

    let before = std::fs::read(&file).expect("the file");
    open(&url).await.check_legacy().await.expect("the platform's table");
    assert_eq!(std::fs::read(&file).expect("the file"), before, "a look changes nothing");

    let groups = [StepGroup::Ledger, StepGroup::Expand];
    let store = open(&url).await;
    let options = Options::default();
    apply(&store, &groups, &options, |_, _| {}, tokio::time::sleep).await.expect("expanded");
    assert_eq!(std::fs::read(&file).expect("the file")[18], 2, "the write-ahead log is on");

    for _ in 0..10 {
        let openings: Vec<_> = (0..8)
            .map(|_| {
                let url = url.clone();
                tokio::spawn(async move {
                    let store = open(&url).await;
                    store.check_legacy().await.expect("the platform's table");
                    store.journal().await.expect("the journal")
                })
            })
            .collect();
        for opening in openings {
            assert!(!opening.await.expect("no panic").is_empty());
        }
    }
}
