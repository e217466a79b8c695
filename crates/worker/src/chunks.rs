//! Chunks of rows, whatever is done with them: when the next one may begin, how many rows it
//! takes, and what is learned from how long it took.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reelshift_plan::{ChunkLimits, ChunkSizer};
use reelshift_queue::{AttemptEnd, Pass};
use reelshift_store::StoreError;
use reelshift_store::ledger::{Bounds, Claimed};
use reelshift_store::videos::Chunk;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::controls::{Controls, Verdict};
use crate::ending::{Endings, chunk_span};
use crate::give_way;
use crate::throttle::brake::Brake;

pub(crate) struct Chunks {
    pub endings: Endings,
    controls: Controls,
    brake: Brake,
    stop: CancellationToken,
    /// One for the worker, not for the batch: what it learned stays true.
    sizer: Mutex<ChunkSizer>,
}

/// How many rows a chunk takes at most.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Size {
    /// As many as are known to fit.
    Learned,
    Fixed(u32),
}

impl Chunks {
    pub(crate) fn new(
        endings: Endings,
        controls: Controls,
        stop: CancellationToken,
        limits: ChunkLimits,
    ) -> Self {
        let (brake, sizer) = (Brake::new(controls.clone()), Mutex::new(ChunkSizer::new(limits)));
        Self { endings, controls, brake, stop, sizer }
    }

    /// Waits for as long as the throttle asks. Ends the attempt as drained where the batch must
    /// be given back.
    pub(crate) async fn may_begin(&self, batch: &Claimed, pass: &Pass) -> Result<(), AttemptEnd> {
        // Between two chunks of a second the throttle's rest may be half a minute.
        tokio::select! {
            () = self.brake.rest(&self.stop) => {}
            () = self.controls.until_held(batch.run_id) => {}
        }
        let held = self.controls.verdict(batch.run_id) != Verdict::GoOn;
        if self.stop.is_cancelled() || held || pass.must_leave() {
            return Err(AttemptEnd::Drained);
        }
        Ok(())
    }

    /// How many rows the next chunk takes at most.
    pub(crate) fn rows(&self) -> u32 {
        let target = self.controls.chunk_target();
        self.with_sizer(|sizer| {
            sizer.aim_at(target);
            sizer.rows()
        })
    }

    /// Counts a chunk of `rows` that took `took`, for the throttle and for who watches.
    pub(crate) fn done(&self, batch: &Claimed, rows: u64, took: Duration) {
        self.brake.took(took);
        let activity = self.endings.session.activity();
        activity.add_chunk(took);
        activity.add_rows(batch.kind, rows);
    }

    /// Learns how many rows fit, from a chunk of `rows` that took `took`, of which `fixed`
    /// does not grow with them.
    pub(crate) fn learn(&self, rows: u32, took: Duration, fixed: Duration) {
        self.with_sizer(|sizer| sizer.observe(rows, took, fixed));
    }

    /// Makes the next chunks smaller.
    pub(crate) fn shrink(&self) {
        self.with_sizer(ChunkSizer::yield_to_application);
    }

    /// Backfills at most `size` rows of `bounds` that follow `after`. Tries again while the
    /// application holds one of them.
    pub(crate) async fn backfill(
        &self,
        (batch, pass): (&Claimed, &Pass),
        (bounds, after): (&Bounds, Option<&str>),
        size: Size,
    ) -> Result<Result<Chunk, StoreError>, AttemptEnd> {
        let store = self.endings.session.store();
        let mut tries = 0;
        loop {
            self.may_begin(batch, pass).await?;
            let limit = match size {
                Size::Learned => self.rows(),
                Size::Fixed(rows) => rows,
            };
            let span = chunk_span(limit);
            let chunk = store
                .backfill_chunk(batch.lease, bounds, after, limit, &batch.filter)
                .instrument(span.clone())
                .await;
            self.endings.chunk_ended(&span, batch, &chunk);
            match &chunk {
                Ok(chunk) => self.done(batch, chunk.rows.into(), chunk.held),
                Err(error @ StoreError::Locked { .. }) if tries < give_way::TRIES => {
                    tries += 1;
                    tracing::debug!(batch = %batch.id, %error, tries, "chunk gave way, trying again");
                    if matches!(size, Size::Learned) {
                        self.shrink();
                    }
                    give_way::pause(tries).await;
                    continue;
                }
                Err(_) => {}
            }
            return Ok(chunk);
        }
    }

    fn with_sizer<T>(&self, use_it: impl FnOnce(&mut ChunkSizer) -> T) -> T {
        use_it(&mut self.sizer.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
