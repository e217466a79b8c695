//! Reports for people: the ledger report behind `status`, the analysis behind `inspect`, and
//! what a check of `validate` came to ([`crate::comparisons`] makes them).

pub mod commands;
pub mod monitor;
pub mod throttle;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use reelshift_plan::{Tuning, WorkerState};
use serde::Serialize;
use uuid::Uuid;

pub use commands::{Command, LostLease};
pub use monitor::Monitor;
pub use throttle::ThrottleReport;

use crate::Result;
use crate::controls::{Control, PAUSE};
use crate::duties::Duty;
use crate::ledger::{Run, WorkerActivity};

/// The batches of a run, counted by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchCounts {
    pub pending: u64,
    pub leased: u64,
    pub done: u64,
    pub failed: u64,
    pub cancelled: u64,
}

/// A run with its progress.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunReport {
    #[serde(flatten)]
    pub run: Run,
    pub batches: BatchCounts,
    pub rows_done: u64,
    pub bytes_done: u64,
    /// Status rows that its chunks inserted.
    pub status_rows_created: u64,
    /// Files of `rows_done` whose hash is the checksum that the storage keeps.
    pub checksums_trusted: u64,
    /// Attempts that failed, and items that were set aside.
    pub errors: u64,
    /// Items of this run in quarantine that nobody has accepted, and those that somebody has.
    pub quarantined: u64,
    pub accepted: u64,
    /// Failed batches that nobody has enqueued again; none of a cancelled run, which nobody
    /// enqueues.
    pub failed_open: u64,
    /// From creation to the end, or to now; by the database's clock.
    pub elapsed_seconds: f64,
}

/// The throttle that the `workers` of a report follow.
#[must_use]
pub fn throttle_of(
    workers: &[WorkerReport],
    duties: &[Duty],
    controls: &[Control],
) -> Option<ThrottleReport> {
    let live = workers.iter().any(|worker| worker.state == WorkerState::Live);
    let stored = controls.iter().map(|control| (&*control.name, &*control.value));
    live.then(|| ThrottleReport::of(duties, &Tuning::of_stored(stored)))
}

/// A worker with what it says of itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerReport {
    pub id: Uuid,
    pub host: String,
    pub pid: u32,
    pub version: String,
    pub state: WorkerState,
    pub started_at: DateTime<Utc>,
    pub seen_seconds_ago: f64,
    pub leases: u64,
    #[serde(flatten)]
    pub activity: WorkerActivity,
}

impl WorkerReport {
    /// A worker that has been silent for this long, several lease timeouts, is reported as lost,
    /// even if its row says that it is live. Only another worker changes that row.
    pub const SILENT_SECONDS: f64 = 30.0;

    /// The state to report of a worker whose row has the state `stored`.
    #[must_use]
    pub fn state(stored: WorkerState, seen_seconds_ago: f64) -> WorkerState {
        match stored {
            WorkerState::Live if seen_seconds_ago >= Self::SILENT_SECONDS => WorkerState::Lost,
            stored => stored,
        }
    }
}

/// Everything that `status` shows, read at one moment of the database's clock.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LedgerReport {
    pub at: DateTime<Utc>,
    pub server: String,
    /// What operators set: a pause of the whole fleet, and settings that differ from their
    /// defaults.
    pub controls: Vec<Control>,
    /// The newest runs first.
    pub runs: Vec<RunReport>,
    /// Runs that are older than all of `runs` and would be among them, were these not
    /// [`LedgerReport::MAX_RUNS`].
    pub runs_left_out: u64,
    /// Rows of the ledger that this version cannot read, each with its table, its key and why;
    /// all others are shown and worked on.
    pub unreadable: Vec<String>,
    /// Live workers, and those lost or gone within the last ten minutes.
    pub workers: Vec<WorkerReport>,
    pub errors: Vec<crate::failures::ErrorGroup>,
    pub monitor: Monitor,
    /// The fleet's brake; `None` while there is no worker that would go by it.
    pub throttle: Option<ThrottleReport>,
    /// The newest things that operators told the fleet, and who goes by them.
    pub commands: Vec<Command>,
    /// Leases that silent workers lost within the last ten minutes, newest first.
    pub lost_leases: Vec<LostLease>,
    /// The server's load; `None` as the store returns it. Sampling it is decided by the
    /// flag `performance_monitoring`: see `reelshift-overview`.
    pub load: Option<Load>,
}

impl LedgerReport {
    /// Runs in one report: each costs three reads, and a screen holds fewer.
    pub const MAX_RUNS: usize = 100;

    /// The pause of the whole fleet, while it is paused.
    #[must_use]
    pub fn pause(&self) -> Option<&Control> {
        self.controls.iter().find(|control| control.name == PAUSE)
    }
}

/// What the server is doing, as the specification's processlist query counts it. A user
/// without the PROCESS privilege sees its own connections only.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ServerLoad))]
pub struct Load {
    /// Connections that execute a statement, the one that counts them among them.
    pub active_connections: u64,
    /// Seconds that these statements have taken so far.
    pub avg_query_seconds: f64,
    pub max_query_seconds: f64,
}

/// The specification's current-state analysis, with what will surprise an operator.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    pub server: String,
    pub total_videos: u64,
    pub uploaded_count: u64,
    /// `ground_truth_generated = TRUE`.
    pub processed_count: u64,
    /// Bytes.
    pub avg_file_size: Option<f64>,
    pub total_file_size: Option<f64>,
    pub latest_upload: Option<DateTime<Utc>>,
    pub earliest_upload: Option<DateTime<Utc>>,
    /// The last 30 days, newest first.
    pub daily: Vec<DailyUploads>,
    /// Rows by `status`, `processing_status` and `ground_truth_generated`, with the state
    /// that they map to.
    pub states: Vec<StateCount>,
    /// `processing_status = 'completed'` without ground truth: maps to `failed`.
    pub completed_without_ground_truth: u64,
    /// `file_size` NULL, negative, or at the limit of its column.
    pub suspicious_sizes: u64,
    pub without_file_path: u64,
}

/// One day of uploads.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DailyUploads {
    pub upload_date: NaiveDate,
    pub daily_uploads: u64,
    /// Bytes.
    pub avg_size: Option<f64>,
}

/// How many rows have one combination of the legacy columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StateCount {
    pub status: Option<String>,
    pub processing_status: Option<String>,
    pub ground_truth_generated: Option<bool>,
    pub count: u64,
    pub becomes: String,
}

/// What a check of `validate` came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CheckVerdict {
    Ok,
    /// Something is not as it must be.
    Difference,
    /// To be known, but as the specification has it.
    Warning,
    /// A later phase is what brings this about, or rows are yet to be compared.
    NotYet,
}

/// The outcome of one check of `validate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Check {
    /// `metadata`, `workflow_state`, …
    pub name: String,
    /// What was compared, for people.
    pub description: String,
    pub verdict: CheckVerdict,
    /// What was seen, where the verdict alone does not say it.
    pub note: Option<String>,
    /// Rows that were looked at.
    pub rows: u64,
    /// Rows that differ.
    pub differences: u64,
    /// The first ten that differ, in key order: what, expected, found.
    pub first: Vec<Difference>,
}

impl Check {
    /// A check that has looked at nothing yet.
    #[must_use]
    pub fn new(name: &str, description: &str) -> Self {
        Self {
            name: name.to_owned(),
            description: description.to_owned(),
            verdict: CheckVerdict::Ok,
            note: None,
            rows: 0,
            differences: 0,
            first: Vec::new(),
        }
    }

    /// Counts rows that were looked at, and those of them that differ.
    pub fn count(&mut self, rows: u64, differences: u64) {
        self.rows += rows;
        self.differences += differences;
        if differences > 0 {
            self.verdict = CheckVerdict::Difference;
        }
    }

    /// Whether nothing is wrong: a warning is none, and what is not yet due neither.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.verdict != CheckVerdict::Difference
    }
}

/// A row that does not hold what it must.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Difference {
    pub video_id: String,
    pub column: String,
    pub expected: Option<String>,
    pub found: Option<String>,
}

/// How many differences [`Check::first`] names.
pub const FIRST_DIFFERENCES: u32 = 10;

/// Reports for people.
#[async_trait]
pub trait Reports {
    /// Runs with their progress, workers, and error groups: the newest `runs`, and whatever
    /// their age those that are active, paused or failed or have items in quarantine, the
    /// newest of each kind and the newest of each kind that is done. Bounded by
    /// [`LedgerReport::MAX_RUNS`]: it counts the ledger of these runs, never the platform's
    /// tables.
    async fn ledger_report(&self, runs: u32) -> Result<LedgerReport>;

    /// The run with this id, with its progress; `None` where it is not there, or where this
    /// version cannot read it.
    async fn run_report(&self, id: Uuid) -> Result<Option<RunReport>>;

    /// The server's load; `None` where the database has no server.
    async fn load(&self) -> Result<Option<Load>>;

    /// The specification's current-state analysis; works before expand.
    async fn inspect(&self) -> Result<Inspection>;
}
