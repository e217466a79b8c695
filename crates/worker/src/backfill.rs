//! Backfill: a key range in chunks, each committed with its checkpoint.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reelshift_plan::ChunkSizer;
use reelshift_queue::{AttemptEnd, Pass};
use reelshift_store::StoreError;
use reelshift_store::ledger::{Bounds, Claimed};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::bisect::Bisect;
use crate::controls::{Controls, Verdict};
use crate::ending::{Endings, blames_an_item, chunk_span};
use crate::give_way;
use crate::throttle::brake::Brake;

pub(crate) struct Backfill {
    endings: Endings,
    brake: Brake,
    controls: Controls,
    stop: CancellationToken,
    /// One for the worker, not for the batch: what it learned stays true.
    sizer: Mutex<ChunkSizer>,
}

impl Backfill {
    pub(crate) fn new(endings: Endings, controls: Controls, stop: CancellationToken) -> Self {
        let brake = Brake::new(controls.clone());
        let sizer = Mutex::new(ChunkSizer::new(endings.session.store().chunk_limits()));
        Self { endings, brake, controls, stop, sizer }
    }

    pub(crate) const fn endings(&self) -> &Endings {
        &self.endings
    }

    /// Rests as the throttle says; ends the attempt where somebody wants its batch back.
    pub(crate) async fn may_go_on(&self, batch: &Claimed, pass: &Pass) -> Result<(), AttemptEnd> {
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

    /// Tells the throttle of a chunk that was committed.
    pub(crate) fn took(&self, took: Duration) {
        self.brake.took(took);
        self.endings.session.activity().add_chunk(took);
    }

    /// Executes one attempt, going on after the batch's checkpoint.
    pub(crate) async fn attempt(&self, batch: &Claimed, pass: &Pass) -> Result<(), AttemptEnd> {
        let session = &self.endings.session;
        let _doing = session.activity().begin(batch.lease.seq, format!("backfill {}", batch.id));
        let mut after = batch.checkpoint.clone().or_else(|| match &batch.bounds {
            Bounds::Range { after, .. } => after.clone(),
            Bounds::Items(_) => None,
        });
        let mut bisect = Bisect::new(self, batch, pass);
        let mut tries = 0;
        loop {
            self.may_go_on(batch, pass).await?;
            let target = self.controls.chunk_target();
            let limit = self.with_sizer(|sizer| {
                sizer.aim_at(target);
                sizer.rows()
            });
            let span = chunk_span(limit);
            let chunk = session
                .store()
                .backfill_chunk(batch.lease, &batch.bounds, after.as_deref(), limit, &batch.filter)
                .instrument(span.clone())
                .await;
            self.endings.chunk_ended(&span, batch, &chunk);
            match chunk {
                Ok(chunk) => {
                    tries = 0;
                    self.with_sizer(|sizer| sizer.observe(chunk.rows, chunk.held, chunk.fixed));
                    self.took(chunk.held);
                    session.activity().add_rows(batch.kind, chunk.rows.into());
                    bisect.wrote(chunk.rows);
                    match chunk.next {
                        Some(next) => after = Some(next),
                        None => return bisect.through(),
                    }
                }
                Err(error @ StoreError::Locked { .. }) if tries < give_way::TRIES => {
                    tries += 1;
                    tracing::debug!(batch = %batch.id, %error, tries, "chunk gave way, trying again");
                    self.with_sizer(ChunkSizer::yield_to_application);
                    give_way::pause(tries).await;
                }
                Err(error) if blames_an_item(batch, &error) => {
                    match bisect.next(after.as_deref(), limit).await? {
                        Some(next) => after = Some(next),
                        // No row is left to blame: it was something else.
                        None => return Err(self.endings.database(batch, &error)),
                    }
                }
                Err(error) => {
                    // One that met its deadline was too long: the next try is shorter.
                    if error.is_transient() {
                        self.with_sizer(ChunkSizer::yield_to_application);
                    }
                    return Err(self.endings.database(batch, &error));
                }
            }
        }
    }

    fn with_sizer<T>(&self, use_it: impl FnOnce(&mut ChunkSizer) -> T) -> T {
        use_it(&mut self.sizer.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
