//! Repairing: a backfill of exactly the videos that a validation found to differ, written as
//! they are found.

use std::collections::BTreeSet;

use reelshift_plan::JobKind;
use reelshift_store::ledger::{Bounds, CreatedRun, NewRun, PlannerLease, Run, RunPlan};
use reelshift_store::{Result, SharedStore, StoreError, rollback};
use reelshift_telemetry::context;
use tracing::Span;
use uuid::Uuid;

use crate::sink::BatchSink;
use crate::{PLANNER_TIMEOUT, Producer, Progress};

/// A run that is being filled with videos to be repaired. Without a video there is no run.
#[derive(Debug)]
pub struct Repair {
    store: SharedStore,
    name: String,
    plan: RunPlan,
    waiting: BTreeSet<String>,
    lease: Option<PlannerLease>,
    added: Progress,
}

impl Producer {
    /// Begins to collect videos for a run by `plan`.
    #[must_use]
    pub fn repair(&self, plan: RunPlan) -> Repair {
        let plan = RunPlan { repair: true, ..plan };
        let (store, name) = (self.store.clone(), self.name.clone());
        let waiting = BTreeSet::new();
        Repair { store, name, plan, waiting, lease: None, added: Progress::default() }
    }
}

impl Repair {
    /// Adds videos, and writes those that fill a batch.
    ///
    /// # Errors
    /// `Refused` while another repair is active, or a rollback is not at its end.
    pub async fn add(&mut self, ids: impl IntoIterator<Item = String>) -> Result<()> {
        self.waiting.extend(ids);
        while self.waiting.len() >= self.plan.batch_rows as usize {
            self.write().await?;
        }
        Ok(())
    }

    /// Writes what waits, and has the run begin; `None` where no video was added.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub async fn finish(mut self) -> Result<Option<(Run, Progress)>> {
        while !self.waiting.is_empty() {
            self.write().await?;
        }
        let Some(lease) = self.lease else { return Ok(None) };
        self.store.finish_planning(&lease).await?;
        let run = self.store.run(lease.run.id).await?.unwrap_or(lease.run);
        Ok(Some((run, self.added)))
    }

    /// Writes one batch.
    async fn write(&mut self) -> Result<()> {
        if self.lease.is_none() {
            self.lease = Some(self.begin().await?);
        }
        let Some(lease) = &self.lease else { return Ok(()) };
        let rows = self.plan.batch_rows as usize;
        let batch: Vec<String> = self.waiting.iter().take(rows).cloned().collect();
        for id in &batch {
            self.waiting.remove(id);
        }
        let mut sink = BatchSink::new(&*self.store, lease, &mut self.added, |_: &Progress| {});
        let count = batch.len() as u64;
        sink.add(Bounds::Items(batch), count, 0);
        sink.write().await
    }

    async fn begin(&self) -> Result<PlannerLease> {
        rollback::refuse_while_open(&*self.store).await?;
        let new = NewRun {
            id: Uuid::now_v7(),
            kind: JobKind::Backfill,
            plan: self.plan.clone(),
            created_by: self.name.clone(),
            traceparent: Some(context::traceparent(&Span::current())),
        };
        let run = match self.store.create_run(&new).await? {
            CreatedRun::New(run) => run,
            CreatedRun::Existing(run) => {
                return Err(StoreError::Refused(format!(
                    "run {} repairs already and is {}: validate again when it is done",
                    run.id, run.state
                )));
            }
        };
        let lease = self.store.take_planning(run.id, &self.name, PLANNER_TIMEOUT).await?;
        lease.ok_or(StoreError::LeaseLost)
    }
}
