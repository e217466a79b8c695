//! Writing an archive: pages in key order, each a short read, with a pause after it.

use std::path::Path;
use std::time::{Duration, Instant};

use reelshift_store::Store;
use reelshift_store::archive::ArchivedTable;
use reelshift_store::rollback::OpenRollback;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::{ArchiveError, Result, at};
use crate::file::RowWriter;
use crate::manifest::{self, Manifest, TableManifest, file_name};
use crate::restore::patiently;
use crate::{FILE_ROWS, Progress};

/// Rows of a page: some milliseconds of reading.
const PAGE_ROWS: u32 = 500;

/// The longest pause after a page.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What a directory is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prepared {
    /// An archive can be written into it.
    Empty,
    /// It holds the unfinished or finished archive of this rollback.
    Ours { complete: bool },
}

/// Makes `directory` if it is not there, and sees what is in it. `open` is the rollback
/// that has begun, if any.
///
/// # Errors
/// `Refused` when it holds anything but this rollback's archive.
pub fn prepare(directory: &Path, open: Option<Uuid>) -> Result<Prepared> {
    std::fs::create_dir_all(directory).map_err(at(directory))?;
    if let Some(manifest) = Manifest::find(directory)? {
        return if Some(manifest.id) == open {
            Ok(Prepared::Ours { complete: manifest.complete })
        } else {
            Err(ArchiveError::Refused(format!(
                "{} holds an archive of {}, which is not overwritten: name an empty directory",
                directory.display(),
                manifest.created_at.format("%Y-%m-%d %H:%M:%S UTC")
            )))
        };
    }
    if !manifest::is_empty(directory)? {
        return Err(ArchiveError::Refused(format!(
            "{} is not empty: name an empty directory, or one that is still to be made",
            directory.display()
        )));
    }
    Ok(Prepared::Empty)
}

/// Writes the archive of `rollback` into `directory`, in place of an earlier attempt at
/// it. Pages are of different moments: what others write into the new columns behind the
/// position is not in it.
///
/// # Errors
/// `Io`, `Store`, or `Stopped` when `stop` was asked for; the archive is then incomplete.
pub async fn write(
    store: &dyn Store,
    directory: &Path,
    rollback: &OpenRollback,
    stop: &CancellationToken,
    mut report: impl FnMut(Progress),
) -> Result<Manifest> {
    let mut manifest = Manifest::new(rollback.id, store.server().await?, rollback.started_at);
    manifest.save(directory)?;
    manifest::clear(directory)?;
    for table in ArchivedTable::ALL {
        if let Some(columns) = store.archived_columns(table).await? {
            let written = write_table(store, directory, table, columns, stop, &mut report).await?;
            manifest.tables.push(written);
        }
    }
    manifest.complete = true;
    manifest.save(directory)?;
    Ok(manifest)
}

async fn write_table(
    store: &dyn Store,
    directory: &Path,
    table: ArchivedTable,
    columns: Vec<String>,
    stop: &CancellationToken,
    report: &mut impl FnMut(Progress),
) -> Result<TableManifest> {
    let about = store.about_rows(table).await?;
    let mut written = TableManifest { table, columns, rows: 0, files: Vec::new() };
    let mut file: Option<RowWriter> = None;
    let mut after: Option<String> = None;
    loop {
        if stop.is_cancelled() {
            return Err(ArchiveError::Stopped);
        }
        let began = Instant::now();
        let (columns, from) = (&written.columns, after.as_deref());
        let page =
            patiently(async || store.archive_page(table, columns, from, PAGE_ROWS).await).await?;
        let took = began.elapsed();
        let Some(last) = page.last() else { break };
        after = Some(last[0].text().map(str::to_owned).ok_or_else(|| no_text_key(table))?);
        let writer = match &mut file {
            Some(writer) => writer,
            none => none
                .insert(RowWriter::create(directory, file_name(table, written.files.len() + 1))?),
        };
        for row in &page {
            writer.push(row)?;
        }
        written.rows += page.len() as u64;
        if writer.rows >= FILE_ROWS
            && let Some(full) = file.take()
        {
            written.files.push(full.finish()?);
        }
        report(Progress { table, rows: written.rows, of: about.max(written.rows) });
        // As long as the read took: at most half of one connection's share of the server.
        tokio::time::sleep(took.min(LONGEST_PAUSE)).await;
    }
    if let Some(rest) = file {
        written.files.push(rest.finish()?);
    }
    Ok(written)
}

fn no_text_key(table: ArchivedTable) -> ArchiveError {
    ArchiveError::Refused(format!("table {} has a row whose id is not a text", table.as_str()))
}
