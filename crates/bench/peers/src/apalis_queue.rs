//! `apalis-sql` 0.7 on MariaDB.

use std::time::{Duration, Instant};

use anyhow::Result;
use apalis::layers::WorkerBuilderExt;
use apalis::prelude::{Monitor, Storage, WorkerBuilder, WorkerFactoryFn};
use apalis_sql::Config;
use apalis_sql::mysql::MysqlStorage;
use serde::{Deserialize, Serialize};
use sqlx::{MySqlPool, Row};

/// A job that says nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Nothing {
    number: u64,
}

/// Runs the migrations, with a collation that MariaDB has, and puts the jobs in.
pub async fn prepare(pool: &MySqlPool, jobs: u64) -> Result<()> {
    sqlx::raw_sql("DROP TABLE IF EXISTS jobs, workers").execute(pool).await?;
    for migration in MysqlStorage::migrations().iter() {
        let sql = migration.sql.replace("utf8mb4_0900_ai_ci", "utf8mb4_general_ci");
        sqlx::raw_sql(&sql).execute(pool).await?;
    }
    let mut storage = MysqlStorage::<Nothing>::new(pool.clone());
    storage.push(Nothing { number: 0 }).await?;
    sqlx::query(
        // Ids are ULIDs; another would end its stream of jobs.
        "INSERT INTO jobs SELECT job, CONCAT(LEFT(id, 10), LPAD(seq, 16, '0')), job_type, status, attempts, max_attempts, run_at, \
         last_error, lock_at, lock_by, done_at, priority FROM jobs JOIN seq_1_to_10000000 LIMIT ?",
    )
    .bind(jobs.saturating_sub(1))
    .execute(pool)
    .await?;
    Ok(())
}

async fn nothing(_: Nothing) -> Result<(), apalis::prelude::Error> {
    Ok(())
}

/// Executes jobs until killed.
pub async fn work(pool: MySqlPool, tuned: bool) -> Result<()> {
    let stock = Config::new(std::any::type_name::<Nothing>());
    let (config, concurrency) = if tuned {
        (stock.set_buffer_size(256).set_poll_interval(Duration::from_millis(1)), 64)
    } else {
        (stock, 10)
    };
    let storage = MysqlStorage::<Nothing>::new_with_config(pool, config);
    let worker = WorkerBuilder::new(format!("worker-{}", std::process::id()))
        .concurrency(concurrency)
        .backend(storage)
        .build_fn(nothing);
    Monitor::new().register(worker).run().await?;
    Ok(())
}

/// Times the statements with which its storage takes ten jobs, as its source has them.
pub async fn claim(pool: &MySqlPool, times: u32) -> Result<()> {
    for _ in 0..times {
        let began = Instant::now();
        let mut transaction = pool.begin().await?;
        let rows = sqlx::query(
            "SELECT id FROM jobs
                WHERE (status='Pending' OR (status = 'Failed' AND attempts < max_attempts)) AND run_at <= NOW() AND job_type = ? ORDER BY priority DESC, run_at ASC LIMIT ? FOR UPDATE SKIP LOCKED",
        )
        .bind(std::any::type_name::<Nothing>())
        .bind(10)
        .fetch_all(&mut *transaction)
        .await?;
        let ids: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let marks = vec!["?"; ids.len()].join(",");
        let update = format!(
            "UPDATE jobs SET status = 'Running', lock_at = NOW() WHERE id IN ({marks}) AND status = 'Pending' AND lock_by IS NULL"
        );
        let mut query = sqlx::query(&update);
        for id in &ids {
            query = query.bind(id);
        }
        query.execute(&mut *transaction).await?;
        transaction.commit().await?;
        let select =
            format!("SELECT * FROM jobs WHERE id IN ({marks}) ORDER BY priority DESC, run_at ASC");
        let mut query = sqlx::query(&select);
        for id in &ids {
            query = query.bind(id);
        }
        query.fetch_all(pool).await?;
        println!("{}", began.elapsed().as_micros());
    }
    Ok(())
}
