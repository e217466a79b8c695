//! Removing what ended long ago.

use std::time::{Duration, Instant};

use reelshift_store::audit::AuditEvent;
use reelshift_store::history::Pruned;
use reelshift_store::{Result, Store};
use tokio_util::sync::CancellationToken;

use crate::By;

/// Rows removed in one short transaction.
const ROWS_PER_CHUNK: u32 = 500;
/// The least pause between two, beside as long as the last one took: the fleet and the
/// application come first.
const MIN_REST: Duration = Duration::from_millis(5);

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    pub pruned: Pruned,
    pub notifications: u64,
    pub samples: u64,
    /// Whether nothing is left to be removed; otherwise it was told to stop.
    pub complete: bool,
}

/// Removes runs that ended longer ago than `older_than`, notifications that were sent or have
/// expired as long ago, and samples of the same age. Calls `report` after each step.
///
/// # Errors
/// As the store. What was removed until then is recorded.
pub async fn prune(
    store: &dyn Store,
    by: &By,
    older_than: Duration,
    stop: &CancellationToken,
    mut report: impl FnMut(Pruned) + Send,
) -> Result<Removed> {
    let mut removed = Removed::default();
    let ended =
        stop.run_until_cancelled(remove(store, older_than, &mut removed, &mut report)).await;
    removed.complete = matches!(ended, Some(Ok(())));
    let recorded = if removed.pruned.is_empty() && removed.notifications + removed.samples == 0 {
        Ok(())
    } else {
        let Pruned { runs, batches, quarantined, workers, differences } = removed.pruned;
        let done = format!(
            "runs {runs}, batches {batches}, quarantine entries {quarantined}, workers {workers}, \
             differences {differences}, notifications {}, samples {}",
            removed.notifications, removed.samples
        );
        store.record(&AuditEvent::Pruned { done }, by.reason(), &by.who).await
    };
    ended.unwrap_or(Ok(())).and(recorded)?;
    Ok(removed)
}

async fn remove(
    store: &dyn Store,
    older_than: Duration,
    removed: &mut Removed,
    report: &mut (impl FnMut(Pruned) + Send),
) -> Result<()> {
    let limit = ROWS_PER_CHUNK;
    in_chunks(async || {
        let some = store.prune(older_than, limit).await?;
        removed.pruned.add(some);
        report(some);
        Ok(!some.is_empty())
    })
    .await?;
    in_chunks(async || {
        let some = store.prune_notifications(older_than, limit).await?;
        removed.notifications += some;
        Ok(some > 0)
    })
    .await?;
    in_chunks(async || {
        let some = store.prune_samples(older_than, limit).await?;
        removed.samples += some;
        Ok(some > 0)
    })
    .await
}

/// Repeats `chunk` until it finds nothing more to remove, and rests after each as long as it
/// took.
async fn in_chunks(mut chunk: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    loop {
        let began = Instant::now();
        if !chunk().await? {
            return Ok(());
        }
        tokio::time::sleep(began.elapsed().max(MIN_REST)).await;
    }
}
