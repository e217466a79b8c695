//! Whether an archive is to be written, and where: a rollback that was interrupted goes on
//! with its own, and no other is ever overwritten.

use std::path::Path;

use anyhow::Result;
use reelshift_archive::Prepared;
use reelshift_store::SharedStore;
use reelshift_store::rollback::{OpenRollback, RollbackState};
use uuid::Uuid;

use super::WrittenArchive;
use crate::args::RollbackArgs;
use crate::context::{Context, who};
use crate::exit::Refused;
use crate::look;

/// Records the rollback and archives what it will drop, as the operator has decided.
/// `None` where nothing is archived now.
pub async fn keep(
    context: &Context,
    args: &RollbackArgs,
    store: &SharedStore,
) -> Result<Option<WrittenArchive>> {
    let open = store.open_rollback().await?;
    if let Some(open) = open.as_ref().filter(|open| open.undoing) {
        return goes_on(open, args).map(|()| None);
    }
    match &args.archive {
        Some(directory) => archive(context, store, directory, open).await.map(Some),
        None if args.discard => {
            store.move_rollback(RollbackState::Abandoned).await?;
            store.begin_rollback(Uuid::new_v4(), None, &who()).await?;
            Ok(None)
        }
        None => Err(Refused(
            "going back to legacy drops the new columns and tables with all that they hold: give --archive DIR \
             to keep it in files, or --discard"
                .to_owned(),
        )
        .into()),
    }
}

/// Steps have been undone: what they held is in the archive, or nowhere.
fn goes_on(open: &OpenRollback, args: &RollbackArgs) -> Result<()> {
    let began = look::time(open.started_at);
    let Some(directory) = &open.directory else {
        return if args.discard {
            Ok(())
        } else {
            Err(Refused(format!(
                "the rollback of {began} began with --discard and part of what there was is gone: go on with \
                 --discard"
            ))
            .into())
        };
    };
    let elsewhere = || {
        Refused(format!(
            "the rollback of {began} began with --archive {directory}: go on with that directory"
        ))
    };
    let given = args.archive.as_deref().ok_or_else(elsewhere)?;
    match reelshift_archive::prepare(given, Some(open.id)) {
        Ok((_, Prepared::Ours { complete: true })) => Ok(()),
        _ => Err(elsewhere().into()),
    }
}

async fn archive(
    context: &Context,
    store: &SharedStore,
    directory: &Path,
    open: Option<OpenRollback>,
) -> Result<WrittenArchive> {
    let (opened, prepared) =
        reelshift_archive::prepare(directory, open.as_ref().map(|open| open.id))?;
    let shown = std::path::absolute(directory)?.display().to_string();
    let rollback = match open {
        Some(open) if open.directory.as_deref() == Some(&shown) => open,
        Some(_) if matches!(prepared, Prepared::Ours { .. }) => {
            return Err(Refused(format!(
                "{shown} was moved while its rollback was under way: name an empty directory"
            ))
            .into());
        }
        _ => {
            store.move_rollback(RollbackState::Abandoned).await?;
            store.begin_rollback(Uuid::new_v4(), Some(&shown), &who()).await?;
            store.open_rollback().await?.ok_or_else(|| {
                Refused(
                    "another operator has ended this rollback: see `reelshift status`".to_owned(),
                )
            })?
        }
    };
    let bar = context.draws().then(|| {
        look::progress(
            0,
            "archiving",
            "{prefix} {msg} [{bar:24}] {human_pos} of {human_len} rows, {eta} left",
        )
    });
    let manifest =
        reelshift_archive::write(&**store, &opened, &rollback, &context.stop, |progress| {
            if let Some(bar) = &bar {
                bar.set_message(progress.table.as_str());
                bar.set_length(progress.of);
                bar.set_position(progress.rows);
            }
        })
        .await?;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(WrittenArchive { directory: directory.to_owned(), manifest })
}
