//! Validation: the rows of a key range, or of one table, compared a window at a time. Reading
//! locks nothing, and no snapshot outlives its window; what a window shows is written with the
//! batch's checkpoint.

use std::time::{Duration, Instant};

use reelshift_plan::{ChunkLimits, JobKind};
use reelshift_queue::{AttemptEnd, Job, Pass};
use reelshift_store::comparisons::{ComparedTable, ComparedWindow};
use reelshift_store::ledger::{Bounds, Claimed};
use reelshift_store::{Result, StoreError};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::chunks::Chunks;
use crate::controls::Controls;
use crate::ending::{Endings, chunk_span};

pub(crate) struct Validate(Chunks);

/// What a batch compares: the keys of `table` after `after`, up to `upto`.
struct Stretch<'a> {
    table: ComparedTable,
    after: Option<String>,
    upto: Option<&'a str>,
}

impl Job for Validate {
    const KIND: JobKind = JobKind::Validate;
    const CLAIMS_AHEAD: bool = true;

    /// Goes on after the batch's checkpoint.
    async fn run(&self, batch: &Claimed, pass: &Pass) -> Result<(), AttemptEnd> {
        let Self(chunks) = self;
        let endings = &chunks.endings;
        let activity = endings.session.activity();
        let _doing = activity.begin(batch.lease.seq, format!("validate {}", batch.id));
        let mut stretch = stretch(batch).map_err(|error| endings.database(batch, &error))?;
        loop {
            chunks.may_begin(batch, pass).await?;
            let limit = chunks.rows();
            let span = chunk_span(limit);
            match self.compare(batch, &stretch, limit).instrument(span.clone()).await {
                Ok(None) => return Ok(()),
                Ok(Some((window, took))) => {
                    span.record("reelshift.rows", window.rows);
                    let rows = u32::try_from(window.rows).unwrap_or(u32::MAX);
                    chunks.learn(rows, took, Duration::ZERO);
                    chunks.done(batch, window.rows, took);
                    stretch.after = Some(window.upto);
                }
                Err(error) => {
                    if error.is_transient() {
                        chunks.shrink();
                    }
                    return Err(endings.database(batch, &error));
                }
            }
        }
    }
}

impl Validate {
    pub(crate) fn new(endings: Endings, controls: Controls, stop: CancellationToken) -> Self {
        // Reading locks nothing, on no database.
        Self(Chunks::new(endings, controls, stop, ChunkLimits::ROW_LOCKS))
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
        let store = self.0.endings.session.store();
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
