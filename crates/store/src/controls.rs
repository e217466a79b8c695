//! What operators tell the whole fleet while it works: settings, pauses, and the history
//! of both. Every worker reads [`FleetView`] once a second.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reelshift_plan::{RunState, Tuning};
use serde::Serialize;
use uuid::Uuid;

use crate::duties::Duty;
use crate::ledger::Run;
use crate::{Result, StoreError};

/// The control that pauses the whole fleet; the others are named by
/// [`Knob`](reelshift_plan::Knob).
pub const PAUSE: &str = "pause";
/// The value of [`PAUSE`] while it is stored.
pub const ON: &str = "on";
/// Who pauses a run that mostly fails.
pub const BREAKER: &str = "circuit breaker";

/// Fewer batches than this say nothing about the share that fails.
const BREAKER_MIN_BATCHES: u64 = 20;
/// A run pauses itself when more than one in so many of its batches failed.
const BREAKER_SHARE: u64 = 10;

/// Why a run of `total` planned batches pauses itself when `failed` of them have failed;
/// `None` where it goes on.
#[must_use]
pub fn breaker_reason(failed: u64, total: u64) -> Option<String> {
    (total >= BREAKER_MIN_BATCHES && failed.saturating_mul(BREAKER_SHARE) > total).then(|| {
        format!(
            "{failed} of {total} batches failed, more than a tenth: see `reelshift errors`, remove \
             the cause, then resume (and rerun what failed)"
        )
    })
}

/// A row of `reelshift_controls`: what differs from its default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Control {
    pub name: String,
    pub value: String,
    pub reason: Option<String>,
    pub changed_by: String,
    pub changed_at: DateTime<Utc>,
    /// When it ends by itself, by the database's clock; `None` where only somebody ends it.
    pub ends_at: Option<DateTime<Utc>>,
}

/// What a control is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlSetting {
    pub name: String,
    /// `None` is the default: the row is deleted.
    pub value: Option<String>,
    pub reason: Option<String>,
    /// For how long; `None` is until somebody changes it.
    pub lasts: Option<Duration>,
    /// What it must be now (`Some(None)`: the default), or nothing is changed: what the
    /// operator saw when they decided.
    pub expected: Option<Option<String>>,
}

/// A change of a control, as the audit has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ControlChange {
    pub name: String,
    /// `None` is the default.
    pub previous: Option<String>,
    pub value: Option<String>,
    pub reason: Option<String>,
    pub changed_by: String,
    pub changed_at: DateTime<Utc>,
    /// When it ends by itself.
    pub ends_at: Option<DateTime<Utc>>,
}

/// A run that was cancelled.
#[derive(Debug, Clone, PartialEq)]
pub struct CancelledRun {
    pub run: Run,
    /// Batches that workers had leased: they write nothing more.
    pub leased: u64,
}

/// What a worker has to know of the fleet, as one statement reads it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FleetView {
    /// The database's clock.
    pub at: DateTime<Utc>,
    pub tuning: Tuning,
    /// The control [`PAUSE`], while the whole fleet is paused.
    pub paused: Option<Control>,
    /// Runs that are `paused`, and those `cancelled` within the last minute: whoever
    /// executes a batch of them stops. A run that is not named goes on.
    pub held: HashMap<Uuid, RunState>,
    /// Live workers, this one included.
    pub live: u32,
    /// Live workers whose id is smaller than this one's.
    pub rank: u32,
    /// The newest change of a control or of a run's state: what a worker acknowledges when
    /// it goes by this view. 0 before the first.
    pub version: i64,
    /// Who told this worker to end its work and leave.
    pub drained_by: Option<String>,
    /// All duties, with what their holders say.
    pub duties: Vec<Duty>,
}

/// Settings and pauses. `by` and names are cut to their columns.
#[async_trait]
pub trait Controls {
    /// The stored controls by name: only what differs from its default, and has not ended.
    async fn controls(&self) -> Result<Vec<Control>>;

    /// Stores controls and writes their history, in one transaction. A control that has
    /// the value already is written all the same: that somebody asked for it is worth
    /// knowing. Returns the changes in the order of `settings`, which names each once.
    ///
    /// # Errors
    /// `Refused`, naming who changed it, when a control is not what is `expected`; then
    /// none is changed.
    async fn set_controls(
        &self,
        settings: &[ControlSetting],
        by: &str,
    ) -> Result<Vec<ControlChange>>;

    /// What `worker` has to know of the fleet: one statement, whose cost does not grow
    /// with batches or with finished runs.
    async fn fleet_view(&self, worker: Uuid) -> Result<FleetView>;

    /// Tells a live worker to end its work and leave; it sees it in [`Self::fleet_view`].
    ///
    /// # Errors
    /// `Refused` when it does not live.
    async fn drain_worker(&self, worker: Uuid, reason: Option<&str>, by: &str) -> Result<()>;
}

/// What every adapter says when a control is not what was `expected` of it.
#[must_use]
pub fn not_as_expected(
    name: &str,
    found: Option<&str>,
    changed: Option<(&str, DateTime<Utc>)>,
) -> StoreError {
    let found = found.unwrap_or("the default");
    let who = match changed {
        Some((by, at)) => format!(", since {by} changed it at {}", at.format("%H:%M:%S UTC")),
        None => String::new(),
    };
    StoreError::Refused(format!(
        "{name} is {found}{who}: nothing was changed. Look at it again, then decide"
    ))
}

/// What every adapter says when a worker cannot be told to leave.
#[must_use]
pub fn not_live(worker: Uuid) -> StoreError {
    StoreError::Refused(format!("worker {worker} does not live: there is nothing to drain"))
}

/// Lets `run` become `next` where the state machine does, or where it is so already.
///
/// # Errors
/// `Refused` for a run that has ended otherwise.
pub fn check_transition(run: &Run, next: RunState) -> Result<()> {
    let Run { id, state, .. } = run;
    if *state == next || state.may_become(next) {
        return Ok(());
    }
    Err(StoreError::Refused(format!(
        "run {id} is {state}: only a run that has not ended can be {next}"
    )))
}

/// Lets a paused run be resumed.
///
/// # Errors
/// `Refused` for a run that is not paused.
pub fn check_resumable(run: &Run) -> Result<()> {
    let Run { id, state, .. } = run;
    if *state == RunState::Paused {
        return Ok(());
    }
    Err(StoreError::Refused(format!("run {id} is {state}, not paused: there is nothing to resume")))
}
