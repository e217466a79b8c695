//! Where a planner puts its batches: written many at a time, with the position that
//! planning has reached, in one transaction.

use std::time::{Duration, Instant};

use reelshift_store::ledger::{Bounds, NewBatch, PlannerLease};
use reelshift_store::{Result, Store};
use reelshift_telemetry::context;
use uuid::Uuid;

use tracing::{Instrument, Span};

use crate::Progress;

/// Batches in one insert: its cost is then per row, not per statement.
const MAX_BATCHES_PER_INSERT: usize = 200;
/// Written at least this often, so that workers start at once and the planner is seen to live.
const MAX_INSERT_DELAY: Duration = Duration::from_millis(250);

pub(crate) struct BatchSink<'a, F> {
    store: &'a dyn Store,
    lease: &'a PlannerLease,
    waiting: Vec<NewBatch>,
    /// The span of each batch that waits: over when the batch is written.
    spans: Vec<Span>,
    /// The `traceparent` of the planning itself, which each batch links.
    planning: String,
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
            waiting: Vec::with_capacity(MAX_BATCHES_PER_INSERT),
            spans: Vec::new(),
            planning: context::traceparent(&Span::current()),
            position: lease.run.planned_to.clone(),
            written_at: Instant::now(),
            added,
            report,
        }
    }

    /// Adds a batch.
    pub(crate) fn add(&mut self, bounds: Bounds, rows_total: u64, bytes_total: u64) {
        let id = Uuid::now_v7();
        let kind = self.lease.run.kind.into_str();
        // The beginning of the batch's own trace, which outlives the planning by far.
        let span = tracing::info_span!(
            parent: None,
            "create",
            otel.name = format!("create {kind}"),
            otel.kind = "producer",
            messaging.system = "reelshift",
            messaging.destination.name = kind,
            messaging.operation.name = "create",
            messaging.operation.type = "create",
            messaging.message.id = %id,
            messaging.message.conversation_id = %self.lease.run.id,
            reelshift.batch.id = %id,
            reelshift.rows = rows_total,
            reelshift.bytes = bytes_total,
        );
        if !span.is_disabled() {
            let run = self.lease.run.traceparent.as_deref();
            context::link(&span, run);
            if run != Some(self.planning.as_str()) {
                context::link(&span, Some(&self.planning));
            }
        }
        let traceparent = Some(context::traceparent(&span));
        self.waiting.push(NewBatch { id, bounds, rows_total, bytes_total, traceparent });
        self.spans.push(span);
    }

    /// Says that every video up to `position` is in a batch or needs none; writes when it
    /// is time to.
    pub(crate) async fn reach(&mut self, position: &str) -> Result<()> {
        self.position = Some(position.to_owned());
        if self.waiting.len() >= MAX_BATCHES_PER_INSERT
            || self.written_at.elapsed() >= MAX_INSERT_DELAY
        {
            self.write().await?;
        }
        Ok(())
    }

    /// Writes what waits.
    pub(crate) async fn write(&mut self) -> Result<()> {
        let kind = self.lease.run.kind.into_str();
        let span = tracing::info_span!(
            "send",
            otel.name = format!("send {kind}"),
            otel.kind = "client",
            messaging.system = "reelshift",
            messaging.destination.name = kind,
            messaging.operation.name = "send",
            messaging.operation.type = "send",
            messaging.batch.message_count = self.waiting.len(),
        );
        let added = self.store.add_batches(self.lease, self.position.as_deref(), &self.waiting);
        added.instrument(span).await?;
        self.spans.clear();
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
