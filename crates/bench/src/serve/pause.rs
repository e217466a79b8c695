//! Measures a pause while the fleet hashes at a low rate: how long it takes until every worker
//! acknowledges it, until nobody holds a batch, and until every worker reports that it is paused.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::future::try_join_all;
use serde::Serialize;
use sqlx::MySqlPool;
use tokio::time::sleep;

use super::ServeArgs;
use crate::legacy;
use crate::process::Process;

const WORKERS: i64 = 4;
const VIDEOS: u32 = 400;
const FILE_BYTES: u64 = 4 << 20;
const BYTE_RATE: &str = "100KiB";
const PAUSES: usize = 10;
/// A worker that does not rest within this never will.
const LIMIT: Duration = Duration::from_secs(60);

const ACKNOWLEDGED: &str = "SELECT COUNT(*) FROM reelshift_workers WHERE state = 'live' \
    AND controls_seen >= (SELECT MAX(seq) FROM reelshift_audit)";
const RESTING: &str =
    "SELECT COUNT(*) FROM reelshift_workers WHERE state = 'live' AND doing = 'paused'";
const HASHING: &str =
    "SELECT COUNT(DISTINCT leased_by) FROM reelshift_batches WHERE state = 'leased'";
const HELD: &str = "SELECT COUNT(*) FROM reelshift_batches WHERE state = 'leased'";

#[derive(Debug, Serialize)]
struct Figures {
    server: String,
    workers: i64,
    byte_rate: &'static str,
    pauses: usize,
    longest_until_acknowledged_ms: u128,
    longest_until_nothing_is_held_ms: u128,
    longest_until_all_say_paused_ms: u128,
}

pub async fn run(database: &str, pool: &MySqlPool, _: &ServeArgs) -> Result<()> {
    let media = tempfile::tempdir()?;
    legacy::fill(pool, VIDEOS, 1).await?;
    let paths: Vec<String> =
        sqlx::query_scalar("SELECT file_path FROM videos").fetch_all(pool).await?;
    for path in paths {
        let path = media.path().join(path);
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::File::create(path)?.set_len(FILE_BYTES)?;
    }
    sqlx::query("UPDATE videos SET file_size = ?").bind(FILE_BYTES).execute(pool).await?;
    let rate = format!("byte_rate={BYTE_RATE}");
    let enqueue = ["enqueue", "hash", "--batch-files", "2"];
    for command in [&["apply", "expand"][..], &["tune", &rate], &enqueue] {
        Process::start(database, command)?.finish().await?;
    }
    let media = media.path().to_string_lossy();
    let worker = ["work", "--media-root", &media];
    let workers: Result<Vec<_>> = (0..WORKERS).map(|_| Process::start(database, &worker)).collect();
    let mut workers = workers?;
    let mut longest = [Duration::ZERO; 3];
    for _ in 0..PAUSES {
        reaches(pool, HASHING, WORKERS).await?;
        let began = Instant::now();
        Process::start(database, &["pause", "--reason", "the benchmark"])?.finish().await?;
        let ends = try_join_all([
            reaches(pool, ACKNOWLEDGED, WORKERS),
            reaches(pool, HELD, 0),
            reaches(pool, RESTING, WORKERS),
        ]);
        for (longest, end) in longest.iter_mut().zip(ends.await?) {
            *longest = (*longest).max(end - began);
        }
        Process::start(database, &["resume"])?.finish().await?;
    }
    for worker in &mut workers {
        if !worker.runs()? {
            bail!("a worker ended before the measurement did");
        }
    }
    let [acknowledged, released, resting] = longest;
    let figures = Figures {
        server: sqlx::query_scalar("SELECT VERSION()").fetch_one(pool).await?,
        workers: WORKERS,
        byte_rate: BYTE_RATE,
        pauses: PAUSES,
        longest_until_acknowledged_ms: acknowledged.as_millis(),
        longest_until_nothing_is_held_ms: released.as_millis(),
        longest_until_all_say_paused_ms: resting.as_millis(),
    };
    println!("{}", serde_json::to_string_pretty(&figures)?);
    Ok(())
}

/// The moment at which `sql` counts `wanted`.
async fn reaches(pool: &MySqlPool, sql: &'static str, wanted: i64) -> Result<Instant> {
    let began = Instant::now();
    while sqlx::query_scalar::<_, i64>(sql).fetch_one(pool).await? != wanted {
        if began.elapsed() > LIMIT {
            bail!("{sql}: not {wanted} after {LIMIT:?}");
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(Instant::now())
}
