//! Runs, batches, leases and workers: the ledger that is the queue.
//!
//! Rules that every adapter keeps in SQL, not in Rust:
//! - a transition happens only from the state it is allowed from, in one statement with
//!   its `WHERE`, or in one transaction;
//! - whatever a worker writes about a batch is conditioned on its lease token, whatever a
//!   planner writes about a run on its planner token;
//! - ids compare as the database compares them (its collation), never in Rust.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use reelshift_plan::{BatchState, JobKind, RunState};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::failures::ErrorSelection;
use crate::{ErrorRecord, Result};

/// Which videos a run is over. Every condition that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VideoFilter {
    /// `videos.project_id` equals this.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub project: Option<String>,
    /// `videos.status` equals this.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<String>,
    /// `videos.created_at` is at or after this.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub created_after: Option<DateTime<Utc>>,
    /// `videos.created_at` is before this.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub created_before: Option<DateTime<Utc>>,
}

/// The conditions as `--where` takes them, separated by commas.
impl fmt::Display for VideoFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { project, status, created_after, created_before } = self;
        let time = |time: &DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        let conditions = [
            project.as_ref().map(|project| format!("project={project}")),
            status.as_ref().map(|status| format!("status={status}")),
            created_after.as_ref().map(|at| format!("created-after={}", time(at))),
            created_before.as_ref().map(|at| format!("created-before={}", time(at))),
        ];
        f.write_str(&conditions.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// What a run plans: stored as JSON with the run, so that any planner can go on with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RunPlan {
    pub filter: VideoFilter,
    /// Backfill and validation: videos in a batch.
    pub batch_rows: u32,
    /// Hash: bytes in a batch.
    pub batch_bytes: u64,
    /// Hash: files in a batch, at most.
    pub batch_files: u32,
    /// Attempts that a batch of this run gets.
    pub max_attempts: u32,
    /// Backfill: only the videos that a validation found to differ, enqueued with the run. It
    /// plans nothing by itself, and does not sweep.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub repair: bool,
}

impl RunPlan {
    /// Identifies the set of videos that a run of `kind` is over: two active runs never
    /// share it, however their batches are cut.
    #[must_use]
    pub fn key(&self, kind: JobKind) -> String {
        let videos = match self.repair {
            false => serde_json::json!([kind, self.filter]),
            true => serde_json::json!([kind, self.filter, "repair"]),
        };
        Uuid::new_v5(&Uuid::NAMESPACE_OID, videos.to_string().as_bytes()).to_string()
    }

    /// Whether a run of `kind` looks, when its batches are done, for rows that came or were
    /// skipped meanwhile.
    #[must_use]
    pub fn sweeps(&self, kind: JobKind) -> bool {
        kind == JobKind::Backfill && !self.repair
    }
}

/// The priority of batches that a planner adds.
pub const PRIORITY_PLANNED: i8 = 1;
/// The priority of failed work that is enqueued again: it goes first.
pub const PRIORITY_RERUN: i8 = 0;
/// All priorities, in the order of claims. A claim asks for each with equality, so that the
/// index yields the batches in order and finished ones cost nothing.
pub const PRIORITIES: [i8; 2] = [PRIORITY_RERUN, PRIORITY_PLANNED];

/// The reason of a run that ends as failed.
#[must_use]
pub fn failed_reason(failed: u64) -> String {
    let (batches, them) = if failed == 1 { ("batch", "it") } else { ("batches", "them") };
    format!(
        "{failed} {batches} failed: `reelshift errors` shows why, `reelshift rerun` enqueues {them} again"
    )
}

/// How far the attempts of a batch have come that then failed.
#[derive(Debug, Clone, Copy)]
pub struct FailedBatch {
    pub rows_total: u64,
    pub rows_done: u64,
    pub rows_quarantined: u64,
    pub bytes_total: u64,
    pub bytes_done: u64,
}

impl FailedBatch {
    /// The rows that its rerun has: what was written or set aside is not done again.
    #[must_use]
    pub const fn rows_left(&self) -> u64 {
        self.rows_total.saturating_sub(self.rows_done.saturating_add(self.rows_quarantined))
    }

    /// The bytes that its rerun reads, those of files that were set aside included, whose
    /// sizes nobody adds up.
    #[must_use]
    pub const fn bytes_left(&self) -> u64 {
        self.bytes_total.saturating_sub(self.bytes_done)
    }
}

/// A run to be created.
#[derive(Debug, Clone)]
pub struct NewRun {
    pub id: Uuid,
    pub kind: JobKind,
    pub plan: RunPlan,
    /// `user@host` of whoever enqueued it.
    pub created_by: String,
    /// W3C `traceparent` of the run's span.
    pub traceparent: Option<String>,
}

/// A run as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Run {
    pub id: Uuid,
    pub kind: JobKind,
    pub state: RunState,
    /// Why it is in this state, where somebody or something decided so.
    pub reason: Option<String>,
    /// Who paused, resumed or cancelled it last, and when.
    pub decided_by: Option<String>,
    pub decided_at: Option<DateTime<Utc>>,
    pub plan: RunPlan,
    /// The id of the last video that planning has passed.
    pub planned_to: Option<String>,
    /// 0 while the first plan is made, then the number of the sweep.
    pub round: u32,
    /// Rows that its last round found and could not write, since the application held them;
    /// 0 where that round wrote any.
    pub rows_waiting: u64,
    /// When the next sweep is due, where it waits for such rows.
    pub sweep_at: Option<DateTime<Utc>>,
    /// Sums over the batches planned so far; reruns are not counted again.
    pub batches_total: u64,
    pub rows_total: u64,
    pub bytes_total: u64,
    pub created_by: String,
    pub traceparent: Option<String>,
    pub created_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// What came of creating a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreatedRun {
    New(Run),
    /// A run over the same videos is planning, running, sweeping or paused.
    Existing(Run),
}

/// The right to add batches to a run, fenced by its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannerLease {
    pub run: Run,
    pub token: i64,
}

/// What a batch covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Bounds {
    /// Videos with `after < id <= upto` (from the first video where `after` is `None`).
    Range { after: Option<String>, upto: String },
    /// These videos, by id, in key order; of a validation the name of another table, all of
    /// whose rows are compared.
    Items(Vec<String>),
}

/// A batch to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBatch {
    pub id: Uuid,
    pub bounds: Bounds,
    /// Videos that need work, and their `file_size` in sum (hash only).
    pub rows_total: u64,
    pub bytes_total: u64,
    pub traceparent: Option<String>,
}

/// The token of a new lease, unique to it: 61 random bits, positive.
#[must_use]
pub fn new_token() -> i64 {
    let (high, _) = Uuid::new_v4().as_u64_pair();
    i64::try_from(high >> 1).unwrap_or(i64::MAX)
}

/// A worker's right to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    pub seq: i64,
    pub token: i64,
}

/// A batch that this worker has just leased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    pub lease: Lease,
    pub id: Uuid,
    pub run_id: Uuid,
    pub kind: JobKind,
    pub filter: VideoFilter,
    pub bounds: Bounds,
    /// Backfill and validation: the last key that is committed; go on after it.
    pub checkpoint: Option<String>,
    pub rows_total: u64,
    pub bytes_total: u64,
    /// Items that were set aside once and enqueued again.
    pub of_items: bool,
    /// What earlier attempts wrote and set aside.
    pub rows_done: u64,
    pub rows_quarantined: u64,
    /// Failed attempts so far.
    pub attempts: u32,
    pub max_attempts: u32,
    /// Leases that were lost with their workers so far.
    pub lost_leases: u32,
    /// Files that were being read alone, the first of those that are left, when the last
    /// lease was lost.
    pub alone_files: Option<u32>,
    /// The error log row of the last failed attempt.
    pub last_error_id: Option<String>,
    /// W3C `traceparent` of the span that enqueued it: every attempt is its child.
    pub traceparent: Option<String>,
    /// That of its run's span.
    pub run_traceparent: Option<String>,
}

/// What the ledger knows of a batch most of whose files a worker does not find.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RootSuspicion {
    /// Another worker gave the batch back for it.
    pub of_batch: bool,
    /// Another worker gave some batch of its run back for it.
    pub of_run: bool,
    /// How many times the batch was given back for it, by whichever worker.
    pub times: u32,
    /// Some file of the run was hashed, by whichever worker.
    pub run_has_hashes: bool,
}

/// A batch whose work is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    pub lease: Lease,
    /// As claimed: the attempts of this chain are marked as recovered.
    pub last_error_id: Option<String>,
}

/// A worker process, registered for as long as it lives.
#[derive(Debug, Clone)]
pub struct NewWorker {
    /// Unique to this start of the process.
    pub id: Uuid,
    pub host: String,
    pub pid: u32,
    pub version: String,
}

/// What a heartbeat found of its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    Live,
    /// Others had taken it for lost, and its leases.
    WasLost,
    /// It is not registered, or not any more: the database that it registered with has failed,
    /// and its heir had not heard of it. Nothing was written.
    Unknown,
}

/// What a worker says of itself with every heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerActivity {
    /// What it does now, for people.
    pub doing: String,
    /// Since it started.
    pub rows_done: u64,
    pub bytes_done: u64,
    /// Recent rates.
    pub rows_per_second: f64,
    pub bytes_per_second: f64,
    /// Backfill chunks that it would run at once, unthrottled.
    pub capacity: u32,
    /// Seconds that its chunks took since the last heartbeat, on average; `None` where it
    /// ran none.
    pub chunk_seconds: Option<f64>,
    /// [`FleetView::version`](crate::controls::FleetView) of what it goes by; 0 before it
    /// has read anything.
    pub controls_seen: i64,
    /// Writes of its own that the fence refused, since it started.
    pub writes_refused: u64,
}

/// A moment, by the database's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// So long ago.
    Ago(Duration),
    At(DateTime<Utc>),
}

/// Which failed work to enqueue again. Every condition that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RerunSelection {
    pub run: Option<Uuid>,
    pub batch: Option<Uuid>,
    /// `processing_error_log.error_type` of the batch's last error or the item's error.
    pub error_type: Option<String>,
    /// What else holds for that error.
    pub error: Option<ErrorSelection>,
    /// Runs of this kind, which is the error log's `processing_stage`.
    pub stage: Option<JobKind>,
    /// Work that failed since then.
    pub since: Option<Since>,
    /// Only quarantined items; otherwise failed batches and quarantined items.
    pub quarantined_only: bool,
    /// Count only, change nothing.
    pub dry_run: bool,
}

impl RerunSelection {
    /// Whether items are meant that somebody has accepted.
    #[must_use]
    pub fn of_accepted(&self) -> bool {
        self.error.as_ref().is_some_and(|error| error.accepted == Some(true))
    }
}

/// What was enqueued again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rerun {
    /// New batches made for failed ones.
    pub batches: u64,
    /// Items taken out of quarantine, and the new batches that hold them.
    pub items: u64,
    pub item_batches: u64,
}

/// The queue: runs, batches, leases and workers.
#[async_trait]
pub trait Ledger {
    /// Creates a run in state `planning` with no planner, unless an active or paused run
    /// has the same [`RunPlan::key`].
    async fn create_run(&self, run: &NewRun) -> Result<CreatedRun>;

    /// The run with this id.
    async fn run(&self, id: Uuid) -> Result<Option<Run>>;

    /// Runs in `planning`, `running` or `sweeping`, oldest first, of `kind` if given.
    async fn active_runs(&self, kind: Option<JobKind>) -> Result<Vec<Run>>;

    /// Takes the right to plan a run in `planning` or `sweeping`: granted when nobody has
    /// it or when its holder has not written for `timeout`, and when its sweep is due.
    /// `planner` is who, for people.
    async fn take_planning(
        &self,
        run: Uuid,
        planner: &str,
        timeout: Duration,
    ) -> Result<Option<PlannerLease>>;

    /// Whether somebody holds the right to plan `run` and has written within `timeout`.
    async fn planner_alive(&self, run: Uuid, timeout: Duration) -> Result<bool>;

    /// Adds batches in state `pending` and moves `planned_to`, in one transaction. With no
    /// batches it only says that the planner lives, and moves `planned_to`.
    ///
    /// # Errors
    /// `LeaseLost` when the token is no longer the run's; nothing is added.
    async fn add_batches(
        &self,
        lease: &PlannerLease,
        planned_to: Option<&str>,
        batches: &[NewBatch],
    ) -> Result<()>;

    /// Ends planning: `planning` becomes `running`; `sweeping` becomes `running` when it
    /// added a batch in this round, else `done`. A run that holds no batch at all is
    /// `done`. Returns the new state.
    ///
    /// # Errors
    /// `LeaseLost` when the token is no longer the run's.
    async fn finish_planning(&self, lease: &PlannerLease) -> Result<RunState>;

    /// Ends a run that cannot be planned: `planning` or `sweeping` becomes `failed`, for
    /// `reason`, and `by` is recorded with it. Its batches stay as they are, unclaimed.
    ///
    /// # Errors
    /// `LeaseLost` when the token is no longer the run's.
    async fn fail_planning(&self, lease: &PlannerLease, reason: &str, by: &str) -> Result<()>;

    /// Gives the right to plan back without ending it, so that another takes it at once.
    async fn release_planning(&self, lease: &PlannerLease) -> Result<()>;

    /// Moves a `running` run on, if no batch of it is pending or leased: to `failed` when
    /// a failed batch has no rerun, else to `sweeping` (backfill; `planned_to` cleared, the
    /// round counted up, no planner) or `done` (hash). Returns the state it then has.
    /// Several callers at once move it once. A sweep that follows a round in which no row
    /// was written or set aside is due after [`reelshift_plan::backoff::sweep_delay`].
    async fn settle(&self, run: Uuid) -> Result<RunState>;

    /// Leases up to `max` due batches of `kind`, oldest runs first, within a run by
    /// priority, time and sequence. Batches of paused or ended runs are not touched, and
    /// rows that another claimer holds are skipped.
    async fn claim(&self, worker: Uuid, kind: JobKind, max: u32) -> Result<Vec<Claimed>>;

    /// Marks batches as done, those whose lease is still held; returns how many were.
    async fn finish(&self, finished: &[Finished]) -> Result<u64>;

    /// Ends an attempt that failed, in one transaction: writes `error` (its
    /// `parent_error_id` is the batch's last error), counts the attempt, and makes the
    /// batch `pending` again after `delay`, or `failed` when `retry` is false or its
    /// attempts are used up. The batch's last error is marked as not recovered. Returns the
    /// new state.
    ///
    /// # Errors
    /// `LeaseLost`: the attempt was another's to end; nothing is written.
    async fn fail_attempt(
        &self,
        lease: Lease,
        retry: bool,
        delay: Duration,
        error: &ErrorRecord,
    ) -> Result<BatchState>;

    /// Gives leased batches back as they are, to be claimed at once; no attempt counts.
    async fn release(&self, leases: &[Lease]) -> Result<u64>;

    /// What workers other than `worker` found of the files of the leased batch and its run.
    ///
    /// # Errors
    /// `LeaseLost` when the token is no longer the batch's.
    async fn root_suspicion(&self, lease: Lease, worker: Uuid) -> Result<RootSuspicion>;

    /// Records that `worker` does not find most files of the leased batch; the first that
    /// says so stays.
    ///
    /// # Errors
    /// `LeaseLost` when the token is no longer the batch's.
    async fn suspect_root(&self, lease: Lease, worker: Uuid) -> Result<()>;

    /// Records how many files of the leased batch are about to be read with nothing beside
    /// them; `None` when that is over, as it is with every attempt that ends by itself.
    ///
    /// # Errors
    /// `LeaseLost` when the token is no longer the batch's.
    async fn record_alone(&self, lease: Lease, files: Option<u32>) -> Result<()>;

    /// A worker that is registered already, since an answer was lost, stays.
    async fn register_worker(&self, worker: &NewWorker) -> Result<()>;

    /// Says that the worker lives. One that had been taken for lost is counted as live again
    /// from now; what it leases is given back.
    async fn heartbeat(&self, worker: Uuid, activity: &WorkerActivity) -> Result<Membership>;

    /// What the ledger says that the worker leases.
    async fn leases_of(&self, worker: Uuid) -> Result<Vec<Lease>>;

    /// The worker leaves: whatever it still leases becomes pending, and its row says so.
    async fn deregister_worker(&self, worker: Uuid) -> Result<()>;

    /// Takes the leases of workers that were silent for `timeout`: one transaction a
    /// worker, which checks its heartbeat again. No attempt counts, but each batch counts its
    /// lost leases. Returns the number of
    /// batches that became pending. Workers being reaped by another are skipped.
    async fn reap(&self, timeout: Duration) -> Result<u64>;

    /// Whether any work is open: a run is active, or a batch is leased.
    async fn has_open_work(&self) -> Result<bool>;

    /// Pauses the active runs of which more than a tenth of at least 20 batches are
    /// `failed` (reruns of failed batches, quarantined items and what failed before the
    /// run was resumed last do not count), with the reason. Returns them.
    async fn pause_failing(&self) -> Result<Vec<Run>>;

    /// Accepts the quarantined items that match and are not accepted yet: they stay in
    /// quarantine, and no longer count as open. Returns how many; recorded as done by `by`. The
    /// selection says nothing about `accepted` itself.
    async fn accept(&self, selection: &RerunSelection, reason: &str, by: &str) -> Result<u64>;

    /// Enqueues failed batches again, as new batches, and quarantined items, as batches of
    /// up to the plan's size whose bounds are items of one batch; opens their runs again.
    /// Items that were accepted are left, unless the selection asks for them.
    /// The new batches name the batch that they come from as `parent_id`, and keep its
    /// trace. A failed batch that was rerun already is not selected. One transaction a run,
    /// recorded as done by `by`.
    async fn rerun(
        &self,
        selection: &RerunSelection,
        reason: Option<&str>,
        by: &str,
    ) -> Result<Rerun>;
}

#[cfg(test)]
mod tests {
    use super::new_token;

    #[test]
    fn tokens_are_positive_and_differ() {
        let tokens: std::collections::HashSet<i64> = (0..1_000).map(|_| new_token()).collect();
        assert_eq!(tokens.len(), 1_000);
        assert!(tokens.iter().all(|token| *token > 0));
    }
}
