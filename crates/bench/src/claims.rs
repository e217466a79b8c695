//! How long a claim takes, with nobody else at the ledger.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use hdrhistogram::Histogram;
use reelshift_plan::JobKind;
use serde::Serialize;
use tokio::process::Command;

use crate::empty;

/// Batches that one of our claims takes: as many as the peer that takes several.
const BATCHES: u32 = 10;
const TIMES: u32 = 200;

/// Latencies of claims.
#[derive(Debug, Clone, Serialize)]
pub struct Latency {
    pub p50_ms: f64,
    pub p99_ms: f64,
}

impl Latency {
    fn of(latencies: &Histogram<u64>) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds with a few digits")]
        let ms = |quantile| latencies.value_at_quantile(quantile) as f64 / 1_000.0;
        Self { p50_ms: ms(0.5), p99_ms: ms(0.99) }
    }
}

/// Claims of our own store.
pub async fn ours(database: &str) -> Result<Latency> {
    let store = empty::open(database).await?;
    let worker = empty::new_worker();
    store.register_worker(&worker).await?;
    let mut latencies = Histogram::<u64>::new(3)?;
    for _ in 0..TIMES {
        let began = Instant::now();
        let claimed = store.claim(worker.id, JobKind::Backfill, BATCHES).await?;
        latencies.record(micros(began.elapsed()))?;
        if claimed.is_empty() {
            bail!("there are fewer batches than claims");
        }
    }
    Ok(Latency::of(&latencies))
}

/// Claims of a peer, which prints the microseconds of each.
pub async fn peers(program: &std::path::Path, database: &str, peer: &str) -> Result<Latency> {
    let output = Command::new(program)
        .args([peer, "claim", &TIMES.to_string()])
        .env("DATABASE_URL", database)
        .output()
        .await?;
    if !output.status.success() {
        bail!("{peer} claim: {}", String::from_utf8_lossy(&output.stderr));
    }
    let mut latencies = Histogram::<u64>::new(3)?;
    for line in String::from_utf8(output.stdout)?.lines() {
        latencies.record(line.parse()?)?;
    }
    Ok(Latency::of(&latencies))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
