//! `fang` 0.11 on MariaDB.

use std::time::Instant;

use anyhow::{Result, anyhow};
use async_trait::async_trait;
use fang::asynk::async_queue::{AsyncQueue, AsyncQueueable};
use fang::asynk::async_runnable::AsyncRunnable;
use fang::asynk::async_worker_pool::AsyncWorkerPool;
use fang::{FangError, typetag};
use serde::{Deserialize, Serialize};
use sqlx::MySqlPool;

/// Workers of a process, each a task with a connection.
const WORKERS: u32 = 10;

/// The table of its own migration.
const TABLE: &str = "CREATE TABLE fang_tasks (
    id BINARY(16) PRIMARY KEY,
    metadata JSON NOT NULL,
    error_message TEXT,
    state ENUM('new', 'in_progress', 'failed', 'finished', 'retried') NOT NULL DEFAULT 'new',
    task_type VARCHAR(255) NOT NULL DEFAULT 'common',
    uniq_hash VARCHAR(64),
    retries INTEGER NOT NULL DEFAULT 0,
    scheduled_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    updated_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
);
CREATE INDEX fang_tasks_state_index ON fang_tasks(state);
CREATE INDEX fang_tasks_type_index ON fang_tasks(task_type);
CREATE INDEX fang_tasks_scheduled_at_index ON fang_tasks(scheduled_at);
CREATE INDEX fang_tasks_uniq_hash ON fang_tasks(uniq_hash)";

/// A task that says nothing.
#[derive(Debug, Serialize, Deserialize)]
struct Nothing {
    number: u64,
}

#[typetag::serde]
#[async_trait]
impl AsyncRunnable for Nothing {
    async fn run(&self, _: &dyn AsyncQueueable) -> Result<(), FangError> {
        Ok(())
    }
}

/// Makes the table and puts the tasks in.
pub async fn prepare(pool: &MySqlPool, jobs: u64) -> Result<()> {
    sqlx::raw_sql("DROP TABLE IF EXISTS fang_tasks").execute(pool).await?;
    sqlx::raw_sql(TABLE).execute(pool).await?;
    sqlx::query(
        "INSERT INTO fang_tasks (id, metadata, task_type, scheduled_at) \
         SELECT UNHEX(REPLACE(UUID(), '-', '')), '{\"type\":\"Nothing\",\"number\":0}', 'common', \
           UTC_TIMESTAMP(6) FROM seq_1_to_10000000 LIMIT ?",
    )
    .bind(jobs)
    .execute(pool)
    .await?;
    Ok(())
}

async fn queue(database: &str) -> Result<AsyncQueue> {
    let mut queue = AsyncQueue::builder().uri(database).max_pool_size(WORKERS).build();
    queue.connect().await.map_err(|error| anyhow!("{error:?}"))?;
    Ok(queue)
}

/// Executes tasks until killed.
pub async fn work(database: &str) -> Result<()> {
    let mut pool: AsyncWorkerPool<AsyncQueue> =
        AsyncWorkerPool::builder().number_of_workers(WORKERS).queue(queue(database).await?).build();
    pool.start().await;
    std::future::pending().await
}

/// Times its own claim of one task.
pub async fn claim(database: &str, times: u32) -> Result<()> {
    let queue = queue(database).await?;
    for _ in 0..times {
        let began = Instant::now();
        let task = queue
            .fetch_and_touch_task(Some("common".to_owned()))
            .await
            .map_err(|error| anyhow!("{error:?}"))?;
        anyhow::ensure!(task.is_some(), "there are fewer tasks than claims");
        println!("{}", began.elapsed().as_micros());
    }
    Ok(())
}
