//! The ledger: [`runs`], [`claim`], [`lease`], [`workers`] and [`rerun`] behind the port.

use std::time::Duration;

use async_trait::async_trait;
use reelshift_plan::{BatchState, JobKind, RunState};
use reelshift_store::ledger::{
    Claimed, CreatedRun, Finished, Lease, Ledger, Membership, NewBatch, NewRun, NewWorker,
    PlannerLease, Rerun, RerunSelection, RootSuspicion, Run, WorkerActivity,
};
use reelshift_store::{ErrorRecord, Result, StoreError};
use uuid::Uuid;

use crate::connection::MySqlStore;
use crate::deadline::{LONG, SHORT, within};
use crate::error::Error;
use crate::{claim, holds, lease, planning, rerun, runs, suspicions, workers};

#[async_trait]
impl Ledger for MySqlStore {
    async fn create_run(&self, run: &NewRun) -> Result<CreatedRun> {
        within(SHORT, runs::create(self, run)).await
    }

    async fn run(&self, id: Uuid) -> Result<Option<Run>> {
        let mut connection = self.pool.acquire().await.map_err(Error::from)?;
        within(SHORT, runs::find(&mut connection, id)).await
    }

    async fn active_runs(&self, kind: Option<JobKind>) -> Result<Vec<Run>> {
        within(SHORT, runs::active(self, kind)).await
    }

    async fn take_planning(
        &self,
        run: Uuid,
        planner: &str,
        timeout: Duration,
    ) -> Result<Option<PlannerLease>> {
        within(SHORT, planning::take(self, run, planner, timeout)).await
    }

    async fn planner_alive(&self, run: Uuid, timeout: Duration) -> Result<bool> {
        within(SHORT, planning::alive(self, run, timeout)).await
    }

    async fn add_batches(
        &self,
        lease: &PlannerLease,
        planned_to: Option<&str>,
        batches: &[NewBatch],
    ) -> Result<()> {
        within(SHORT, planning::add_batches(self, lease, planned_to, batches)).await
    }

    async fn fail_planning(&self, lease: &PlannerLease, reason: &str, by: &str) -> Result<()> {
        within(SHORT, holds::fail_planning(self, lease, reason, by)).await
    }

    async fn finish_planning(&self, lease: &PlannerLease) -> Result<RunState> {
        within(SHORT, planning::finish(self, lease)).await
    }

    async fn release_planning(&self, lease: &PlannerLease) -> Result<()> {
        within(SHORT, planning::release(self, lease)).await
    }

    async fn settle(&self, run: Uuid) -> Result<RunState> {
        within(SHORT, runs::settle(self, run)).await
    }

    async fn claim(&self, worker: Uuid, kind: JobKind, max: u32) -> Result<Vec<Claimed>> {
        within(SHORT, claim::claim(self, worker, kind, max)).await
    }

    async fn finish(&self, finished: &[Finished]) -> Result<u64> {
        within(SHORT, lease::finish(self, finished)).await
    }

    async fn fail_attempt(
        &self,
        lease: Lease,
        retry: bool,
        delay: Duration,
        error: &ErrorRecord,
    ) -> Result<BatchState> {
        within(SHORT, lease::fail_attempt(self, lease, retry, delay, error)).await
    }

    async fn release(&self, leases: &[Lease]) -> Result<u64> {
        within(SHORT, lease::release(self, leases)).await
    }

    async fn root_suspicion(&self, lease: Lease, worker: Uuid) -> Result<RootSuspicion> {
        within(SHORT, suspicions::read(self, lease, worker)).await
    }

    async fn suspect_root(&self, lease: Lease, worker: Uuid) -> Result<()> {
        within(SHORT, suspicions::suspect(self, lease, worker)).await
    }

    async fn record_alone(&self, lease: Lease, files: Option<u32>) -> Result<()> {
        within(SHORT, suspicions::record_alone(self, lease, files)).await
    }

    async fn register_worker(&self, worker: &NewWorker) -> Result<()> {
        within(SHORT, workers::register(self, worker)).await
    }

    async fn heartbeat(&self, worker: Uuid, activity: &WorkerActivity) -> Result<Membership> {
        let beat = within(SHORT, workers::heartbeat(self, worker, activity)).await;
        // A lock that another holds is an answer of the database too.
        self.contact.heartbeat(!matches!(beat, Err(StoreError::Transient { .. })));
        beat
    }

    async fn leases_of(&self, worker: Uuid) -> Result<Vec<Lease>> {
        within(SHORT, workers::leases(self, worker)).await
    }

    async fn deregister_worker(&self, worker: Uuid) -> Result<()> {
        within(SHORT, workers::deregister(self, worker)).await
    }

    async fn reap(&self, timeout: Duration) -> Result<u64> {
        within(SHORT, workers::reap(self, timeout)).await
    }

    async fn has_open_work(&self) -> Result<bool> {
        let open = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM reelshift_runs \
                WHERE state IN ('planning', 'running', 'sweeping')) \
              OR EXISTS (SELECT 1 FROM reelshift_batches WHERE leased_by IS NOT NULL)",
        );
        let open: i64 =
            within(SHORT, async { open.fetch_one(&self.pool).await.map_err(Error::from) }).await?;
        Ok(open != 0)
    }

    async fn pause_failing(&self) -> Result<Vec<Run>> {
        within(SHORT, runs::pause_failing(self)).await
    }

    async fn accept(&self, selection: &RerunSelection, reason: &str, by: &str) -> Result<u64> {
        within(LONG, rerun::accept(self, selection, reason, by)).await
    }

    async fn rerun(
        &self,
        selection: &RerunSelection,
        reason: Option<&str>,
        by: &str,
    ) -> Result<Rerun> {
        within(LONG, rerun::rerun(self, selection, reason, by)).await
    }
}
