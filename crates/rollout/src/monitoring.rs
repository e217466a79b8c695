//! What the flag `performance_monitoring` adds to a snapshot.

use reelshift_plan::Flag;
use reelshift_store::report::Snapshot;
use reelshift_store::{Result, Store};

use crate::cache::FlagCache;

/// The store's snapshot, with the server's load while `performance_monitoring` is on (at
/// whatever percentage above 0: load belongs to no video).
///
/// # Errors
/// As the store.
pub async fn snapshot(store: &dyn Store, flags: &FlagCache, runs: u32) -> Result<Snapshot> {
    let mut snapshot = store.snapshot(runs).await?;
    if flags.current().await?.is_on(Flag::PerformanceMonitoring) {
        snapshot.load = store.load().await?;
    }
    Ok(snapshot)
}
