//! Whether the server has connections for a worker.

use std::time::Duration;

use reelshift_plan::connections::of_worker;
use reelshift_plan::{Connections, WorkerState};
use reelshift_store::report::WorkerReport;
use reelshift_store::{Result, SharedStore, Store};
use uuid::Uuid;

/// No fleet has more workers.
const MAX_WORKERS: u32 = 10_000;

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
    workers: usize,
}

/// Connections that a worker with this store opens at most.
#[must_use]
pub fn connections_of(store: &dyn Store) -> u32 {
    of_worker(store.pools().iter().map(|pool| pool.max).sum())
}

/// Whether `worker` must wait, for the sake of those that have been heard of within `timeout`: of
/// all of them before it has joined, then of those with smaller ids.
pub(crate) async fn wanting(
    store: &SharedStore,
    worker: Uuid,
    has_joined: bool,
    timeout: Duration,
) -> Result<Option<NoRoom>> {
    let Some(connections) = store.server_signals().await?.connections else { return Ok(None) };
    let tuned = store.fleet_view(worker).await?.tuning.connections;
    let live = store.workers(Some(WorkerState::Live), None, MAX_WORKERS).await?;
    let beats = |other: &&WorkerReport| other.seen_seconds_ago < timeout.as_secs_f64();
    let ids = live.iter().filter(beats).map(|other| other.id);
    let before = ids.clone().filter(|id| !has_joined || *id < worker).count();
    let fit = connections.workers(tuned, connections_of(&**store));
    let has_room = before < usize::try_from(fit).unwrap_or(usize::MAX);
    Ok((!has_room).then(|| NoRoom {
        connections,
        share: connections.share(tuned),
        workers: ids.count(),
    }))
}
