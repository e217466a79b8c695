//! Whether the server has connections for a worker.

use reelshift_plan::Connections;
use reelshift_store::controls::FleetView;
use reelshift_store::{Result, SharedStore, Store};
use uuid::Uuid;

/// Why a worker must wait before it works: the server has no connections for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the server accepts {} connections, of which {} are open; the fleet's share is {share}, which \
     its {workers} workers need",
    connections.max,
    connections.open
)]
pub struct NoRoom {
    connections: Connections,
    share: u32,
    workers: u32,
}

/// Connections that a worker opens at most: its pool's, and the one that shows its presence.
#[must_use]
pub fn connections_of(store: &dyn Store) -> u32 {
    store.pools().iter().map(|pool| pool.max).sum::<u32>() + 1
}

/// Whether `worker` must wait. `before` says how many workers come before it.
pub(crate) async fn wanting(
    store: &SharedStore,
    worker: Uuid,
    before: fn(&FleetView) -> u32,
) -> Result<Option<NoRoom>> {
    let Some(connections) = store.server_signals().await?.connections else { return Ok(None) };
    let fleet = store.fleet_view(worker).await?;
    let tuned = fleet.tuning.connections;
    let has_room = before(&fleet) < connections.workers(tuned, connections_of(&**store));
    Ok((!has_room).then(|| NoRoom {
        connections,
        share: connections.share(tuned),
        workers: fleet.live,
    }))
}
