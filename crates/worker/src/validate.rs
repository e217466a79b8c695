//! Validation: the rows of a key range, or of one table, compared a window at a time. Reading
//! locks nothing, and no snapshot outlives its window; what a window shows is written with the
//! batch's checkpoint.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reelshift_plan::{ChunkLimits, ChunkSizer};
use reelshift_queue::{AttemptEnd, Pass};
use reelshift_store::comparisons::{ComparedTable, ComparedWindow};
use reelshift_store::ledger::{Bounds, Claimed};
use reelshift_store::{Result, StoreError};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::controls::{Controls, Verdict};
use crate::ending::{Endings, chunk_span};
use crate::throttle::brake::Brake;

pub(crate) struct Validate {
    endings: Endings,
    brake: Brake,
    controls: Controls,
    stop: CancellationToken,
    /// One for the worker, not for the batch: what it learned stays true.
    sizer: Mutex<ChunkSizer>,
}

/// What a batch compares: the keys of `table` after `after`, up to `upto`.
struct Stretch<'a> {
    table: ComparedTable,
    after: Option<String>,
    upto: Option<&'a str>,
}

impl Validate {
    pub(crate) fn new(endings: Endings, controls: Controls, stop: CancellationToken) -> Self {
        let brake = Brake::new(controls.clone());
        // Reading locks nothing, on no database.
        let sizer = Mutex::new(ChunkSizer::new(ChunkLimits::ROW_LOCKS));
        Self { endings, brake, controls, stop, sizer }
    }

    /// Executes one attempt, going on after the batch's checkpoint.
    pub(crate) async fn attempt(&self, batch: &Claimed, pass: &Pass) -> Result<(), AttemptEnd> {
        let session = &self.endings.session;
        let _doing = session.activity().begin(batch.lease.seq, format!("validate {}", batch.id));
        let mut stretch = stretch(batch).map_err(|error| self.endings.database(batch, &error))?;
        loop {
            self.may_go_on(batch, pass).await?;
            let target = self.controls.chunk_target();
            let limit = self.with_sizer(|sizer| {
                sizer.aim_at(target);
                sizer.rows()
            });
            let span = chunk_span(limit);
            match self.compare(batch, &stretch, limit).instrument(span.clone()).await {
                Ok(None) => return Ok(()),
                Ok(Some((window, took))) => {
                    span.record("reelshift.rows", window.rows);
                    let rows = u32::try_from(window.rows).unwrap_or(u32::MAX);
                    self.with_sizer(|sizer| sizer.observe(rows, took, Duration::ZERO));
                    self.brake.took(took);
                    session.activity().add_chunk(took);
                    session.activity().add_rows(batch.kind, window.rows);
                    stretch.after = Some(window.upto);
                }
                Err(error) => {
                    if error.is_transient() {
                        self.with_sizer(ChunkSizer::yield_to_application);
                    }
                    return Err(self.endings.database(batch, &error));
                }
            }
        }
    }

    /// Compares the next window and writes what it shows; `None` at the end of the stretch. Also
    /// how long reading took: writing takes as long for one row, and may wait for its turn.
    async fn compare(
        &self,
        batch: &Claimed,
        stretch: &Stretch<'_>,
        limit: u32,
    ) -> Result<Option<(ComparedWindow, Duration)>> {
        let began = Instant::now();
        let store = self.endings.session.store();
        let Stretch { table, after, upto } = stretch;
        let (table, after) = (*table, after.as_deref());
        let Some(keys) = store.key_window(table, after, *upto, limit).await? else {
            return Ok(None);
        };
        let compared = store.compare(table, after, &keys.upto, u32::MAX).await?;
        let took = began.elapsed();
        // What the run is planned by is videos.
        let rows = if table == ComparedTable::Videos { keys.rows } else { 0 };
        let window = ComparedWindow { table, upto: keys.upto, rows, compared };
        store.record_comparison(batch.lease, &window).await?;
        Ok(Some((window, took)))
    }

    /// Rests as the throttle says; ends the attempt where somebody wants its batch back.
    async fn may_go_on(&self, batch: &Claimed, pass: &Pass) -> Result<(), AttemptEnd> {
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

    fn with_sizer<T>(&self, use_it: impl FnOnce(&mut ChunkSizer) -> T) -> T {
        use_it(&mut self.sizer.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn stretch(batch: &Claimed) -> Result<Stretch<'_>> {
    match &batch.bounds {
        Bounds::Range { after, upto } => Ok(Stretch {
            table: ComparedTable::Videos,
            after: batch.checkpoint.clone().or_else(|| after.clone()),
            upto: Some(upto),
        }),
        Bounds::Items(tables) => {
            let named = tables.first().map(String::as_str).and_then(ComparedTable::named);
            let table = named.ok_or_else(|| StoreError::Permanent {
                code: None,
                message: format!("{tables:?} names no table that is validated"),
            })?;
            Ok(Stretch { table, after: batch.checkpoint.clone(), upto: None })
        }
    }
}
