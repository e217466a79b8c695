//! Bringing an archive back: table after table, a small transaction a chunk. Doing it
//! again changes nothing more, so an interrupted restore is simply run again.

use std::cell::RefCell;

use futures::future::try_join_all;
use reelshift_store::archive::{
    ArchivedTable, Column, MAX_LINKS, PageLimit, Restored, Row, position, video_columns,
};
use reelshift_store::{Store, StoreError};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::error::{ArchiveError, Result};
use crate::file::RowReader;
use crate::manifest::{Archive, TableManifest};
use crate::pace::{Chunks, Pace};
use crate::retry::retry;
use crate::{PAGE_BYTES, Progress, platform};

/// Rows that are read from a file at once: several chunks.
const PAGE_ROWS: u32 = 10_000;

/// What came of restoring one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreReport {
    pub table: ArchivedTable,
    pub archived: u64,
    #[serde(flatten)]
    pub restored: Restored,
}

/// An archive that fits the database.
#[derive(Debug)]
pub struct Checked<'a> {
    archive: &'a Archive,
    /// Of each table, the database's columns in the archive's order.
    columns: Vec<Vec<Column>>,
    /// Bytes of a page, so that a statement can carry it.
    page_bytes: u64,
}

impl<'a> Checked<'a> {
    /// Checks that every archived column is there to be written, that the server takes the
    /// largest row, and, unless `any_platform`, that the archive is of this platform, before
    /// anything is written.
    ///
    /// # Errors
    /// `Refused` when the database is of another kind or platform, or lacks a table or a
    /// column, or the server refuses statements of the size of a row.
    pub async fn new(store: &dyn Store, archive: &'a Archive, any_platform: bool) -> Result<Self> {
        let (was, is) = (&archive.manifest.server, store.server().await?);
        if archive.manifest.system.is_embedded() != store.address().system.is_embedded() {
            return Err(ArchiveError::Refused(format!(
                "the archive is of {was} and cannot be restored to {is}: their values differ in kind"
            )));
        }
        let largest = store.largest_row().await?;
        let mut columns = Vec::new();
        for table in &archive.manifest.tables {
            columns.push(columns_of(store, table).await?);
            if let Some(largest) = largest.filter(|largest| *largest < table.largest_row) {
                return Err(ArchiveError::Refused(format!(
                    "the archive holds a row of {} of {} bytes, and the server takes statements of {largest}: set \
                     its max_allowed_packet to {} or more, then restore again",
                    table.table.into_str(),
                    table.largest_row,
                    (table.largest_row * 5 / 4).next_multiple_of(1024 * 1024),
                )));
            }
        }
        if !any_platform {
            let videos = store.archived_columns(ArchivedTable::Videos).await?.unwrap_or_default();
            platform::check(store, archive, &videos).await?;
        }
        let page_bytes = largest.map_or(PAGE_BYTES, |largest| largest.min(PAGE_BYTES));
        Ok(Self { archive, columns, page_bytes })
    }
}

/// The database's columns of an archived table.
async fn columns_of(store: &dyn Store, archived: &TableManifest) -> Result<Vec<Column>> {
    let name = archived.table.into_str();
    let now = store.archived_columns(archived.table).await?.ok_or_else(|| {
        ArchiveError::Refused(format!(
            "there is no table {name} to restore to: run `reelshift apply expand`"
        ))
    })?;
    let find = |was: &Column| {
        let found = now.iter().find(|column| column.name == was.name).cloned();
        found.ok_or_else(|| {
            ArchiveError::Refused(format!(
                "the archive holds a column {name}.{} of type {}, which the database does not have: add it, then \
                 restore again",
                was.name, was.declared
            ))
        })
    };
    let columns = archived.columns.iter().map(find).collect::<Result<Vec<_>>>()?;
    if archived.table == ArchivedTable::Videos && video_columns(&columns).as_ref() != Some(&columns)
    {
        return Err(ArchiveError::Refused(
            "the archive was written by a version of reelshift with other columns of videos: use that \
             version"
                .to_owned(),
        ));
    }
    Ok(columns)
}

/// Restores every table, as fast as `pace` allows, with up to `writers` chunks at once.
///
/// # Errors
/// `Damaged` when a file changed since it was checked, `Store`, or `Stopped`.
pub async fn restore(
    store: &dyn Store,
    archive: &Checked<'_>,
    pace: Pace,
    writers: usize,
    stop: &CancellationToken,
    mut report: impl FnMut(Progress),
) -> Result<Vec<RestoreReport>> {
    let mut writers = Chunks::of_each(&pace, store.chunk_limits(), writers.max(1));
    let mut reports = Vec::new();
    let mut tables: Vec<_> = archive.archive.manifest.tables.iter().zip(&archive.columns).collect();
    let order = store.restore_order();
    tables.sort_by_key(|(archived, _)| order.iter().position(|table| *table == archived.table));
    for (archived, columns) in tables {
        let (table, of) = (archived.table, archived.rows);
        let (mut rows, mut restored) = (0, Restored::default());
        each_page(archive, archived, PAGE_ROWS, stop, async |page| {
            let part = page.len().div_ceil(writers.len());
            let committed = RefCell::new(|count: usize, chunk: Restored| {
                rows += count as u64;
                restored += chunk;
                report(Progress { table, rows, of });
            });
            let parts = writers.iter_mut().zip(page.chunks(part)).map(|(chunks, rows)| {
                let committed = |count, chunk| committed.borrow_mut()(count, chunk);
                write(store, (table, columns), chunks, rows, stop, committed)
            });
            try_join_all(parts).await.map(drop)
        })
        .await?;
        reports.push(RestoreReport { table, archived: of, restored });
        if table == ArchivedTable::Errors {
            link(store, archive, archived, stop).await?;
        }
    }
    Ok(reports)
}

/// Writes `rows` in chunks, one after another, and tells `committed` of each.
async fn write(
    store: &dyn Store,
    (table, columns): (ArchivedTable, &[Column]),
    chunks: &mut Chunks,
    mut rows: &[Row],
    stop: &CancellationToken,
    committed: impl Fn(usize, Restored),
) -> Result<()> {
    while !rows.is_empty() {
        let count = chunks.next(stop).await?.min(rows.len());
        match store.restore_rows(table, columns, &rows[..count]).await {
            Ok(chunk) => {
                chunks.committed(count, chunk.held);
                committed(count, chunk.rows);
                rows = &rows[count..];
            }
            Err(error @ (StoreError::RowRefused { .. } | StoreError::Permanent { .. })) => {
                return Err(ArchiveError::Value { table, error });
            }
            Err(error) => chunks.failed(error).await?,
        }
    }
    Ok(())
}

/// The attempts before each error, once all rows are there: a parent's id need not be the
/// lower one.
async fn link(
    store: &dyn Store,
    archive: &Checked<'_>,
    table: &TableManifest,
    stop: &CancellationToken,
) -> Result<()> {
    let Some(parent) = position(&table.columns, "parent_error_id") else { return Ok(()) };
    let rows = u32::try_from(MAX_LINKS).unwrap_or(u32::MAX);
    each_page(archive, table, rows, stop, async |page| {
        let linked = |row: &Row| Some((row[0].text()?.to_owned(), row[parent].text()?.to_owned()));
        let links: Vec<_> = page.iter().filter_map(linked).collect();
        if links.is_empty() {
            return Ok(());
        }
        retry(async || store.link_errors(&links).await).await
    })
    .await
}

async fn each_page(
    archive: &Checked<'_>,
    table: &TableManifest,
    rows: u32,
    stop: &CancellationToken,
    mut handle: impl AsyncFnMut(&[Row]) -> Result<()>,
) -> Result<()> {
    let limit = PageLimit { rows, bytes: archive.page_bytes };
    for file in &table.files {
        let mut reader = RowReader::open(&archive.archive.directory, file, table.columns.len())?;
        loop {
            if stop.is_cancelled() {
                return Err(ArchiveError::Stopped);
            }
            let page = reader.page(limit)?;
            if page.is_empty() {
                break;
            }
            handle(&page).await?;
        }
    }
    Ok(())
}
