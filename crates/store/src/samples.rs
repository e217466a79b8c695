//! Samples of the migration that the ledger keeps, so that charts and reports outlive the
//! processes that took them: one every few seconds while something is open, removed by `prune`.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::Result;

/// What went on at one moment.
#[derive(Debug, Clone, PartialEq)]
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
    /// The state of the migration, by the name that `status --json` gives it; at most 16
    /// characters.
    pub verdict: String,
}

/// A database that keeps samples.
#[async_trait]
pub trait Samples {
    /// Keeps `sample`; it takes the place of one of the same time.
    async fn keep_sample(&self, sample: &Sample) -> Result<()>;

    /// At most `limit` samples after `after`, the oldest first; none in a ledger of a version
    /// that kept none.
    async fn samples(&self, after: DateTime<Utc>, limit: u32) -> Result<Vec<Sample>>;

    /// How many samples are older than `older_than`.
    async fn prunable_samples(&self, older_than: Duration) -> Result<u64>;

    /// Removes up to `limit` samples that are older than `older_than`, the oldest first; returns
    /// how many.
    async fn prune_samples(&self, older_than: Duration, limit: u32) -> Result<u64>;
}
