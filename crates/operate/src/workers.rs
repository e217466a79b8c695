//! Workers.

use reelshift_store::{Result, Store};
use uuid::Uuid;

use crate::By;

/// Tells a worker to take nothing more, to give back what it holds, and to leave.
///
/// # Errors
/// `Refused` when it does not live.
pub async fn drain(store: &dyn Store, by: &By, worker: Uuid) -> Result<()> {
    store.drain_worker(worker, by.reason(), &by.who).await
}
