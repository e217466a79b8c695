//! `restore`: what a rollback archived comes back after a new expand.

use std::collections::BTreeMap;
use std::path::Path;

use reelshift_archive::{Archive, ArchiveError, Checked, Pace, Progress, RestoreReport};
use reelshift_store::Store;
use reelshift_store::audit::AuditEvent;
use tokio_util::sync::CancellationToken;

use crate::By;
use crate::schema::{STOPPED, record};

/// An archive to be brought back.
#[derive(Debug)]
pub struct Restore<'a> {
    pub archive: &'a Archive,
    pub directory: &'a Path,
    /// Whether the archive may be of another platform.
    pub any_platform: bool,
    /// How fast rows may be written.
    pub pace: Pace,
    /// Chunks that may be written at once.
    pub writers: usize,
}

/// Brings an archive back, and tells `report` of its progress. What was brought back is
/// recorded, complete or not. `None` where it was told to stop.
///
/// # Errors
/// `Refused` where the archive does not fit the database, and nothing was changed then;
/// otherwise as the archive and the store.
pub async fn restore(
    store: &dyn Store,
    by: &By,
    request: Restore<'_>,
    stop: &CancellationToken,
    mut report: impl FnMut(Progress) + Send,
) -> Result<Option<Vec<RestoreReport>>, ArchiveError> {
    let lock = store.lock_migration().await?;
    let mut rows = BTreeMap::new();
    let work = async {
        let checked = Checked::new(store, request.archive, request.any_platform).await?;
        let count = |progress: Progress| {
            rows.insert(progress.table.into_str(), progress.rows);
            report(progress);
        };
        let Restore { pace, writers, .. } = request;
        reelshift_archive::restore(store, &checked, pace, writers, stop, count).await
    };
    let restored = stop.run_until_cancelled(work).await.transpose();
    let complete = matches!(restored, Ok(Some(_)));
    let rows: u64 = rows.values().sum();
    let mut recorded = Ok(());
    if rows > 0 || complete {
        let directory = request.directory.display().to_string();
        let stopped = if complete { "" } else { STOPPED };
        let event = AuditEvent::Restored { directory, done: format!("{rows} rows{stopped}") };
        recorded = record(store, by, event, Ok(())).await;
    }
    let released = lock.release().await;
    let restored = restored?;
    recorded?;
    released?;
    Ok(restored)
}
