//! The view of a migration, once. Pages, terminal and JSON are skins of one [`Overview`].
//!
//! - [`sampler`]: reads the store and composes the overview;
//! - [`observer`]: what one report does not say, from those before it;
//! - [`verdict`], [`phases`], [`progress`], [`limiting`], [`stopping`], [`history`]: one question
//!   each;
//! - [`figures`]: how numbers, times and durations are written.

pub mod figures;
mod history;
mod limiting;
mod observer;
mod phases;
mod progress;
#[cfg(any(test, feature = "sample"))]
pub mod sample;
mod sampler;
mod stopping;
mod verdict;

use chrono::{DateTime, Utc};
use reelshift_store::flags::{FlagChange, StoredFlag};
use reelshift_store::report::LedgerReport;
use reelshift_store::rollback::OpenRollback;
use serde::Serialize;

pub use history::{Estimate, History};
pub use limiting::Limiting;
pub use observer::Observer;
pub use phases::{PhaseReport, Progress, StepReport};
pub use progress::{ProgressUnit, RunProgress, percent_of};
pub use sampler::{RUNS_SHOWN, Sampler};
pub use stopping::Stopping;
pub use verdict::{Verdict, amount, start_worker};

/// A migration at one moment of the database's clock.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Overview {
    /// Whether the first phase is complete; without it there is no report.
    pub expanded: bool,
    /// What the ledger counts.
    #[serde(flatten)]
    #[cfg_attr(feature = "openapi", schema(value_type = LedgerReport))]
    pub report: Option<LedgerReport>,
    /// A rollback that has begun and is not at its end.
    pub rollback: Option<OpenRollback>,
    pub verdict: Verdict,
    /// The signal that holds the fleet back, or the one that comes closest.
    pub limiting: Option<Limiting>,
    /// The setting that the fleet has come up to, with who set it.
    pub limiting_setting: Option<String>,
    pub phases: Vec<PhaseReport>,
    pub steps: Vec<StepReport>,
    pub pace: Pace,
    /// How far each run of the report is, in the same order.
    pub progress: Vec<RunProgress>,
    pub stopping: Stopping,
    pub flags: Vec<FlagReport>,
    /// The newest changes of flags.
    pub flag_changes: Vec<FlagChange>,
}

/// How fast work is done.
#[derive(Debug, Clone, Default, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pace {
    /// The sum over the live workers, as of their last heartbeats.
    pub rows_per_second: f64,
    pub bytes_per_second: f64,
    /// The means since [`Self::since`], the oldest sample that is remembered: up to an hour
    /// old.
    pub mean_rows_per_second: f64,
    pub mean_bytes_per_second: f64,
    pub since: Option<DateTime<Utc>>,
    /// When the open work will be done; `None` where nothing is open or nothing has moved.
    pub estimate: Option<Estimate>,
}

/// A flag with its last change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FlagReport {
    #[serde(flatten)]
    pub stored: StoredFlag,
    pub last_change: Option<FlagChange>,
}

impl Overview {
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
