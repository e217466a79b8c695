//! What a worker does with the batches of one kind.

use std::future::Future;

use reelshift_plan::JobKind;
use reelshift_store::ledger::Claimed;

use crate::{AttemptEnd, Pass};

/// A kind of job, and what an attempt at one of its batches does.
pub trait Job: Send + Sync + 'static {
    const KIND: JobKind;
    /// Whether short batches are claimed before a handler is free. False where the next batch
    /// may take far longer than the last ones.
    const CLAIMS_AHEAD: bool;

    /// Executes one attempt at a batch. Safe to run twice: whatever it writes is fenced.
    ///
    /// # Errors
    /// How the attempt ended, unless the batch is done. It ends as drained once
    /// [`Pass::must_leave`] is true.
    fn run(
        &self,
        batch: &Claimed,
        pass: &Pass,
    ) -> impl Future<Output = Result<(), AttemptEnd>> + Send;
}
