//! The platform's application: threads that read, update and insert videos through the
//! legacy columns, at a steady rate, and note how long each query took.
//!
//! A query's latency counts from when it was due, not from when it was sent: a stall
//! delays the queries behind it, as it delays an application's users.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use sqlx::{Connection, MySqlConnection, MySqlPool};
use uuid::Uuid;

/// Queries that a thread has due in a second.
const RATE: u32 = 150;
/// A connection that stalls longer than this has failed, for an application.
const TIMEOUT: Duration = Duration::from_mins(1);

/// What the application saw while something went on.
#[derive(Debug, Clone, Serialize)]
pub struct Impact {
    pub during: String,
    pub seconds: f64,
    pub queries: u64,
    pub failed: u64,
    pub first_failure: Option<String>,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub longest_ms: f64,
}

#[derive(Debug)]
struct Seen {
    latencies: Histogram<u64>,
    failed: u64,
    first_failure: Option<String>,
    since: Instant,
}

impl Seen {
    fn new() -> Result<Self> {
        Ok(Self {
            latencies: Histogram::new(3)?,
            failed: 0,
            first_failure: None,
            since: Instant::now(),
        })
    }
}

/// A running application.
#[derive(Debug)]
pub struct Application {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    threads: Vec<tokio::task::JoinHandle<Result<()>>>,
}

impl Application {
    /// Starts `threads` threads on `database`. They touch only the videos `touched`, and
    /// those that they insert, of project `application`.
    pub async fn start(database: &str, threads: u64, touched: Arc<Vec<String>>) -> Result<Self> {
        let seen = Arc::new(Mutex::new(Seen::new()?));
        let stop = Arc::new(AtomicBool::new(false));
        let number = Arc::new(AtomicU64::new(0));
        let mut running = Vec::new();
        for thread in 0..threads {
            let connection = MySqlConnection::connect(database).await?;
            running.push(tokio::spawn(work(
                connection,
                database.to_owned(),
                // Other seeds than the legacy table's: its ids are drawn the same way.
                StdRng::seed_from_u64(1_000 + thread),
                Arc::clone(&touched),
                Arc::clone(&seen),
                Arc::clone(&stop),
                Arc::clone(&number),
            )));
        }
        Ok(Self { seen, stop, threads: running })
    }

    /// What was seen since the last call, which was while `during`.
    pub fn take(&self, during: &str) -> Result<Impact> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = std::mem::replace(&mut *seen, Seen::new()?);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds with three digits")]
        let ms = |micros: u64| micros as f64 / 1_000.0;
        Ok(Impact {
            during: during.to_owned(),
            seconds: seen.since.elapsed().as_secs_f64(),
            queries: seen.latencies.len(),
            failed: seen.failed,
            first_failure: seen.first_failure,
            p50_ms: ms(seen.latencies.value_at_quantile(0.5)),
            p99_ms: ms(seen.latencies.value_at_quantile(0.99)),
            p999_ms: ms(seen.latencies.value_at_quantile(0.999)),
            longest_ms: ms(seen.latencies.max()),
        })
    }

    pub async fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.await.context("an application thread panicked")??;
        }
        Ok(())
    }
}

async fn work(
    mut connection: MySqlConnection,
    database: String,
    mut rng: StdRng,
    touched: Arc<Vec<String>>,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    number: Arc<AtomicU64>,
) -> Result<()> {
    let period = Duration::from_secs(1) / RATE;
    let mut due = Instant::now() + period.mul_f64(rng.random());
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep_until(due.into()).await;
        let number = number.fetch_add(1, Ordering::Relaxed);
        let done =
            tokio::time::timeout(TIMEOUT, query(&mut connection, &mut rng, &touched, number)).await;
        let failure = match done {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {TIMEOUT:?}")),
        };
        {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let micros = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
            seen.latencies.record(micros)?;
            if let Some(failure) = &failure {
                seen.failed += 1;
                seen.first_failure.get_or_insert_with(|| failure.clone());
            }
        }
        if failure.is_some() {
            connection = MySqlConnection::connect(&database).await?;
        }
        due += period;
    }
    Ok(connection.close().await?)
}

/// One query of the mix: six reads, three updates and one insert in ten.
async fn query(
    connection: &mut MySqlConnection,
    rng: &mut StdRng,
    touched: &[String],
    number: u64,
) -> sqlx::Result<()> {
    let id = touched.choose(rng).map_or("", String::as_str);
    let state = *["pending", "processing", "completed", "failed"].choose(rng).unwrap_or(&"pending");
    match number % 10 {
        0..=5 => {
            sqlx::query(
                "SELECT id, filename, status, processing_status, ground_truth_generated, updated_at \
                 FROM videos WHERE id = ?",
            )
            .bind(id)
            .fetch_optional(connection)
            .await?;
        }
        6..=8 => {
            sqlx::query(
                "UPDATE videos SET processing_status = ?, ground_truth_generated = ?, \
                 updated_at = NOW() WHERE id = ?",
            )
            .bind(state)
            .bind(state == "completed")
            .bind(id)
            .execute(connection)
            .await?;
        }
        _ => {
            let id = Uuid::from_u128(rng.random()).to_string();
            sqlx::query(
                "INSERT INTO videos (id, filename, file_path, file_size, status, project_id, \
                 created_at, updated_at) VALUES (?, ?, ?, ?, 'uploaded', 'application', NOW(), NOW())",
            )
            .bind(&id)
            .bind(format!("upload {number}.mp4"))
            .bind(format!("uploads/{id}.mp4"))
            .bind(1_000_000)
            .execute(connection)
            .await?;
        }
    }
    Ok(())
}

/// The videos that the application touches: every tenth.
pub async fn touched(pool: &MySqlPool) -> Result<Arc<Vec<String>>> {
    let ids = sqlx::query_scalar(
        "SELECT id FROM videos WHERE CRC32(id) % 10 = 0 AND project_id <> 'application'",
    )
    .fetch_all(pool)
    .await?;
    Ok(Arc::new(ids))
}

/// A digest of every legacy column of the videos that the application does not touch.
pub async fn untouched_digest(pool: &MySqlPool) -> Result<String> {
    Ok(sqlx::query_scalar(
        "SELECT CAST(SUM(CAST(CONV(LEFT(MD5(CONCAT_WS('|', id, QUOTE(filename), QUOTE(file_path), \
         QUOTE(file_size), QUOTE(duration), QUOTE(fps), QUOTE(resolution), QUOTE(status), \
         QUOTE(processing_status), QUOTE(ground_truth_generated), QUOTE(project_id), \
         QUOTE(created_at), QUOTE(updated_at))), 15), 16, 10) AS DECIMAL(40))) AS CHAR) \
         FROM videos WHERE CRC32(id) % 10 <> 0 AND project_id <> 'application'",
    )
    .fetch_one(pool)
    .await?)
}
