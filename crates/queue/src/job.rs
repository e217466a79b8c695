//! What a worker does with the batches of one kind.

use std::future::Future;

use reelshift_plan::JobKind;
use reelshift_store::ledger::Claimed;

use crate::{AttemptEnd, Pass};

/// A kind of job, and what an attempt at one of its batches does.
pub trait Job: Send + Sync + 'static {
    const KIND: JobKind;
    /// Short batches are claimed before a handler is free. Not where the next batch may take
    /// far longer than the last ones.
    const CLAIMS_AHEAD: bool;

    /// Executes one attempt at a batch. Safe to run twice: whatever it writes is fenced.
    ///
    /// # Errors
    /// How the attempt ended, unless the batch is done: as drained when
    /// [`Pass::must_leave`] says so.
    fn run(
        &self,
        batch: &Claimed,
        pass: &Pass,
    ) -> impl Future<Output = Result<(), AttemptEnd>> + Send;
}
