//! Hundreds of workers at one ledger: the product's own queue and every statement that a
//! worker makes beside its files, with the reading replaced by waiting. Shows what a fleet
//! costs the database and from where on it no longer keeps up (`docs/scale.md`).

mod load;
mod ticks;
mod worker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use sqlx::MySqlPool;

use self::load::Load;
use self::ticks::Ticks;
use self::worker::{Pace, SimulatedWorker};
use crate::memory::mib;
use crate::process::Process;
use crate::{empty, legacy};

/// Before a step is measured: new workers have joined, and heartbeats are out of step.
const RAMP: Duration = Duration::from_secs(6);
/// Workers that join at once: a deployment does not start all in one moment either.
const JOIN: usize = 25;

#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// Each step as WORKERSxSECONDS, where SECONDS is how long a worker reads for a batch;
    /// workers are only ever added
    #[arg(long, value_delimiter = ',', default_value = "100x10,250x10,500x10,500x5,500x2,500x1")]
    steps: Vec<Step>,
    /// How long each step is measured
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    measure: u64,
    /// Enough for all steps: a batch has up to 64
    #[arg(long, default_value_t = 1_000_000)]
    videos: u32,
    /// Connections that a worker may open; the server must allow all of them
    #[arg(long, default_value_t = 3)]
    connections: u32,
}

#[derive(Debug, Clone, Copy)]
struct Step {
    workers: usize,
    seconds: f64,
}

impl std::str::FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('x').and_then(|(workers, seconds)| {
            Some(Self { workers: workers.parse().ok()?, seconds: seconds.parse().ok()? })
        });
        parts
            .filter(|step| step.workers > 0 && step.seconds >= 0.0)
            .ok_or_else(|| format!("`{text}` is not WORKERSxSECONDS, such as 500x5"))
    }
}

/// What planning took, and what it left in the ledger.
#[derive(Debug, Serialize)]
struct Planning {
    server: String,
    videos: u32,
    batches: i64,
    plan_seconds: f64,
    producer_largest_mib: f64,
    ledger_bytes_per_batch: f64,
}

/// One step, a line.
#[derive(Debug, Serialize)]
struct Figures {
    workers: usize,
    batch_seconds: f64,
    /// What the workers could do if the database took no time.
    batches_per_second_wanted: f64,
    batches_per_second: f64,
    /// The oldest heartbeat of a live worker that was seen; a lease ends at 8 s.
    heartbeat_oldest_seconds: f64,
    leases_lost: i64,
    refused: u64,
    claim: ticks::Quantiles,
    write: ticks::Quantiles,
    look: ticks::Quantiles,
    upkeep: ticks::Quantiles,
    #[serde(flatten)]
    load: load::Rates,
}

pub async fn run(database: &str, args: &SimulateArgs) -> Result<()> {
    let pool = MySqlPool::connect(database).await?;
    // Hundreds of workers together prepare more statements than the default of 16,382.
    sqlx::raw_sql("SET GLOBAL max_prepared_stmt_count = 1000000").execute(&pool).await?;
    eprintln!("making {} legacy videos", args.videos);
    legacy::fill(&pool, args.videos, 1).await?;
    Process::start(database, &["apply", "expand"])?.finish().await?;
    println!("{}", serde_json::to_string(&plan(database, &pool, args.videos).await?)?);

    let pace = Arc::new(Pace::default());
    let mut workers: Vec<SimulatedWorker> = Vec::new();
    for step in &args.steps {
        if step.workers < workers.len() {
            bail!("workers are only ever added: name the steps in that order");
        }
        eprintln!("{} workers, {} s a batch", step.workers, step.seconds);
        pace.set(Duration::from_secs_f64(step.seconds));
        while workers.len() < step.workers {
            let more = JOIN.min(step.workers - workers.len());
            let joining =
                (0..more).map(|_| SimulatedWorker::join(database, args.connections, &pace));
            workers.extend(futures::future::try_join_all(joining).await?);
        }
        tokio::time::sleep(RAMP).await;
        let figures = measure(database, &pool, &pace, *step, args.measure).await?;
        println!("{}", serde_json::to_string(&figures)?);
    }
    for worker in workers {
        worker.leave().await?;
    }
    Ok(())
}

/// Has the producer plan a hash run over everything.
async fn plan(database: &str, pool: &MySqlPool, videos: u32) -> Result<Planning> {
    let began = Instant::now();
    // As many files as a batch may have, however large they are.
    let enqueue = ["enqueue", "hash", "--batch-bytes", "1TiB"];
    let largest = Process::start(database, &enqueue)?.finish().await?;
    let plan_seconds = began.elapsed().as_secs_f64();
    // The first has the table's size counted anew.
    sqlx::raw_sql("ANALYZE TABLE reelshift_batches").execute(pool).await?;
    let (server, batches, bytes): (String, i64, i64) = sqlx::query_as(
        "SELECT VERSION(), (SELECT COUNT(*) FROM reelshift_batches), \
           CAST(data_length + index_length AS SIGNED) \
         FROM information_schema.tables \
         WHERE table_schema = DATABASE() AND table_name = 'reelshift_batches'",
    )
    .fetch_one(pool)
    .await?;
    if batches == 0 {
        bail!("nothing was planned");
    }
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    let ledger_bytes_per_batch = bytes as f64 / batches as f64;
    let producer_largest_mib = mib(largest);
    Ok(Planning {
        server,
        videos,
        batches,
        plan_seconds,
        producer_largest_mib,
        ledger_bytes_per_batch,
    })
}

async fn measure(
    database: &str,
    pool: &MySqlPool,
    pace: &Pace,
    step: Step,
    seconds: u64,
) -> Result<Figures> {
    let open = "SELECT COUNT(*) FROM reelshift_batches WHERE state = 'pending'";
    let store = empty::open(database).await?;
    let prober = empty::new_worker();
    store.register_worker(&prober).await?;
    let claim = Ticks::default();
    let before = Load::of(pool).await?;
    pace.ticks.restart();
    let began = Instant::now();
    let (done, errors) = (pace.done(), pace.errors());
    let mut oldest = 0.0_f64;
    while began.elapsed() < Duration::from_secs(seconds) {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let age: Option<f64> = sqlx::query_scalar(
            "SELECT CAST(MAX(TIMESTAMPDIFF(MICROSECOND, last_seen_at, NOW(6))) / 1e6 AS DOUBLE) \
             FROM reelshift_workers WHERE state = 'live' AND id <> ?",
        )
        .bind(prober.id.to_string())
        .fetch_one(pool)
        .await?;
        oldest = oldest.max(age.unwrap_or(0.0));
        // A claim as the workers make them, timed; its batch goes back.
        let claimed = claim.time(store.claim(prober.id, worker::KIND, 1)).await?;
        let leases: Vec<_> = claimed.iter().map(|batch| batch.lease).collect();
        store.release(&leases).await?;
        store.heartbeat(prober.id, &Default::default()).await?;
    }
    let elapsed = began.elapsed().as_secs_f64();
    let batches = pace.done() - done;
    let ticks = pace.ticks.quantiles();
    let load = Load::of(pool).await?.since(&before, elapsed);
    store.deregister_worker(prober.id).await?;
    let left: i64 = sqlx::query_scalar(open).fetch_one(pool).await?;
    if left == 0 {
        bail!("the batches ran out: use more videos");
    }
    let leases_lost: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM reelshift_workers WHERE state = 'lost'")
            .fetch_one(pool)
            .await
            .context("cannot count the workers")?;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    Ok(Figures {
        workers: step.workers,
        batch_seconds: step.seconds,
        batches_per_second_wanted: step.workers as f64 / step.seconds,
        batches_per_second: batches as f64 / elapsed,
        heartbeat_oldest_seconds: oldest,
        leases_lost,
        refused: pace.errors() - errors,
        claim: claim.quantiles(),
        write: ticks.write,
        look: ticks.look,
        upkeep: ticks.upkeep,
        load,
    })
}
