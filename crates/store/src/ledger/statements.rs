//! The ledger in statements. An adapter writes the SQL and decides nothing: which statement
//! follows which, and what a run or a batch becomes, is in [`super::rules`].

use std::time::Duration;

use async_trait::async_trait;
use reelshift_plan::{JobKind, RunState};
use uuid::Uuid;

use super::{
    BatchRow, Claimed, FailedBatch, Lease, LeasedBatch, LockedRun, NewRun, NewWorker, Quarantined,
    RerunSelection, RootSuspicion, Run, WorkerActivity,
};
use crate::audit::AuditEvent;
use crate::{ErrorRecord, Result};

/// How long the statements on one connection, or of one transaction, may take together. A rule
/// that needs several gives each its own time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Work that holds a worker's loop, or locks: seconds.
    Short,
    /// What an operator does: a minute.
    Long,
}

/// Reads of the ledger, on one connection.
#[async_trait]
pub trait LedgerReads: Send {
    /// The run with this id.
    async fn run(&mut self, id: Uuid) -> Result<Option<Run>>;

    /// The run that is active or paused and has this [`RunPlan::key`](super::RunPlan::key).
    async fn run_with_key(&mut self, key: &str) -> Result<Option<Run>>;

    /// Runs in one of `states`, oldest first, of `kind` if given. One that this version cannot
    /// read is left out, and logged.
    async fn runs_in(&mut self, states: &[RunState], kind: Option<JobKind>) -> Result<Vec<Run>>;

    /// Whether a run is in one of `states`, also one that this version cannot read.
    async fn has_run_in(&mut self, states: &[RunState]) -> Result<bool>;

    /// Runs in one of `states` that are not rolled back and have a failed batch or a quarantined
    /// item, oldest first, within the selection's run and stage.
    async fn runs_with_failures(
        &mut self,
        states: &[RunState],
        selection: &RerunSelection,
    ) -> Result<Vec<Uuid>>;

    /// Whether somebody holds the right to plan `run` and has written within `timeout`.
    async fn planner_alive(&mut self, run: Uuid, timeout: Duration) -> Result<bool>;

    /// Whether the next sweep of `run` is due later than now.
    async fn sweep_waits(&mut self, run: Uuid) -> Result<bool>;

    /// Whether a batch of `run` is pending or leased.
    async fn has_open_batch(&mut self, run: Uuid) -> Result<bool>;

    /// Whether any batch is leased.
    async fn has_leased_batch(&mut self) -> Result<bool>;

    /// Whether there is a batch with this id.
    async fn has_batch(&mut self, id: Uuid) -> Result<bool>;

    /// Failed batches of `run` that nobody has enqueued again.
    async fn failed_without_rerun(&mut self, run: Uuid) -> Result<u64>;

    /// Those of them that a planner added and that failed after the run was last resumed.
    async fn failed_since_resumed(&mut self, run: Uuid) -> Result<u64>;

    /// The rows that the last `batches` batches of `run` wrote or set aside, and those that they
    /// were planned for.
    async fn rows_of_last(&mut self, run: Uuid, batches: u64) -> Result<(u64, u64)>;

    /// What `worker` leases.
    async fn leases_of(&mut self, worker: Uuid) -> Result<Vec<Lease>>;

    /// Workers that are silent: for `timeout`, or as long as the database has known their
    /// connection to be gone. Of those that are not live only the ones that lease something.
    async fn silent_workers(&mut self, timeout: Duration) -> Result<Vec<Uuid>>;

    /// Failed batches of `run` that match and that nobody has enqueued again, in order.
    async fn failed_batches(
        &mut self,
        run: Uuid,
        selection: &RerunSelection,
    ) -> Result<Vec<FailedBatch>>;

    /// Quarantined items of `run` that match, in the order of the batches that had set them
    /// aside and of their keys.
    async fn quarantined(
        &mut self,
        run: Uuid,
        selection: &RerunSelection,
    ) -> Result<Vec<Quarantined>>;

    /// What workers other than `worker` found of the files of a leased batch; `None` where the
    /// lease is lost.
    async fn root_suspicion(&mut self, lease: Lease, worker: Uuid)
    -> Result<Option<RootSuspicion>>;
}

/// One transaction of the ledger. Dropped without a commit it is rolled back.
#[async_trait]
pub trait LedgerTransaction: LedgerReads {
    /// Makes everything last.
    async fn commit(self: Box<Self>) -> Result<()>;

    /// Writes a row of the audit.
    async fn record(&mut self, event: AuditEvent, reason: Option<&str>, by: &str) -> Result<()>;

    /// Adds a run in state `planning`; `false` where its id or its key is taken.
    async fn insert_run(&mut self, run: &NewRun, key: &str) -> Result<bool>;

    /// The run with this id, locked until the end of the transaction.
    async fn lock_run(&mut self, id: Uuid) -> Result<Option<LockedRun>>;

    /// The state of a run, and why; its planner loses its right.
    async fn set_run_state(
        &mut self,
        run: Uuid,
        state: RunState,
        reason: Option<&str>,
    ) -> Result<()>;

    /// Ends a run: its key is free, nothing of it waits, it has a `finished_at`.
    async fn close_run(&mut self, run: Uuid) -> Result<()>;

    /// The opposite of [`Self::close_run`], but for the key.
    async fn open_run(&mut self, run: Uuid) -> Result<()>;

    /// Gives an open run its key, unless another has it.
    async fn set_active_key(&mut self, run: Uuid, key: &str) -> Result<()>;

    /// The state to which a paused run goes back.
    async fn set_paused_from(&mut self, run: Uuid, state: Option<RunState>) -> Result<()>;

    /// Says who decided about a run, now.
    async fn set_decided_by(&mut self, run: Uuid, by: &str) -> Result<()>;

    /// Says that a run was resumed now.
    async fn set_resumed(&mut self, run: Uuid) -> Result<()>;

    /// Begins a round of a run: `idle_rounds` before it wrote nothing and left `waiting` rows,
    /// and it is due after `delay`, or at once.
    async fn begin_round(
        &mut self,
        run: Uuid,
        idle_rounds: u32,
        waiting: u64,
        delay: Option<Duration>,
    ) -> Result<()>;

    /// Counts batches of a rerun into the run's round.
    async fn add_to_round(&mut self, run: Uuid, batches: u64) -> Result<()>;

    /// Gives the right to plan to `planner`, who writes now.
    async fn set_planner(&mut self, run: Uuid, planner: &str, token: i64) -> Result<()>;

    /// Takes the right to plan back.
    async fn clear_planner(&mut self, run: Uuid) -> Result<()>;

    /// Says that the run's planner lives, has come to `planned_to` where given, and adds
    /// batches of so many rows and bytes.
    async fn advance_planning(
        &mut self,
        run: Uuid,
        planned_to: Option<&str>,
        batches: u64,
        rows: u64,
        bytes: u64,
    ) -> Result<()>;

    /// Adds pending batches, due at once.
    async fn insert_batches(&mut self, run: Uuid, batches: &[BatchRow]) -> Result<()>;

    /// The batch of a lease that is held, locked: whoever takes the lease waits for this
    /// transaction.
    async fn lock_batch(&mut self, lease: Lease) -> Result<Option<LeasedBatch>>;

    /// Ends a lease: the batch is pending again, and due after `delay`.
    async fn retry_batch(
        &mut self,
        lease: Lease,
        error: &ErrorRecord,
        delay: Duration,
    ) -> Result<()>;

    /// Ends a lease: the batch has failed for good.
    async fn fail_batch(&mut self, lease: Lease, error: &ErrorRecord) -> Result<()>;

    /// Ends a lease, if it is held: the batch is done.
    async fn finish_batch(&mut self, lease: Lease) -> Result<bool>;

    /// Cancels the leased batches of `run`: whoever has them writes nothing more.
    async fn cancel_leased(&mut self, run: Uuid) -> Result<u64>;

    /// Cancels up to `limit` open batches of `run`.
    async fn cancel_open(&mut self, run: Uuid, limit: u32) -> Result<u64>;

    /// Writes a failed attempt into the error log, after that of `parent`.
    async fn insert_error(&mut self, error: &ErrorRecord, parent: Option<&str>) -> Result<()>;

    /// Says of the attempts that led to `last_error` that a later one succeeded.
    async fn mark_recovered(&mut self, last_error: &str) -> Result<()>;

    /// Takes these items of `run` out of quarantine, those that no other run has set aside since.
    async fn delete_quarantined(
        &mut self,
        run: Uuid,
        kind: JobKind,
        videos: &[String],
    ) -> Result<()>;

    /// Takes up to `limit` items of `run` out of quarantine.
    async fn free_quarantined(&mut self, run: Uuid, limit: u32) -> Result<u64>;

    /// Accepts the quarantined items of `run` that match and are not accepted yet.
    async fn accept_quarantined(
        &mut self,
        run: Uuid,
        selection: &RerunSelection,
        reason: &str,
        by: &str,
    ) -> Result<u64>;

    /// Says which worker, if none has before, does not find the files of a leased batch.
    async fn suspect_root(&mut self, lease: Lease, worker: Uuid) -> Result<()>;

    /// Says how many files of a leased batch are read alone.
    async fn set_alone_files(&mut self, lease: Lease, files: Option<u32>) -> Result<()>;

    /// Makes a worker live again that was taken for lost; `false` where there is none.
    async fn revive_worker(&mut self, worker: Uuid) -> Result<bool>;

    /// Says that a worker has left.
    async fn set_left(&mut self, worker: Uuid) -> Result<()>;

    /// Locks the row of a worker that is silent still and that nobody else is reaping.
    async fn lock_silent(&mut self, worker: Uuid, timeout: Duration) -> Result<bool>;

    /// Says of a live worker that it is lost, and which batches it had.
    async fn set_lost(&mut self, worker: Uuid) -> Result<()>;

    /// Makes whatever `worker` leases pending again; `lost` where it did not give it back itself.
    async fn give_back(&mut self, worker: Uuid, lost: bool) -> Result<u64>;
}

/// Where the statements of a ledger are executed.
#[async_trait]
pub trait LedgerStatements: Send + Sync {
    /// A connection for reads.
    async fn reads(&self, limit: Limit) -> Result<Box<dyn LedgerReads + '_>>;

    /// Begins a transaction.
    async fn transaction(&self, limit: Limit) -> Result<Box<dyn LedgerTransaction + '_>>;

    /// [`Ledger::claim`](super::Ledger::claim), whose locks are the database's own.
    async fn claim_due(&self, worker: Uuid, kind: JobKind, max: u32) -> Result<Vec<Claimed>>;

    /// Ends leases, those that are held, as done; in as few statements as can be.
    async fn finish_batches(&self, leases: &[Lease]) -> Result<u64>;

    /// Ends leases, those that are held: the batches are pending as they are.
    async fn release_batches(&self, leases: &[Lease]) -> Result<u64>;

    /// Adds a worker, or makes the one with this id live.
    async fn insert_worker(&self, worker: &NewWorker) -> Result<()>;

    /// Writes what a live worker does; `false` where it is not live. Where the database tells
    /// of a connection that is gone, this is the worker's own.
    async fn write_activity(&self, worker: Uuid, activity: &WorkerActivity) -> Result<bool>;

    /// Closes what [`Self::write_activity`] has opened.
    async fn end_activity(&self, worker: Uuid);

    /// Whether the database has answered, and its clock has gone steadily, for `timeout`: else
    /// every heartbeat may look old.
    async fn may_reap(&self, timeout: Duration) -> Result<bool>;
}
