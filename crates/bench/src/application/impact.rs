//! What the application noticed while something went on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::transaction::Failure;

/// Latencies are what a transaction waited for the database; the time that it stayed open in
/// between is not in them.
#[derive(Debug, Clone, Serialize)]
pub struct Impact {
    pub during: String,
    pub seconds: f64,
    pub transactions: u64,
    pub failed: u64,
    /// Failed transactions by the server's error code.
    pub failures: BTreeMap<String, u64>,
    pub first_failure: Option<String>,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub longest_ms: f64,
}

impl Impact {
    /// Codes of failed transactions with their numbers: `1213 × 4, 1412 × 1`.
    fn codes(&self) -> String {
        let codes: Vec<_> =
            self.failures.iter().map(|(code, count)| format!("{code} × {count}")).collect();
        codes.join(", ")
    }

    /// A row of a Markdown table.
    pub fn row(&self) -> String {
        let failed = if self.failed == 0 {
            "0".to_owned()
        } else {
            format!("{} ({})", self.failed, self.codes())
        };
        format!(
            "| {} | {:.1} | {} | {failed} | {:.1} | {:.1} | {:.1} | {:.1} |",
            self.during,
            self.seconds,
            self.transactions,
            self.p50_ms,
            self.p99_ms,
            self.p999_ms,
            self.longest_ms
        )
    }

    /// Says what was noticed, while the measurement goes on.
    pub fn announce(&self) {
        eprintln!(
            "{}: {:.1} s, {} transactions, {} failed, p99.9 {:.1} ms, longest {:.1} ms",
            self.during,
            self.seconds,
            self.transactions,
            self.failed,
            self.p999_ms,
            self.longest_ms
        );
        if let Some(failure) = &self.first_failure {
            eprintln!("  {}; the first: {failure}", self.codes());
        }
    }
}

#[derive(Debug)]
pub(super) struct Counts {
    /// From one transaction of a thread to its next, where nothing is waited for.
    interval: Duration,
    /// Microseconds. A transaction that waited for longer than the interval stands for those
    /// too that would have begun meanwhile.
    latencies: Histogram<u64>,
    longest: Duration,
    transactions: u64,
    failures: BTreeMap<String, u64>,
    first_failure: Option<String>,
    since: Instant,
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Counts {
    pub(super) fn new(interval: Duration) -> Result<Self> {
        Ok(Self {
            interval,
            latencies: Histogram::new(3)?,
            longest: Duration::ZERO,
            transactions: 0,
            failures: BTreeMap::new(),
            first_failure: None,
            since: Instant::now(),
        })
    }

    pub(super) fn add(&mut self, waited: Duration, failure: Option<Failure>) -> Result<()> {
        self.latencies.record_correct(micros(waited), micros(self.interval))?;
        self.longest = self.longest.max(waited);
        self.transactions += 1;
        if let Some(failure) = failure {
            *self.failures.entry(failure.code).or_default() += 1;
            self.first_failure.get_or_insert(failure.message);
        }
        Ok(())
    }

    pub(super) fn take(&mut self, during: &str) -> Result<Impact> {
        let fresh = Self::new(self.interval)?;
        let counts = std::mem::replace(self, fresh);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds with three digits")]
        let ms = |micros: u64| micros as f64 / 1_000.0;
        Ok(Impact {
            during: during.to_owned(),
            seconds: counts.since.elapsed().as_secs_f64(),
            transactions: counts.transactions,
            failed: counts.failures.values().sum(),
            failures: counts.failures,
            first_failure: counts.first_failure,
            p50_ms: ms(counts.latencies.value_at_quantile(0.5)),
            p99_ms: ms(counts.latencies.value_at_quantile(0.99)),
            p999_ms: ms(counts.latencies.value_at_quantile(0.999)),
            longest_ms: ms(micros(counts.longest)),
        })
    }
}
