//! Samples of the migration that the ledger keeps, so that charts and reports outlive the
//! processes that took them: one every few seconds while something is open, removed by `prune`.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reelshift_plan::{Impact, JobKind, VerdictKind, WorkerState};
use serde::Serialize;

use crate::Result;
use crate::report::LedgerReport;

/// A migration at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// By the database's clock.
    pub at: DateTime<Utc>,
    /// The sums over the live workers.
    pub rows_per_second: f64,
    pub bytes_per_second: f64,
    /// The mean time of a chunk, over the live workers that ran one.
    pub chunk_seconds: Option<f64>,
    /// The median time of what the application does, as the throttle measures it; `None` where
    /// no application is at work, or nothing is measured.
    pub application_seconds: Option<f64>,
    /// The same while the fleet rests.
    pub application_without_seconds: Option<f64>,
    pub verdict: VerdictKind,
}

impl Sample {
    /// What `report` shows, with the verdict on it.
    #[must_use]
    pub fn new(report: &LedgerReport, verdict: VerdictKind) -> Self {
        let live = || report.workers.iter().filter(|worker| worker.state == WorkerState::Live);
        let times: Vec<f64> = live().filter_map(|worker| worker.activity.chunk_seconds).collect();
        let chunks = u32::try_from(times.len()).unwrap_or(u32::MAX);
        let impact = report.throttle.as_ref().and_then(|throttle| throttle.impact);
        let median = impact.filter(Impact::has_application).map(|impact| impact.median);
        Self {
            at: report.at,
            rows_per_second: live().map(|worker| worker.activity.rows_per_second).sum(),
            bytes_per_second: live().map(|worker| worker.activity.bytes_per_second).sum(),
            chunk_seconds: (chunks > 0).then(|| times.iter().sum::<f64>() / f64::from(chunks)),
            application_seconds: median.map(|median| median.with),
            application_without_seconds: median.map(|median| median.without),
            verdict,
        }
    }

    /// Rows or bytes a second, whichever work of `kind` is counted in.
    #[must_use]
    pub const fn rate(&self, kind: JobKind) -> f64 {
        match kind {
            JobKind::Backfill | JobKind::Validate => self.rows_per_second,
            JobKind::Hash => self.bytes_per_second,
        }
    }
}

/// A database that keeps samples.
#[async_trait]
pub trait Samples {
    /// Keeps `sample`; it takes the place of one of the same time.
    async fn keep_sample(&self, sample: &Sample) -> Result<()>;

    /// At most `limit` samples after `after`, the oldest first; none in a ledger of a version
    /// that kept none. Those with a verdict of a later version are left out.
    async fn samples(&self, after: DateTime<Utc>, limit: u32) -> Result<Vec<Sample>>;

    /// How many samples are older than `older_than`.
    async fn prunable_samples(&self, older_than: Duration) -> Result<u64>;

    /// Removes up to `limit` samples that are older than `older_than`, the oldest first; returns
    /// how many.
    async fn prune_samples(&self, older_than: Duration, limit: u32) -> Result<u64>;
}
