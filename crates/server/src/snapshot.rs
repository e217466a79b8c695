//! What all viewers look at, read once for all of them: pages, their live updates, the
//! terminal and JSON are made from one [`Snapshot`].
//!
//! - [`compose`]: from what the store says to what people ask;
//! - [`verdict`], [`phases`], [`limiting`], [`stopping`], [`history`]: one question each;
//! - [`maker`]: the task that looks, as often as somebody is there to see it.

mod compose;
mod history;
mod limiting;
mod maker;
mod phases;
#[cfg(test)]
pub(crate) mod sample;
mod stopping;
mod verdict;

use chrono::{DateTime, Utc};
use reelshift_store::flags::{FlagChange, StoredFlag};
use reelshift_store::report::Snapshot as Report;
use reelshift_store::rollback::OpenRollback;
use serde::Serialize;

pub use compose::{Looker, RUNS};
pub use history::{Estimate, History, Point};
pub use limiting::Limiting;
pub use maker::{Latest, Snapshots};
pub use phases::{PhaseReport, Progress, StepReport};
pub use stopping::Stopping;
pub(crate) use verdict::amount;
pub use verdict::{Kind, Verdict};

use crate::app::Shared;

/// Starts what works beside the requests, among `app.tasks`, until `app.stop`.
pub(crate) fn start(app: &Shared) {
    maker::start(app);
}

/// A migration at one moment of the database's clock.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    /// Whether the first phase is complete; without it there is no report.
    pub expanded: bool,
    /// What the ledger counts.
    #[serde(flatten)]
    pub report: Option<Report>,
    /// A rollback that has begun and is not at its end.
    pub rollback: Option<OpenRollback>,
    pub verdict: Verdict,
    /// What holds the fleet back, or comes closest to it.
    pub limiting: Option<Limiting>,
    pub phases: Vec<PhaseReport>,
    pub steps: Vec<StepReport>,
    pub pace: Pace,
    pub stopping: Stopping,
    pub flags: Vec<FlagReport>,
    /// The newest changes of flags.
    pub flag_changes: Vec<FlagChange>,
}

/// How fast it goes.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Pace {
    /// Of the live workers together, as they said last.
    pub rows_per_second: f64,
    pub bytes_per_second: f64,
    /// The means since [`Self::since`], over which this process has looked: up to an hour.
    pub mean_rows_per_second: f64,
    pub mean_bytes_per_second: f64,
    pub since: Option<DateTime<Utc>>,
    /// When the open work is through; `None` where nothing is open or nothing has moved.
    pub estimate: Option<Estimate>,
}

/// A flag with its last change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FlagReport {
    #[serde(flatten)]
    pub stored: StoredFlag,
    pub last_change: Option<FlagChange>,
}

impl Snapshot {
    /// The database's time of it.
    #[must_use]
    pub fn at(&self) -> Option<DateTime<Utc>> {
        self.report.as_ref().map(|report| report.at)
    }

    /// Whether the whole fleet is paused.
    #[must_use]
    pub fn paused(&self) -> bool {
        self.report.as_ref().is_some_and(|report| report.pause().is_some())
    }
}
