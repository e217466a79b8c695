//! Ending a run for good.

use reelshift_store::{Result, Store};
use uuid::Uuid;

/// Batches cancelled, or items freed, in one short transaction.
const CHUNK: u32 = 1_000;

/// What was left of a run when it was cancelled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CancelledRest {
    /// Pending batches that were cancelled.
    pub batches: u64,
    /// Items in its quarantine that others may plan again.
    pub freed: u64,
}

/// Cancels the pending batches of a run that
/// [`cancel_run`](reelshift_store::Controls::cancel_run) has ended, and frees the items in its
/// quarantine. No worker claims them meanwhile: where this is interrupted, the same call goes
/// on.
///
/// # Errors
/// As the store.
pub async fn cancel_rest(store: &dyn Store, run: Uuid) -> Result<CancelledRest> {
    let mut rest = CancelledRest::default();
    loop {
        match store.cancel_pending(run, CHUNK).await? {
            0 => break,
            some => rest.batches += some,
        }
    }
    loop {
        match store.free_quarantine(run, CHUNK).await? {
            0 => return Ok(rest),
            some => rest.freed += some,
        }
    }
}
