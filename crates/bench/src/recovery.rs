//! From `kill -9` of a worker to the next attempt at each of its batches, by the database's
//! clock, over many kills.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use chrono::NaiveDateTime;
use clap::Args;
use hdrhistogram::Histogram;
use rand::RngExt;
use serde::Serialize;
use sqlx::MySqlPool;

use crate::legacy;
use crate::process::Process;

/// A trigger makes each video take this long, so that a worker holds batches all the time:
/// a batch of [`BATCH`] videos takes a second.
const SLOW: &str = "CREATE TRIGGER bench_slow AFTER UPDATE ON videos FOR EACH ROW
    BEGIN IF @enable_realtime_notifications = 0 THEN DO SLEEP(0.02); END IF; END";
const BATCH: &str = "50";
/// Kills of a round, spread over two heartbeats: a round shows every phase of them.
const SPREAD: Duration = Duration::from_secs(4);
/// A batch that is not taken by then is lost.
const LIMIT: Duration = Duration::from_mins(1);

#[derive(Debug, Args)]
pub struct RecoveryArgs {
    /// Workers that are killed, in all
    #[arg(long, default_value_t = 60)]
    kills: u32,
    /// Workers at work, half of which are killed in a round
    #[arg(long, default_value_t = 12)]
    workers: u32,
    /// Enough for the whole measurement: a worker does 100 a second
    #[arg(long, default_value_t = 200_000)]
    videos: u32,
}

#[derive(Debug, Serialize)]
struct Figures {
    kills: u64,
    batches: u64,
    p50_seconds: f64,
    p99_seconds: f64,
    longest_seconds: f64,
}

pub async fn run(database: &str, args: &RecoveryArgs) -> Result<()> {
    let pool = MySqlPool::connect(database).await?;
    eprintln!("making {} legacy videos", args.videos);
    legacy::fill(&pool, args.videos, 1).await?;
    Process::start(database, &["apply", "expand"])?.finish().await?;
    sqlx::raw_sql(SLOW).execute(&pool).await?;
    let enqueue = ["enqueue", "backfill", "--batch-size", BATCH];
    Process::start(database, &enqueue)?.finish().await?;

    let (mut workers, mut batches) = (Vec::new(), 0);
    let mut times = Histogram::<u64>::new(3)?;
    while times.len() < args.kills.into() {
        while workers.len() < args.workers as usize {
            workers.push(Process::start(database, &["work", "--concurrency", "2"])?);
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        let victims = workers.split_off(workers.len() / 2);
        let mut killed = Vec::new();
        for victim in victims {
            let share = SPREAD.mul_f64(rand::rng().random::<f64>() / f64::from(args.workers));
            tokio::time::sleep(share * 2).await;
            killed.extend(kill(&pool, victim).await?);
        }
        for held in killed {
            batches += held.batches.len() as u64;
            let time = held.recovered(&pool).await?;
            times.record(u64::try_from(time.as_millis())?)?;
        }
        eprintln!("{} kills, p99 {} ms", times.len(), times.value_at_quantile(0.99));
    }
    for mut worker in workers {
        worker.kill().await?;
    }
    #[expect(clippy::cast_precision_loss, reason = "seconds with three digits")]
    let seconds = |ms: u64| ms as f64 / 1_000.0;
    let figures = Figures {
        kills: times.len(),
        batches,
        p50_seconds: seconds(times.value_at_quantile(0.5)),
        p99_seconds: seconds(times.value_at_quantile(0.99)),
        longest_seconds: seconds(times.max()),
    };
    println!("{}", serde_json::to_string_pretty(&figures)?);
    Ok(())
}

/// What a killed worker held.
struct Held {
    worker: String,
    at: NaiveDateTime,
    killed: Instant,
    batches: Vec<i64>,
}

/// Kills a worker; `None` if it held nothing just then.
async fn kill(pool: &MySqlPool, mut victim: Process) -> Result<Option<Held>> {
    let worker: String =
        sqlx::query_scalar("SELECT id FROM reelshift_workers WHERE pid = ? AND state = 'live'")
            .bind(victim.pid())
            .fetch_one(pool)
            .await?;
    let at = sqlx::query_scalar("SELECT NOW(6)").fetch_one(pool).await?;
    let killed = Instant::now();
    victim.kill().await?;
    let batches: Vec<i64> = sqlx::query_scalar(
        "SELECT seq FROM reelshift_batches WHERE leased_by = ? AND state = 'leased'",
    )
    .bind(&worker)
    .fetch_all(pool)
    .await?;
    Ok((!batches.is_empty()).then_some(Held { worker, at, killed, batches }))
}

impl Held {
    /// The time until the last of the batches was leased to another.
    async fn recovered(&self, pool: &MySqlPool) -> Result<Duration> {
        let mut last = Duration::ZERO;
        for batch in &self.batches {
            let again = loop {
                let taken: Option<NaiveDateTime> = sqlx::query_scalar(
                    "SELECT CAST(leased_at AS DATETIME(6)) FROM reelshift_batches
                     WHERE seq = ? AND state <> 'pending' AND NOT (leased_by <=> ?)",
                )
                .bind(batch)
                .bind(&self.worker)
                .fetch_optional(pool)
                .await?;
                if let Some(taken) = taken {
                    break taken;
                }
                if self.killed.elapsed() > LIMIT {
                    bail!("batch {batch} of a killed worker was not taken back within {LIMIT:?}");
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            last = last.max((again - self.at).to_std()?);
        }
        Ok(last)
    }
}
