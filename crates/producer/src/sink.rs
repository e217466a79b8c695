//! Where a planner puts its batches: written many at a time, with the position that
//! planning has reached, in one transaction.

use std::time::{Duration, Instant};

use reelshift_store::ledger::{Bounds, NewBatch, PlannerLease};
use reelshift_store::{Result, Store};
use uuid::Uuid;

use crate::{Progress, trace};

/// Batches in one insert: its cost is then per row, not per statement.
const MOST_BATCHES: usize = 200;
/// Written at least this often, so that workers start at once and the planner is seen to live.
const MOST_WAIT: Duration = Duration::from_millis(250);

pub(crate) struct BatchSink<'a, F> {
    store: &'a dyn Store,
    lease: &'a PlannerLease,
    waiting: Vec<NewBatch>,
    position: Option<String>,
    written_at: Instant,
    added: &'a mut Progress,
    report: F,
}

impl<'a, F: FnMut(&Progress) + Send> BatchSink<'a, F> {
    pub(crate) fn new(
        store: &'a dyn Store,
        lease: &'a PlannerLease,
        added: &'a mut Progress,
        report: F,
    ) -> Self {
        Self {
            store,
            lease,
            waiting: Vec::with_capacity(MOST_BATCHES),
            position: lease.run.planned_to.clone(),
            written_at: Instant::now(),
            added,
            report,
        }
    }

    /// Adds a batch.
    pub(crate) fn add(&mut self, bounds: Bounds, rows_total: u64, bytes_total: u64) {
        self.waiting.push(NewBatch {
            id: Uuid::now_v7(),
            bounds,
            rows_total,
            bytes_total,
            traceparent: Some(trace::new_traceparent()),
        });
    }

    /// Says that every video up to `position` is in a batch or needs none; writes when it
    /// is time to.
    pub(crate) async fn reach(&mut self, position: &str) -> Result<()> {
        self.position = Some(position.to_owned());
        if self.waiting.len() >= MOST_BATCHES || self.written_at.elapsed() >= MOST_WAIT {
            self.write().await?;
        }
        Ok(())
    }

    /// Writes what waits.
    pub(crate) async fn write(&mut self) -> Result<()> {
        self.store.add_batches(self.lease, self.position.as_deref(), &self.waiting).await?;
        for batch in self.waiting.drain(..) {
            self.added.batches += 1;
            self.added.rows += batch.rows_total;
            self.added.bytes += batch.bytes_total;
        }
        self.written_at = Instant::now();
        (self.report)(self.added);
        Ok(())
    }
}
