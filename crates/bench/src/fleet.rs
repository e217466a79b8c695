//! A backfill by several worker processes: rows/s, the largest memory of a producer and a
//! worker, and, with `--kill`, the time from `kill -9` to the batch's next attempt.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;
use sqlx::MySqlPool;

use crate::legacy;
use crate::memory::{self, Series, mib};
use crate::process::Process;

#[derive(Debug, Args)]
pub struct FleetArgs {
    #[arg(long, default_value_t = 500_000)]
    videos: u32,
    #[arg(long, default_value_t = 4)]
    workers: u16,
    /// Kill one worker with SIGKILL in the middle
    #[arg(long)]
    kill: bool,
    /// Print the memory of producer and workers as a table, a line every so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    series: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Figures {
    server: String,
    videos: u32,
    workers: u16,
    enqueue_seconds: f64,
    backfill_seconds: f64,
    rows_per_second: f64,
    producer_largest_mib: f64,
    worker_largest_mib: f64,
    kill_to_next_attempt_seconds: Option<f64>,
}

pub async fn run(database: &str, args: &FleetArgs) -> Result<()> {
    let pool = MySqlPool::connect(database).await?;
    eprintln!("making {} legacy videos", args.videos);
    legacy::fill(&pool, args.videos, 1).await?;
    Process::start(database, &["apply", "expand"])?.finish().await?;

    let began = Instant::now();
    let mut series = args.series.map(|seconds| Series::begin(Duration::from_secs(seconds)));
    let mut producer = [Process::start(database, &["enqueue", "backfill"])?];
    memory::until_ended("producer", &mut producer, series.as_mut()).await?;
    let enqueue = began.elapsed();

    eprintln!("{} workers", args.workers);
    let began = Instant::now();
    let mut workers = (0..args.workers)
        .map(|_| Process::start(database, &["work", "--until-idle"]))
        .collect::<Result<Vec<_>>>()?;
    let recovery = if args.kill { Some(kill_one(&pool, &mut workers).await?) } else { None };
    memory::until_ended("worker", &mut workers, series.as_mut()).await?;
    let worker_largest = workers.iter().map(Process::largest).max().unwrap_or(0);
    let backfill = began.elapsed();
    Process::start(database, &["validate"])?.finish().await?;

    let server: String = sqlx::query_scalar("SELECT VERSION()").fetch_one(&pool).await?;
    let figures = Figures {
        server,
        videos: args.videos,
        workers: args.workers,
        enqueue_seconds: enqueue.as_secs_f64(),
        backfill_seconds: backfill.as_secs_f64(),
        rows_per_second: f64::from(args.videos) / backfill.as_secs_f64(),
        producer_largest_mib: mib(producer[0].largest()),
        worker_largest_mib: mib(worker_largest),
        kill_to_next_attempt_seconds: recovery.map(|time| time.as_secs_f64()),
    };
    println!("{}", serde_json::to_string_pretty(&figures)?);
    Ok(())
}

/// Kills a worker while it holds a batch; the time until the last of its batches is leased
/// again.
async fn kill_one(pool: &MySqlPool, workers: &mut Vec<Process>) -> Result<Duration> {
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut victim = workers.remove(0);
    victim.kill().await?;
    let killed = Instant::now();
    let held: Vec<i64> = sqlx::query_scalar(
        "SELECT seq FROM reelshift_batches b JOIN reelshift_workers w ON w.id = b.leased_by
         WHERE w.pid = ? AND b.state = 'leased'",
    )
    .bind(victim.pid())
    .fetch_all(pool)
    .await?;
    if held.is_empty() {
        bail!("the worker held no batch when it was killed: use more videos");
    }
    eprintln!("killed a worker that held {} batches", held.len());
    loop {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM reelshift_batches b JOIN reelshift_workers w ON w.id = b.leased_by
             WHERE w.pid = ? AND b.state = 'leased'",
        )
        .bind(victim.pid())
        .fetch_one(pool)
        .await?;
        let taken: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "SELECT COUNT(*) FROM reelshift_batches WHERE state <> 'pending' AND seq IN ({})",
            held.iter().map(i64::to_string).collect::<Vec<_>>().join(",")
        )))
        .fetch_one(pool)
        .await?;
        if waiting == 0 && usize::try_from(taken) == Ok(held.len()) {
            return Ok(killed.elapsed());
        }
        if killed.elapsed() > Duration::from_mins(2) {
            bail!("the batches of a killed worker were not taken back within two minutes");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
