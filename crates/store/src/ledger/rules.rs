//! What is done about runs, batches, attempts, leases and quarantine: written once, over the
//! [statements](super::statements) of whichever database. What a run or a batch becomes is
//! decided by [`reelshift_plan::state`].

mod attempts;
mod planning;
mod reruns;
mod runs;
mod workers;

use std::time::Duration;

use async_trait::async_trait;
use reelshift_plan::{BatchState, JobKind, RunState};
use uuid::Uuid;

use super::statements::{LedgerStatements, Limit};
use super::{
    Claimed, CreatedRun, Finished, Lease, Ledger, Membership, NewBatch, NewRun, NewWorker,
    PlannerLease, Rerun, RerunSelection, RootSuspicion, Run, WorkerActivity,
};
use crate::controls::CancelledRun;
use crate::{ErrorRecord, Result, StoreError};

#[async_trait]
impl<S: LedgerStatements> Ledger for S {
    async fn create_run(&self, run: &NewRun) -> Result<CreatedRun> {
        runs::create(self, run).await
    }

    async fn run(&self, id: Uuid) -> Result<Option<Run>> {
        self.reads(Limit::Short).await?.run(id).await
    }

    async fn active_runs(&self, kind: Option<JobKind>) -> Result<Vec<Run>> {
        self.reads(Limit::Short).await?.runs_in(RunState::ACTIVE, kind).await
    }

    async fn settle(&self, run: Uuid) -> Result<RunState> {
        runs::settle(self, run).await
    }

    async fn pause_failing(&self) -> Result<Vec<Run>> {
        runs::pause_failing(self).await
    }

    async fn pause_run(&self, run: Uuid, reason: Option<&str>, by: &str) -> Result<Run> {
        runs::pause(self, run, reason, by).await
    }

    async fn resume_run(&self, run: Uuid, reason: Option<&str>, by: &str) -> Result<Run> {
        runs::resume(self, run, reason, by).await
    }

    async fn cancel_run(&self, run: Uuid, reason: Option<&str>, by: &str) -> Result<CancelledRun> {
        runs::cancel(self, run, reason, by).await
    }

    async fn cancel_pending(&self, run: Uuid, limit: u32) -> Result<u64> {
        runs::cancel_pending(self, run, limit).await
    }

    async fn free_quarantine(&self, run: Uuid, limit: u32) -> Result<u64> {
        runs::free_quarantine(self, run, limit).await
    }

    async fn take_planning(
        &self,
        run: Uuid,
        planner: &str,
        timeout: Duration,
    ) -> Result<Option<PlannerLease>> {
        planning::take(self, run, planner, timeout).await
    }

    async fn planner_alive(&self, run: Uuid, timeout: Duration) -> Result<bool> {
        self.reads(Limit::Short).await?.planner_alive(run, timeout).await
    }

    async fn add_batches(
        &self,
        lease: &PlannerLease,
        planned_to: Option<&str>,
        batches: &[NewBatch],
    ) -> Result<()> {
        planning::add_batches(self, lease, planned_to, batches).await
    }

    async fn finish_planning(&self, lease: &PlannerLease) -> Result<RunState> {
        planning::finish(self, lease).await
    }

    async fn fail_planning(&self, lease: &PlannerLease, reason: &str, by: &str) -> Result<()> {
        planning::fail(self, lease, reason, by).await
    }

    async fn release_planning(&self, lease: &PlannerLease) -> Result<()> {
        planning::release(self, lease).await
    }

    async fn claim(&self, worker: Uuid, kind: JobKind, max: u32) -> Result<Vec<Claimed>> {
        self.claim_due(worker, kind, max).await
    }

    async fn finish(&self, finished: &[Finished]) -> Result<u64> {
        attempts::finish(self, finished).await
    }

    async fn fail_attempt(
        &self,
        lease: Lease,
        retry: bool,
        delay: Duration,
        error: &ErrorRecord,
    ) -> Result<BatchState> {
        attempts::fail(self, lease, retry, delay, error).await
    }

    async fn release(&self, leases: &[Lease]) -> Result<u64> {
        self.release_batches(leases).await
    }

    async fn root_suspicion(&self, lease: Lease, worker: Uuid) -> Result<RootSuspicion> {
        let found = self.reads(Limit::Short).await?.root_suspicion(lease, worker).await?;
        found.ok_or(StoreError::LeaseLost)
    }

    async fn suspect_root(&self, lease: Lease, worker: Uuid) -> Result<()> {
        attempts::suspect_root(self, lease, worker).await
    }

    async fn record_alone(&self, lease: Lease, files: Option<u32>) -> Result<()> {
        attempts::record_alone(self, lease, files).await
    }

    async fn register_worker(&self, worker: &NewWorker) -> Result<()> {
        self.insert_worker(worker).await
    }

    async fn heartbeat(&self, worker: Uuid, activity: &WorkerActivity) -> Result<Membership> {
        workers::heartbeat(self, worker, activity).await
    }

    async fn leases_of(&self, worker: Uuid) -> Result<Vec<Lease>> {
        self.reads(Limit::Short).await?.leases_of(worker).await
    }

    async fn deregister_worker(&self, worker: Uuid) -> Result<()> {
        workers::deregister(self, worker).await
    }

    async fn reap(&self, timeout: Duration) -> Result<u64> {
        workers::reap(self, timeout).await
    }

    async fn has_open_work(&self) -> Result<bool> {
        let mut reads = self.reads(Limit::Short).await?;
        Ok(reads.has_run_in(RunState::ACTIVE).await? || reads.has_leased_batch().await?)
    }

    async fn accept(&self, selection: &RerunSelection, reason: &str, by: &str) -> Result<u64> {
        reruns::accept(self, selection, reason, by).await
    }

    async fn rerun(
        &self,
        selection: &RerunSelection,
        reason: Option<&str>,
        by: &str,
    ) -> Result<Rerun> {
        reruns::rerun(self, selection, reason, by).await
    }
}

/// The error for a run that does not exist.
fn no_run(id: Uuid) -> StoreError {
    StoreError::Invalid(format!("there is no run {id}"))
}
