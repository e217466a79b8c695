//! Runs, batches, leases and workers: the ledger that is the queue.
//!
//! [`Ledger`] is what the program asks of it. What that means is written once, in [`rules`],
//! over the [`statements`] that an adapter gives:
//! - a transition happens only from the state it is allowed from, under the lock of its row;
//! - whatever a worker writes about a batch is conditioned on its lease token, whatever a
//!   planner writes about a run on its planner token;
//! - ids compare as the database compares them (its collation), never in Rust.

mod batch;
mod rerun;
mod rules;
mod run;
pub mod statements;
mod worker;

use std::time::Duration;

use async_trait::async_trait;
use reelshift_plan::{BatchState, JobKind, RunState};
use uuid::Uuid;

use crate::controls::CancelledRun;
use crate::{ErrorRecord, Result};

pub use batch::{
    BatchRow, Bounds, Claimed, FailedBatch, Finished, Lease, LeasedBatch, NewBatch, PRIORITIES,
    PRIORITY_PLANNED, PRIORITY_RERUN, Quarantined, RootSuspicion, new_token,
};
pub use rerun::{Rerun, RerunSelection};
pub use run::{
    CreatedRun, LockedRun, NewRun, PlannerLease, Run, RunPlan, VideoFilter, failed_reason,
};
pub use worker::{Membership, NewWorker, Since, WorkerActivity};

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

    /// Pauses a run that works, or gives one that is paused another reason. Its planner
    /// loses its right at once; workers see it in
    /// [`Controls::fleet_view`](crate::Controls::fleet_view).
    ///
    /// # Errors
    /// `Invalid` when there is no such run, `Refused` when it has ended.
    async fn pause_run(&self, run: Uuid, reason: Option<&str>, by: &str) -> Result<Run>;

    /// Lets a paused run go on in the state it was in. What failed before does not pause it
    /// again.
    ///
    /// # Errors
    /// `Invalid` when there is no such run, `Refused` when it is not paused.
    async fn resume_run(&self, run: Uuid, reason: Option<&str>, by: &str) -> Result<Run>;

    /// Ends a run for good: neither its planner nor a worker that has a batch of it can write
    /// from now on. Its pending batches are [`Self::cancel_pending`]'s, its items in
    /// quarantine [`Self::free_quarantine`]'s. A run that is cancelled already stays so.
    ///
    /// # Errors
    /// `Invalid` when there is no such run, `Refused` when it has ended otherwise.
    async fn cancel_run(&self, run: Uuid, reason: Option<&str>, by: &str) -> Result<CancelledRun>;

    /// Cancels up to `limit` pending batches of a cancelled run; returns how many, 0 when
    /// none is left.
    async fn cancel_pending(&self, run: Uuid, limit: u32) -> Result<u64>;

    /// Takes up to `limit` items of a cancelled run out of quarantine, so that the next run
    /// over their videos takes them up; what they failed for stays in the error log. After
    /// [`Self::cancel_pending`], when no batch of the run can set another aside. Returns how
    /// many, 0 when none is left.
    async fn free_quarantine(&self, run: Uuid, limit: u32) -> Result<u64>;

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
