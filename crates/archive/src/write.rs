//! Writing an archive: pages in key order, each a short read, with a pause after it.

use std::path::Path;
use std::time::{Duration, Instant};

use reelshift_store::Store;
use reelshift_store::archive::{ArchivedTable, Column, PageLimit, size};
use reelshift_store::rollback::OpenRollback;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::directory::Directory;
use crate::error::{ArchiveError, Result};
use crate::file::RowWriter;
use crate::manifest::{self, Manifest, TableManifest, file_name};
use crate::platform::Platform;
use crate::retry::retry;
use crate::{FILE_ROWS, PAGE_BYTES, Progress};

/// Rows of a page at most: some milliseconds of reading.
const MAX_PAGE_ROWS: u32 = 500;

/// The longest pause after a page.
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// What a directory is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prepared {
    /// An archive can be written into it.
    Empty,
    /// It holds the unfinished or finished archive of this rollback.
    Ours { complete: bool },
}

/// Makes the directory at `path` if it is not there, for its owner alone, and sees what is in
/// it. `open` is the rollback that has begun, if any.
///
/// # Errors
/// `Refused` when it holds anything but this rollback's archive, or others can change it.
pub fn prepare(path: &Path, open: Option<Uuid>) -> Result<(Directory, Prepared)> {
    let directory = Directory::open_or_create(path)?;
    let manifest = Manifest::find(&directory)?;
    if let Some(manifest) = manifest.as_ref().filter(|manifest| Some(manifest.id) != open) {
        return Err(ArchiveError::Refused(format!(
            "{} holds an archive of {}, which is not overwritten: name an empty directory",
            directory.shown(),
            manifest.created_at.format("%Y-%m-%d %H:%M:%S UTC")
        )));
    }
    manifest::check_names(&directory, manifest.is_some())?;
    let prepared =
        manifest.map_or(Prepared::Empty, |manifest| Prepared::Ours { complete: manifest.complete });
    Ok((directory, prepared))
}

/// Writes the archive of `rollback` into `directory`, in place of an earlier attempt at
/// it. Pages are of different moments: what others write into the new columns behind the
/// position is not in it.
///
/// # Errors
/// `Io`, `Store`, or `Stopped` when `stop` was asked for; the archive is then incomplete.
pub async fn write(
    store: &dyn Store,
    directory: &Directory,
    rollback: &OpenRollback,
    stop: &CancellationToken,
    mut report: impl FnMut(Progress),
) -> Result<Manifest> {
    let server = (store.address().system, store.server().await?);
    let platform = Platform::of(store).await?;
    let mut manifest = Manifest::new(rollback.id, server, platform, rollback.started_at);
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
    directory: &Directory,
    table: ArchivedTable,
    columns: Vec<Column>,
    stop: &CancellationToken,
    report: &mut impl FnMut(Progress),
) -> Result<TableManifest> {
    let about = store.about_rows(table).await?;
    let mut written = TableManifest { table, columns, rows: 0, largest_row: 0, files: Vec::new() };
    let mut file: Option<RowWriter> = None;
    let mut after: Option<String> = None;
    let mut limit = PageLimit { rows: MAX_PAGE_ROWS, bytes: PAGE_BYTES };
    loop {
        if stop.is_cancelled() {
            return Err(ArchiveError::Stopped);
        }
        let began = Instant::now();
        let (columns, from) = (&written.columns, after.as_deref());
        let page = retry(async || store.archive_page(table, columns, from, limit).await).await?;
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
            written.largest_row = written.largest_row.max(size(row));
        }
        written.rows += page.len() as u64;
        if writer.rows >= FILE_ROWS
            && let Some(full) = file.take()
        {
            written.files.push(full.finish()?);
        }
        report(Progress { table, rows: written.rows, of: about.max(written.rows) });
        limit.rows = next_rows(limit.rows, page.len());
        // As long as the read took: at most half of one connection's share of the server.
        tokio::time::sleep(took.min(MAX_PAUSE)).await;
    }
    if let Some(rest) = file {
        written.files.push(rest.finish()?);
    }
    Ok(written)
}

/// Rows to ask for after a page of `got`. Where bytes ended it, the server has sent in vain
/// what was beyond them.
fn next_rows(asked: u32, got: usize) -> u32 {
    let got = u32::try_from(got).unwrap_or(asked);
    let next = if got < asked { got } else { asked.saturating_mul(2) };
    next.clamp(1, MAX_PAGE_ROWS)
}

fn no_text_key(table: ArchivedTable) -> ArchiveError {
    ArchiveError::Refused(format!("table {} has a row whose id is not a text", table.into_str()))
}
