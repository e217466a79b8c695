//! Ending a run for good.

use reelshift_store::{Result, Store};
use uuid::Uuid;

/// Batches cancelled in one short transaction.
const CHUNK: u32 = 1_000;

/// Cancels the pending batches of a run that
/// [`cancel_run`](reelshift_store::Controls::cancel_run) has ended; returns how many. No
/// worker claims them meanwhile: where this is interrupted, the same call goes on.
///
/// # Errors
/// As the store.
pub async fn cancel_batches(store: &dyn Store, run: Uuid) -> Result<u64> {
    let mut cancelled = 0;
    loop {
        let some = store.cancel_pending(run, CHUNK).await?;
        if some == 0 {
            return Ok(cancelled);
        }
        cancelled += some;
    }
}
