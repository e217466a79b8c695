//! What became of what operators said, and of the leases of those who fell silent.

use chrono::{DateTime, Utc};
use reelshift_plan::{BatchState, WorkerState};
use serde::Serialize;
use uuid::Uuid;

use super::WorkerReport;
use crate::audit::Change;

/// A change of a control or of a run's state, and how far the fleet goes by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = FleetCommand))]
pub struct Command {
    /// What workers acknowledge: they go by it when they have seen this or a later one.
    pub version: i64,
    #[serde(flatten)]
    pub change: Change,
    /// Live workers that go by it, of how many.
    pub acknowledged: u32,
    pub live: u32,
    /// Those that do not yet.
    pub waiting_for: Vec<Uuid>,
}

impl Command {
    /// The newest changes that a report shows.
    pub const SHOWN: u32 = 20;

    /// What `workers` say of the change with this number.
    #[must_use]
    pub fn of(version: i64, change: Change, workers: &[WorkerReport]) -> Self {
        let live = || workers.iter().filter(|worker| worker.state == WorkerState::Live);
        let waiting = live().filter(|worker| worker.activity.controls_seen < version);
        let waiting_for: Vec<Uuid> = waiting.map(|worker| worker.id).collect();
        let count = |workers: usize| u32::try_from(workers).unwrap_or(u32::MAX);
        Self {
            version,
            change,
            acknowledged: count(live().count() - waiting_for.len()),
            live: count(live().count()),
            waiting_for,
        }
    }
}

/// A batch that a silent worker had leased. Its token is void since `lost_at`: whatever
/// that worker writes afterwards is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LostLease {
    pub batch: Uuid,
    pub batch_seq: i64,
    pub worker: Uuid,
    pub lost_at: DateTime<Utc>,
    /// Who claimed the batch since; `None` while it waits.
    pub taken_over_by: Option<Uuid>,
    /// The state of the batch now.
    pub state: BatchState,
}

impl LostLease {
    /// The newest that a report shows.
    pub const SHOWN: u32 = 50;
}
