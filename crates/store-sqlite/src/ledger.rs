//! The queue's methods, each where its subject is: runs, planning, claims, leases,
//! workers, reruns.

use std::time::Duration;

use async_trait::async_trait;
use reelshift_plan::{BatchState, JobKind, RunState};
use reelshift_store::ledger::{
    Claimed, CreatedRun, Finished, Lease, Ledger, Membership, NewBatch, NewRun, NewWorker,
    PlannerLease, Rerun, RerunSelection, RootSuspicion, Run, WorkerActivity,
};
use reelshift_store::{ErrorRecord, Result};
use uuid::Uuid;

use crate::{SqliteStore, claim, holds, lease, planning, rerun, runs, suspicions, workers};

#[async_trait]
impl Ledger for SqliteStore {
    async fn create_run(&self, run: &NewRun) -> Result<CreatedRun> {
        self.short(runs::create(self, run)).await
    }

    async fn run(&self, id: Uuid) -> Result<Option<Run>> {
        self.short(runs::by_id(self, id)).await
    }

    async fn active_runs(&self, kind: Option<JobKind>) -> Result<Vec<Run>> {
        self.short(runs::active(self, kind)).await
    }

    async fn take_planning(
        &self,
        run: Uuid,
        planner: &str,
        timeout: Duration,
    ) -> Result<Option<PlannerLease>> {
        self.short(planning::take(self, run, planner, timeout)).await
    }

    async fn planner_alive(&self, run: Uuid, timeout: Duration) -> Result<bool> {
        self.short(planning::alive(self, run, timeout)).await
    }

    async fn add_batches(
        &self,
        lease: &PlannerLease,
        planned_to: Option<&str>,
        batches: &[NewBatch],
    ) -> Result<()> {
        self.short(planning::add_batches(self, lease, planned_to, batches)).await
    }

    async fn fail_planning(&self, lease: &PlannerLease, reason: &str, by: &str) -> Result<()> {
        self.short(holds::fail_planning(self, lease, reason, by)).await
    }

    async fn finish_planning(&self, lease: &PlannerLease) -> Result<RunState> {
        self.short(planning::finish(self, lease)).await
    }

    async fn release_planning(&self, lease: &PlannerLease) -> Result<()> {
        self.short(planning::release(self, lease)).await
    }

    async fn settle(&self, run: Uuid) -> Result<RunState> {
        self.short(runs::settle(self, run)).await
    }

    async fn claim(&self, worker: Uuid, kind: JobKind, max: u32) -> Result<Vec<Claimed>> {
        self.short(claim::claim(self, worker, kind, max)).await
    }

    async fn finish(&self, finished: &[Finished]) -> Result<u64> {
        self.short(lease::finish(self, finished)).await
    }

    async fn fail_attempt(
        &self,
        lease: Lease,
        retry: bool,
        delay: Duration,
        error: &ErrorRecord,
    ) -> Result<BatchState> {
        self.short(lease::fail_attempt(self, lease, retry, delay, error)).await
    }

    async fn release(&self, leases: &[Lease]) -> Result<u64> {
        self.short(lease::release(self, leases)).await
    }

    async fn root_suspicion(&self, lease: Lease, worker: Uuid) -> Result<RootSuspicion> {
        self.short(suspicions::read(self, lease, worker)).await
    }

    async fn suspect_root(&self, lease: Lease, worker: Uuid) -> Result<()> {
        self.short(suspicions::suspect(self, lease, worker)).await
    }

    async fn record_alone(&self, lease: Lease, files: Option<u32>) -> Result<()> {
        self.short(suspicions::record_alone(self, lease, files)).await
    }

    async fn register_worker(&self, worker: &NewWorker) -> Result<()> {
        self.short(workers::register(self, worker)).await
    }

    async fn heartbeat(&self, worker: Uuid, activity: &WorkerActivity) -> Result<Membership> {
        self.short(workers::heartbeat(self, worker, activity)).await
    }

    async fn leases_of(&self, worker: Uuid) -> Result<Vec<Lease>> {
        self.short(workers::leases(self, worker)).await
    }

    async fn deregister_worker(&self, worker: Uuid) -> Result<()> {
        self.short(workers::deregister(self, worker)).await
    }

    async fn reap(&self, timeout: Duration) -> Result<u64> {
        self.short(workers::reap(self, timeout)).await
    }

    async fn has_open_work(&self) -> Result<bool> {
        self.short(runs::has_open_work(self)).await
    }

    async fn pause_failing(&self) -> Result<Vec<Run>> {
        self.short(runs::pause_failing(self)).await
    }

    async fn accept(&self, selection: &RerunSelection, reason: &str, by: &str) -> Result<u64> {
        self.short(rerun::accept(self, selection, reason, by)).await
    }

    async fn rerun(
        &self,
        selection: &RerunSelection,
        reason: Option<&str>,
        by: &str,
    ) -> Result<Rerun> {
        self.short(rerun::rerun(self, selection, reason, by)).await
    }
}
