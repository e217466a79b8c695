//! The ledger's statements behind the port: one connection for reads, one transaction for what
//! is written.

use std::ops::DerefMut;
use std::time::Duration;

use async_trait::async_trait;
use reelshift_plan::{JobKind, RunState};
use reelshift_store::audit::AuditEvent;
use reelshift_store::ledger::statements::{
    LedgerReads, LedgerStatements, LedgerTransaction, Limit,
};
use reelshift_store::ledger::{
    BatchRow, Claimed, FailedBatch, Lease, LeasedBatch, LockedRun, NewRun, NewWorker, Quarantined,
    RerunSelection, RootSuspicion, Run, WorkerActivity,
};
use reelshift_store::{ErrorRecord, Result};
use uuid::Uuid;

use crate::dialect::{Connection, Deadline, Store, Writing};
use crate::error::Error;
use crate::{
    audit, batch_rows, claim, failures, lease, lease_rows, planner_rows, quarantine_rows, run_rows,
    worker_rows, workers,
};

/// Statements on one connection, which have one deadline together.
struct Session<C> {
    store: Store,
    connection: C,
    deadline: Deadline,
}

impl Store {
    /// Starts the deadline of a session. A long one needs the types of the columns of `videos`:
    /// they are read first, since a session that has a connection must not ask for a second one.
    async fn prepared(&self, limit: Limit) -> Result<Deadline> {
        let deadline = self.deadline(limit);
        if limit == Limit::Long {
            deadline.run(self.know_videos()).await?;
        }
        Ok(deadline)
    }
}

#[async_trait]
impl LedgerStatements for Store {
    async fn reads(&self, limit: Limit) -> Result<Box<dyn LedgerReads + '_>> {
        let deadline = self.prepared(limit).await?;
        let connection =
            deadline.run(async { self.reader().acquire().await.map_err(Error::from) }).await?;
        Ok(Box::new(Session { store: self.clone(), connection, deadline }))
    }

    async fn transaction(&self, limit: Limit) -> Result<Box<dyn LedgerTransaction + '_>> {
        let deadline = self.prepared(limit).await?;
        let connection = deadline.run(self.begin()).await?;
        Ok(Box::new(Session { store: self.clone(), connection, deadline }))
    }

    async fn claim_due(&self, worker: Uuid, kind: JobKind, max: u32) -> Result<Vec<Claimed>> {
        self.short(claim::claim(self, worker, kind, max)).await
    }

    async fn finish_batches(&self, leases: &[Lease]) -> Result<u64> {
        self.short(lease::finish(self, leases)).await
    }

    async fn release_batches(&self, leases: &[Lease]) -> Result<u64> {
        self.short(lease::release(self, leases)).await
    }

    async fn insert_worker(&self, worker: &NewWorker) -> Result<()> {
        self.short(workers::insert(self, worker)).await
    }

    async fn write_activity(&self, worker: Uuid, activity: &WorkerActivity) -> Result<bool> {
        workers::write_activity(self, worker, activity).await
    }

    async fn end_activity(&self, worker: Uuid) {
        workers::end_activity(self, worker).await;
    }

    async fn may_reap(&self, timeout: Duration) -> Result<bool> {
        self.short(workers::may_reap(self, timeout)).await
    }
}

#[async_trait]
impl<C> LedgerReads for Session<C>
where
    C: DerefMut<Target = Connection> + Send,
{
    async fn run(&mut self, id: Uuid) -> Result<Option<Run>> {
        self.deadline.run(run_rows::find(&mut self.connection, id)).await
    }

    async fn run_with_key(&mut self, key: &str) -> Result<Option<Run>> {
        self.deadline.run(run_rows::with_key(&mut self.connection, key)).await
    }

    async fn runs_in(&mut self, states: &[RunState], kind: Option<JobKind>) -> Result<Vec<Run>> {
        self.deadline.run(run_rows::in_states(&mut self.connection, states, kind)).await
    }

    async fn has_run_in(&mut self, states: &[RunState]) -> Result<bool> {
        self.deadline.run(run_rows::is_any_in(&mut self.connection, states)).await
    }

    async fn runs_with_failures(
        &mut self,
        states: &[RunState],
        selection: &RerunSelection,
    ) -> Result<Vec<Uuid>> {
        self.deadline.run(run_rows::with_failures(&mut self.connection, states, selection)).await
    }

    async fn planner_alive(&mut self, run: Uuid, timeout: Duration) -> Result<bool> {
        self.deadline.run(planner_rows::planner_alive(&mut self.connection, run, timeout)).await
    }

    async fn sweep_waits(&mut self, run: Uuid) -> Result<bool> {
        self.deadline.run(planner_rows::sweep_waits(&mut self.connection, run)).await
    }

    async fn has_open_batch(&mut self, run: Uuid) -> Result<bool> {
        self.deadline.run(batch_rows::has_open(&mut self.connection, run)).await
    }

    async fn has_leased_batch(&mut self) -> Result<bool> {
        self.deadline.run(batch_rows::has_leased(&mut self.connection)).await
    }

    async fn has_batch(&mut self, id: Uuid) -> Result<bool> {
        self.deadline.run(batch_rows::is_there(&mut self.connection, id)).await
    }

    async fn failed_without_rerun(&mut self, run: Uuid) -> Result<u64> {
        self.deadline.run(batch_rows::failed_without_rerun(&mut self.connection, run)).await
    }

    async fn failed_since_resumed(&mut self, run: Uuid) -> Result<u64> {
        self.deadline.run(batch_rows::failed_since_resumed(&mut self.connection, run)).await
    }

    async fn rows_of_last(&mut self, run: Uuid, batches: u64) -> Result<(u64, u64)> {
        self.deadline.run(batch_rows::rows_of_last(&mut self.connection, run, batches)).await
    }

    async fn leases_of(&mut self, worker: Uuid) -> Result<Vec<Lease>> {
        self.deadline.run(lease_rows::leases_of(&mut self.connection, worker)).await
    }

    async fn silent_workers(&mut self, timeout: Duration) -> Result<Vec<Uuid>> {
        self.deadline.run(workers::silent(&mut self.connection, timeout)).await
    }

    async fn failed_batches(
        &mut self,
        run: Uuid,
        selection: &RerunSelection,
    ) -> Result<Vec<FailedBatch>> {
        self.deadline
            .run(batch_rows::failed(&mut self.connection, &self.store, run, selection))
            .await
    }

    async fn quarantined(
        &mut self,
        run: Uuid,
        selection: &RerunSelection,
    ) -> Result<Vec<Quarantined>> {
        self.deadline
            .run(quarantine_rows::select(&mut self.connection, &self.store, run, selection))
            .await
    }

    async fn root_suspicion(
        &mut self,
        lease: Lease,
        worker: Uuid,
    ) -> Result<Option<RootSuspicion>> {
        self.deadline.run(lease_rows::root_suspicion(&mut self.connection, lease, worker)).await
    }
}

#[async_trait]
impl LedgerTransaction for Session<Writing> {
    async fn commit(self: Box<Self>) -> Result<()> {
        let Self { connection, deadline, .. } = *self;
        deadline.run(async { connection.commit().await.map_err(Error::from) }).await
    }

    async fn record(&mut self, event: AuditEvent, reason: Option<&str>, by: &str) -> Result<()> {
        self.deadline.run(audit::record(&mut self.connection, event, reason, by)).await
    }

    async fn insert_run(&mut self, run: &NewRun, key: &str) -> Result<bool> {
        self.deadline.run(run_rows::insert(&mut self.connection, run, key)).await
    }

    async fn lock_run(&mut self, id: Uuid) -> Result<Option<LockedRun>> {
        self.deadline.run(run_rows::lock(&mut self.connection, id)).await
    }

    async fn set_run_state(
        &mut self,
        run: Uuid,
        state: RunState,
        reason: Option<&str>,
    ) -> Result<()> {
        self.deadline.run(run_rows::set_state(&mut self.connection, run, state, reason)).await
    }

    async fn close_run(&mut self, run: Uuid) -> Result<()> {
        self.deadline.run(run_rows::close(&mut self.connection, run)).await
    }

    async fn open_run(&mut self, run: Uuid) -> Result<()> {
        self.deadline.run(run_rows::open(&mut self.connection, run)).await
    }

    async fn set_active_key(&mut self, run: Uuid, key: &str) -> Result<()> {
        self.deadline.run(run_rows::set_active_key(&mut self.connection, run, key)).await
    }

    async fn set_paused_from(&mut self, run: Uuid, state: Option<RunState>) -> Result<()> {
        self.deadline.run(run_rows::set_paused_from(&mut self.connection, run, state)).await
    }

    async fn set_decided_by(&mut self, run: Uuid, by: &str) -> Result<()> {
        self.deadline.run(run_rows::set_decided_by(&mut self.connection, run, by)).await
    }

    async fn set_resumed(&mut self, run: Uuid) -> Result<()> {
        self.deadline.run(run_rows::set_resumed(&mut self.connection, run)).await
    }

    async fn begin_round(
        &mut self,
        run: Uuid,
        idle_rounds: u32,
        waiting: u64,
        delay: Option<Duration>,
    ) -> Result<()> {
        self.deadline
            .run(run_rows::begin_round(&mut self.connection, run, idle_rounds, waiting, delay))
            .await
    }

    async fn add_to_round(&mut self, run: Uuid, batches: u64) -> Result<()> {
        self.deadline.run(run_rows::add_to_round(&mut self.connection, run, batches)).await
    }

    async fn set_planner(&mut self, run: Uuid, planner: &str, token: i64) -> Result<()> {
        self.deadline
            .run(planner_rows::set_planner(&mut self.connection, run, planner, token))
            .await
    }

    async fn clear_planner(&mut self, run: Uuid) -> Result<()> {
        self.deadline.run(planner_rows::clear_planner(&mut self.connection, run)).await
    }

    async fn advance_planning(
        &mut self,
        run: Uuid,
        planned_to: Option<&str>,
        batches: u64,
        rows: u64,
        bytes: u64,
    ) -> Result<()> {
        self.deadline
            .run(planner_rows::advance(
                &mut self.connection,
                run,
                planned_to,
                [batches, rows, bytes],
            ))
            .await
    }

    async fn insert_batches(&mut self, run: Uuid, batches: &[BatchRow]) -> Result<()> {
        self.deadline.run(batch_rows::insert(&mut self.connection, run, batches)).await
    }

    async fn lock_batch(&mut self, lease: Lease) -> Result<Option<LeasedBatch>> {
        self.deadline.run(lease_rows::lock(&mut self.connection, lease)).await
    }

    async fn retry_batch(
        &mut self,
        lease: Lease,
        error: &ErrorRecord,
        delay: Duration,
    ) -> Result<()> {
        self.deadline.run(lease_rows::retry(&mut self.connection, lease, error, delay)).await
    }

    async fn fail_batch(&mut self, lease: Lease, error: &ErrorRecord) -> Result<()> {
        self.deadline.run(lease_rows::fail(&mut self.connection, lease, error)).await
    }

    async fn finish_batch(&mut self, lease: Lease) -> Result<bool> {
        self.deadline.run(lease_rows::finish(&mut self.connection, lease)).await
    }

    async fn cancel_leased(&mut self, run: Uuid) -> Result<u64> {
        self.deadline.run(lease_rows::cancel_leased(&mut self.connection, run)).await
    }

    async fn cancel_open(&mut self, run: Uuid, limit: u32) -> Result<u64> {
        self.deadline.run(lease_rows::cancel_open(&mut self.connection, run, limit)).await
    }

    async fn insert_error(&mut self, error: &ErrorRecord, parent: Option<&str>) -> Result<()> {
        self.deadline.run(failures::insert_attempt(&mut self.connection, error, parent)).await
    }

    async fn mark_recovered(&mut self, last_error: &str) -> Result<()> {
        self.deadline.run(failures::mark_recovered(&mut self.connection, last_error)).await
    }

    async fn delete_quarantined(
        &mut self,
        run: Uuid,
        kind: JobKind,
        videos: &[String],
    ) -> Result<()> {
        let deleted = quarantine_rows::delete(&mut self.connection, run, kind, videos);
        self.deadline.run(deleted).await.map(drop)
    }

    async fn free_quarantined(&mut self, run: Uuid, limit: u32) -> Result<u64> {
        self.deadline.run(quarantine_rows::free(&mut self.connection, run, limit)).await
    }

    async fn accept_quarantined(
        &mut self,
        run: Uuid,
        selection: &RerunSelection,
        reason: &str,
        by: &str,
    ) -> Result<u64> {
        self.deadline
            .run(quarantine_rows::accept(
                &mut self.connection,
                &self.store,
                run,
                selection,
                reason,
                by,
            ))
            .await
    }

    async fn suspect_root(&mut self, lease: Lease, worker: Uuid) -> Result<()> {
        self.deadline.run(lease_rows::suspect_root(&mut self.connection, lease, worker)).await
    }

    async fn set_alone_files(&mut self, lease: Lease, files: Option<u32>) -> Result<()> {
        self.deadline.run(lease_rows::set_alone_files(&mut self.connection, lease, files)).await
    }

    async fn revive_worker(&mut self, worker: Uuid) -> Result<bool> {
        self.deadline.run(worker_rows::revive(&mut self.connection, worker)).await
    }

    async fn set_left(&mut self, worker: Uuid) -> Result<()> {
        self.deadline.run(worker_rows::set_left(&mut self.connection, worker)).await
    }

    async fn lock_silent(&mut self, worker: Uuid, timeout: Duration) -> Result<bool> {
        self.deadline.run(workers::lock_silent(&mut self.connection, worker, timeout)).await
    }

    async fn set_lost(&mut self, worker: Uuid) -> Result<()> {
        self.deadline.run(worker_rows::set_lost(&mut self.connection, worker)).await
    }

    async fn give_back(&mut self, worker: Uuid, lost: bool) -> Result<u64> {
        self.deadline.run(lease_rows::give_back(&mut self.connection, worker, lost)).await
    }
}
