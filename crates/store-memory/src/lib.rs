//! The ledger's statements in memory, for tests of its rules: tables that a test can look into,
//! copy and set back. Transactions come one after the other. Nothing of it is shipped.

mod reads;
mod tables;
mod work;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reelshift_plan::{BatchState, JobKind, RunState, WorkerState};
use reelshift_store::Result;
use reelshift_store::ledger::statements::{
    LedgerReads, LedgerStatements, LedgerTransaction, Limit,
};
use reelshift_store::ledger::{Claimed, Lease, NewWorker, PRIORITIES, WorkerActivity, new_token};
use tokio::sync::{Mutex, OwnedMutexGuard};
use uuid::Uuid;

pub use tables::{Batch, ErrorRow, Planner, QuarantineRow, RunRow, Tables, Worker};

/// A ledger in memory.
#[derive(Debug, Default)]
pub struct MemoryLedger {
    tables: Arc<Mutex<Tables>>,
}

impl MemoryLedger {
    /// A ledger that holds `tables`.
    #[must_use]
    pub fn new(tables: Tables) -> Self {
        Self { tables: Arc::new(Mutex::new(tables)) }
    }

    /// Its tables as they are.
    pub async fn tables(&self) -> Tables {
        self.tables.lock().await.clone()
    }

    /// Changes its tables as nobody but a test can.
    pub async fn change<T>(&self, change: impl FnOnce(&mut Tables) -> T) -> T {
        change(&mut *self.tables.lock().await)
    }

    async fn session(&self) -> Session {
        let committed = Arc::clone(&self.tables).lock_owned().await;
        Session { tables: committed.clone(), committed }
    }
}

/// One transaction, which has the ledger to itself.
pub(crate) struct Session {
    committed: OwnedMutexGuard<Tables>,
    /// What the transaction reads and writes.
    tables: Tables,
}

impl Session {
    fn commit(mut self) {
        self.tables.now += 1;
        *self.committed = self.tables;
    }
}

#[async_trait]
impl LedgerStatements for MemoryLedger {
    async fn reads(&self, _: Limit) -> Result<Box<dyn LedgerReads + '_>> {
        Ok(Box::new(self.session().await))
    }

    async fn transaction(&self, _: Limit) -> Result<Box<dyn LedgerTransaction + '_>> {
        Ok(Box::new(self.session().await))
    }

    async fn claim_due(&self, worker: Uuid, kind: JobKind, max: u32) -> Result<Vec<Claimed>> {
        let mut session = self.session().await;
        let runs = session.runs_in(RunState::ACTIVE, Some(kind)).await?;
        let mut claimed = Vec::new();
        for run in &runs {
            for priority in PRIORITIES {
                let due = |batch: &&mut Batch| {
                    batch.run == run.id
                        && batch.state == BatchState::Pending
                        && batch.row.priority == priority
                };
                let left = usize::try_from(max).unwrap_or(usize::MAX) - claimed.len();
                for batch in session.tables.batches.iter_mut().filter(due).take(left) {
                    let token = new_token();
                    batch.state = BatchState::Leased;
                    batch.leased_by = Some(worker);
                    batch.token = Some(token);
                    claimed.push(batch.claimed(run, token));
                }
            }
        }
        session.commit();
        Ok(claimed)
    }

    async fn finish_batches(&self, leases: &[Lease]) -> Result<u64> {
        let mut session = self.session().await;
        let mut finished = 0;
        for lease in leases {
            finished += u64::from(session.finish_batch(*lease).await?);
        }
        session.commit();
        Ok(finished)
    }

    async fn release_batches(&self, leases: &[Lease]) -> Result<u64> {
        let mut session = self.session().await;
        let mut released = 0;
        for lease in leases {
            if let Some(batch) = session.tables.leased(*lease) {
                batch.end_lease(BatchState::Pending);
                batch.alone_files = None;
                released += 1;
            }
        }
        session.commit();
        Ok(released)
    }

    async fn insert_worker(&self, worker: &NewWorker) -> Result<()> {
        let mut session = self.session().await;
        session
            .tables
            .workers
            .insert(worker.id, Worker { state: WorkerState::Live, is_silent: false });
        session.commit();
        Ok(())
    }

    async fn write_activity(&self, worker: Uuid, _: &WorkerActivity) -> Result<bool> {
        let mut session = self.session().await;
        let row = session.tables.workers.get_mut(&worker);
        let live = row.filter(|row| row.state == WorkerState::Live);
        let is_live = live.map(|row| row.is_silent = false).is_some();
        session.commit();
        Ok(is_live)
    }

    async fn end_activity(&self, _: Uuid) {}

    async fn may_reap(&self, _: Duration) -> Result<bool> {
        Ok(true)
    }
}
