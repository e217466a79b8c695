//! Whether an archive is to be written, and where: a rollback that was interrupted goes on
//! with its own, and no other is ever overwritten.

use std::path::Path;

use reelshift_archive::{ArchiveError, Prepared};
use reelshift_store::Store;
use reelshift_store::rollback::{OpenRollback, RollbackState};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Keep, Result, RollbackEvent, WrittenArchive};
use crate::By;

fn refused(why: String) -> ArchiveError {
    ArchiveError::Refused(why)
}

/// Records the rollback and archives what it will drop, as the operator has decided.
/// `None` where nothing is archived now.
pub(super) async fn keep(
    store: &dyn Store,
    by: &By,
    keep: Keep<'_>,
    stop: &CancellationToken,
    report: &mut (impl FnMut(RollbackEvent<'_>) + Send),
) -> Result<Option<WrittenArchive>> {
    let open = store.open_rollback().await?;
    if let Some(open) = open.as_ref().filter(|open| open.undoing) {
        return goes_on(open, keep).map(|()| None);
    }
    match keep {
        Keep::Archive(directory) => {
            archive(store, by, directory, open, stop, report).await.map(Some)
        }
        Keep::Discard => {
            store.move_rollback(RollbackState::Abandoned).await?;
            store.begin_rollback(Uuid::new_v4(), None, &by.who).await?;
            Ok(None)
        }
        Keep::Undecided => Err(refused(
            "going back to legacy drops the new columns and tables with all that they hold: give --archive DIR \
             to keep it in files, or --discard"
                .to_owned(),
        )),
    }
}

/// Steps have been undone: what they held is in the archive, or nowhere.
fn goes_on(open: &OpenRollback, keep: Keep<'_>) -> Result<()> {
    let began = open.started_at.format("%Y-%m-%d %H:%M:%S");
    let Some(directory) = &open.directory else {
        return if keep == Keep::Discard {
            Ok(())
        } else {
            Err(refused(format!(
                "the rollback of {began} began with --discard and part of what there was is gone: go on with \
                 --discard"
            )))
        };
    };
    let elsewhere = || {
        refused(format!(
            "the rollback of {began} began with --archive {directory}: go on with that directory"
        ))
    };
    let Keep::Archive(given) = keep else { return Err(elsewhere()) };
    match reelshift_archive::prepare(given, Some(open.id)) {
        Ok((_, Prepared::Ours { complete: true })) => Ok(()),
        _ => Err(elsewhere()),
    }
}

async fn archive(
    store: &dyn Store,
    by: &By,
    directory: &Path,
    open: Option<OpenRollback>,
    stop: &CancellationToken,
    report: &mut (impl FnMut(RollbackEvent<'_>) + Send),
) -> Result<WrittenArchive> {
    let (opened, prepared) =
        reelshift_archive::prepare(directory, open.as_ref().map(|open| open.id))?;
    let absolute = std::path::absolute(directory)
        .map_err(|error| ArchiveError::Io { path: directory.to_owned(), error })?;
    let shown = absolute.display().to_string();
    let rollback = match open {
        Some(open) if open.directory.as_deref() == Some(&shown) => open,
        Some(_) if matches!(prepared, Prepared::Ours { .. }) => {
            return Err(refused(format!(
                "{shown} was moved while its rollback was under way: name an empty directory"
            )));
        }
        _ => {
            store.move_rollback(RollbackState::Abandoned).await?;
            store.begin_rollback(Uuid::new_v4(), Some(&shown), &by.who).await?;
            store.open_rollback().await?.ok_or_else(|| {
                refused(
                    "another operator has ended this rollback: see `reelshift status`".to_owned(),
                )
            })?
        }
    };
    let manifest = reelshift_archive::write(store, &opened, &rollback, stop, |progress| {
        report(RollbackEvent::Archiving(progress));
    })
    .await?;
    report(RollbackEvent::Archived);
    Ok(WrittenArchive { directory: directory.to_owned(), manifest })
}
