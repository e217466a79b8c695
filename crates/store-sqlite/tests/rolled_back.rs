//! SQLite ends a transaction by itself after some errors, a full disk among them; the store
//! goes on all the same.

use reelshift_store::ledger::{Ledger as _, Membership, NewWorker, WorkerActivity};
use reelshift_store::patience::Options;
use reelshift_store::schema::{StepGroup, apply};
use reelshift_store_sqlite::{ConnectOptions, connect};
use sqlx::sqlite::SqlitePool;
use uuid::Uuid;

const VIDEOS: &str = "CREATE TABLE videos (id VARCHAR(36) PRIMARY KEY, filename TEXT, file_path TEXT,
    file_size INTEGER, duration FLOAT, fps FLOAT, resolution TEXT, status TEXT, processing_status TEXT,
    ground_truth_generated BOOLEAN, project_id TEXT, created_at TIMESTAMP, updated_at TIMESTAMP)";

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_sqlite_ended_is_not_the_end_of_the_writer() {
    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("sqlite://{}", directory.path().join("videos.db").display());
    let other = SqlitePool::connect(&format!("{url}?mode=rwc")).await.expect("a database");
    sqlx::raw_sql(VIDEOS).execute(&other).await.expect("a table");
    let options = ConnectOptions { max_connections: 1, create: false };
    let store = connect(&url, options).await.expect("it opens");
    let options = Options::default();
    apply(&store, &[StepGroup::Ledger], &options, |_, _| {}, tokio::time::sleep)
        .await
        .expect("a ledger");
    let worker = NewWorker { id: Uuid::now_v7(), host: "h".into(), pid: 1, version: "v".into() };
    store.register_worker(&worker).await.expect("registered");

    sqlx::raw_sql(
        "CREATE TRIGGER rolls_back BEFORE UPDATE ON reelshift_workers
         BEGIN SELECT RAISE(ROLLBACK, 'not now'); END",
    )
    .execute(&other)
    .await
    .expect("a trigger");
    for _ in 0..3 {
        let error = store.heartbeat(worker.id, &WorkerActivity::default()).await;
        let said = error.expect_err("refused").to_string();
        assert!(said.contains("not now"), "{said}");
    }
    sqlx::raw_sql("DROP TRIGGER rolls_back").execute(&other).await.expect("it goes");
    assert_eq!(
        store.heartbeat(worker.id, &WorkerActivity::default()).await.expect("a heartbeat"),
        Membership::Live
    );
}
