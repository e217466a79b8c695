//! Backfill: a key range in chunks, each committed with its checkpoint.

use reelshift_plan::JobKind;
use reelshift_queue::{AttemptEnd, Job, Pass};
use reelshift_store::ledger::{Bounds, Claimed};
use tokio_util::sync::CancellationToken;

use crate::bisect::Bisect;
use crate::chunks::{Chunks, Size};
use crate::controls::Controls;
use crate::ending::{Endings, blames_an_item};

pub(crate) struct Backfill(Chunks);

impl Backfill {
    pub(crate) fn new(endings: Endings, controls: Controls, stop: CancellationToken) -> Self {
        let limits = endings.session.store().chunk_limits();
        Self(Chunks::new(endings, controls, stop, limits))
    }
}

impl Job for Backfill {
    const KIND: JobKind = JobKind::Backfill;
    const CLAIMS_AHEAD: bool = true;

    /// Goes on after the batch's checkpoint.
    async fn run(&self, batch: &Claimed, pass: &Pass) -> Result<(), AttemptEnd> {
        let Self(chunks) = self;
        let endings = &chunks.endings;
        let activity = endings.session.activity();
        let _doing = activity.begin(batch.lease.seq, format!("backfill {}", batch.id));
        let mut after = batch.checkpoint.clone().or_else(|| match &batch.bounds {
            Bounds::Range { after, .. } => after.clone(),
            Bounds::Items(_) => None,
        });
        let mut bisect = Bisect::new(chunks, batch, pass);
        loop {
            let range = (&batch.bounds, after.as_deref());
            match chunks.backfill((batch, pass), range, Size::Learned).await? {
                Ok(chunk) => {
                    chunks.learn(chunk.rows, chunk.held, chunk.fixed);
                    bisect.wrote(chunk.rows);
                    match chunk.next {
                        Some(next) => after = Some(next),
                        None => return bisect.through(),
                    }
                }
                Err(error) if blames_an_item(batch, &error) => {
                    match bisect.next(after.as_deref(), chunks.rows()).await? {
                        Some(next) => after = Some(next),
                        // No row is left to blame: it was something else.
                        None => return Err(endings.database(batch, &error)),
                    }
                }
                Err(error) => {
                    // One that met its deadline was too long: the next try is shorter.
                    if error.is_transient() {
                        chunks.shrink();
                    }
                    return Err(endings.database(batch, &error));
                }
            }
        }
    }
}
