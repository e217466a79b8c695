//! Reads of a video's status while a backfill runs.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::future::try_join_all;
use hdrhistogram::Histogram;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde::Serialize;
use sqlx::MySqlPool;

use super::ServeArgs;
use super::http::Connection;
use crate::legacy;
use crate::memory::mib;
use crate::process::Process;

/// Videos that are read, of all.
const SAMPLE: u32 = 50_000;

#[derive(Debug, Serialize)]
struct Figures {
    server: String,
    videos: u32,
    connections: usize,
    reads: u64,
    reads_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    longest_ms: f64,
    /// Backfilled while the status was read.
    rows_per_second: f64,
    server_resident_mib: f64,
}

pub async fn run(database: &str, pool: &MySqlPool, args: &ServeArgs) -> Result<()> {
    eprintln!("making {} legacy videos", args.videos);
    legacy::fill(pool, args.videos, 1).await?;
    for command in [&["apply", "expand"][..], &["flags", "enable", "enhanced_video_processing"]] {
        Process::start(database, command)?.finish().await?;
    }
    let ids: Vec<String> =
        sqlx::query_scalar("SELECT id FROM videos LIMIT ?").bind(SAMPLE).fetch_all(pool).await?;
    let (server, port) = super::replica(database).await?;
    Process::start(database, &["enqueue", "backfill"])?.finish().await?;
    let mut workers = [
        Process::start(database, &["work", "--until-idle"])?,
        Process::start(database, &["work", "--until-idle"])?,
    ];
    // Until they work.
    tokio::time::sleep(Duration::from_secs(3)).await;

    eprintln!("reading for {} s", args.seconds);
    let rows = rows_done(pool).await?;
    let began = Instant::now();
    let until = began + Duration::from_secs(args.seconds);
    let readers = (0..args.readers).map(|seed| read(port, &ids, until, seed as u64));
    let mut times = Histogram::<u64>::new(3)?;
    for some in try_join_all(readers).await? {
        times.add(some)?;
    }
    let took = began.elapsed().as_secs_f64();
    let rows = rows_done(pool).await? - rows;
    if !workers.iter_mut().any(|worker| worker.runs().unwrap_or(false)) {
        bail!("the backfill ended before the reading did: use more videos");
    }
    #[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
    let figures = Figures {
        server: sqlx::query_scalar("SELECT VERSION()").fetch_one(pool).await?,
        videos: args.videos,
        connections: args.readers,
        reads: times.len(),
        reads_per_second: times.len() as f64 / took,
        p50_ms: times.value_at_quantile(0.5) as f64 / 1_000.0,
        p99_ms: times.value_at_quantile(0.99) as f64 / 1_000.0,
        longest_ms: times.max() as f64 / 1_000.0,
        rows_per_second: rows as f64 / took,
        server_resident_mib: mib(server.resident()),
    };
    println!("{}", serde_json::to_string_pretty(&figures)?);
    Ok(())
}

async fn rows_done(pool: &MySqlPool) -> Result<i64> {
    let sql = "SELECT CAST(COALESCE(SUM(rows_done), 0) AS SIGNED) FROM reelshift_batches";
    Ok(sqlx::query_scalar(sql).fetch_one(pool).await?)
}

/// Times in microseconds.
async fn read(port: u16, ids: &[String], until: Instant, seed: u64) -> Result<Histogram<u64>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut connection = Connection::open(port).await?;
    let mut times = Histogram::new(3)?;
    while Instant::now() < until {
        let Some(id) = ids.choose(&mut rng) else { bail!("there are no videos") };
        let began = Instant::now();
        let status = connection.get(&format!("/videos/{id}/status")).await?;
        if status != 200 {
            bail!("the status of {id} was answered with {status}");
        }
        times.record(u64::try_from(began.elapsed().as_micros())?)?;
    }
    Ok(times)
}
