//! Bringing an archive back: table after table, a small transaction a page. Doing it
//! again changes nothing more, so an interrupted restore is simply run again.

use std::time::Duration;

use reelshift_store::archive::{ArchivedTable, Restored, Row};
use reelshift_store::{Store, StoreError};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::Progress;
use crate::error::{ArchiveError, Result};
use crate::file::RowReader;
use crate::manifest::{Archive, TableManifest};

/// Rows of a page: their locks are held for some milliseconds.
const PAGE_ROWS: usize = 100;

/// How often a page is tried while the database says that it may succeed later.
const TRIES: u32 = 120;

/// Between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

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
pub struct Checked<'a>(&'a Archive);

impl<'a> Checked<'a> {
    /// Checks that every archived column is there to be written, before anything is.
    ///
    /// # Errors
    /// `Refused` when the database is of another kind, or lacks a table or a column.
    pub async fn new(store: &dyn Store, archive: &'a Archive) -> Result<Self> {
        let (was, is) = (&archive.manifest.server, store.server().await?);
        let embedded = |server: &str| server.starts_with("SQLite");
        if embedded(was) != embedded(&is) {
            return Err(ArchiveError::Refused(format!(
                "the archive is of {was} and cannot be restored to {is}: their values differ in kind"
            )));
        }
        for TableManifest { table, columns, .. } in &archive.manifest.tables {
            let name = table.as_str();
            let now = store.archived_columns(*table).await?.ok_or_else(|| {
                ArchiveError::Refused(format!(
                    "there is no table {name} to restore to: run `reelshift apply expand`"
                ))
            })?;
            if let Some(gone) = columns.iter().find(|column| !now.contains(column)) {
                return Err(ArchiveError::Refused(format!(
                    "the archive holds a column {name}.{gone}, which the database does not have: add it, then \
                     restore again"
                )));
            }
            if *table == ArchivedTable::Videos && *columns != now {
                return Err(ArchiveError::Refused(
                    "the archive was written by a version of reelshift with other columns of videos: use that \
                     version"
                        .to_owned(),
                ));
            }
        }
        Ok(Self(archive))
    }
}

/// Restores every table.
///
/// # Errors
/// `Damaged` when a file changed since it was checked, `Store`, or `Stopped`.
pub async fn restore(
    store: &dyn Store,
    archive: &Checked<'_>,
    stop: &CancellationToken,
    mut report: impl FnMut(Progress),
) -> Result<Vec<RestoreReport>> {
    let mut reports = Vec::new();
    for table in &archive.0.manifest.tables {
        let mut restored = Restored::default();
        let mut rows = 0;
        each_page(archive, table, stop, async |page| {
            restored +=
                patiently(async || store.restore_rows(table.table, &table.columns, page).await)
                    .await?;
            rows += page.len() as u64;
            report(Progress { table: table.table, rows, of: table.rows });
            Ok(())
        })
        .await?;
        reports.push(RestoreReport { table: table.table, archived: table.rows, restored });
        if table.table == ArchivedTable::Errors {
            link(store, archive, table, stop).await?;
        }
    }
    Ok(reports)
}

/// The attempts before each error, once all rows are there: a parent's id need not be the
/// lower one.
async fn link(
    store: &dyn Store,
    archive: &Checked<'_>,
    table: &TableManifest,
    stop: &CancellationToken,
) -> Result<()> {
    let Some(parent) = table.columns.iter().position(|column| column == "parent_error_id") else {
        return Ok(());
    };
    each_page(archive, table, stop, async |page| {
        let linked = |row: &Row| Some((row[0].text()?.to_owned(), row[parent].text()?.to_owned()));
        let links: Vec<_> = page.iter().filter_map(linked).collect();
        if links.is_empty() {
            return Ok(());
        }
        patiently(async || store.link_errors(&links).await).await
    })
    .await
}

async fn each_page(
    archive: &Checked<'_>,
    table: &TableManifest,
    stop: &CancellationToken,
    mut handle: impl AsyncFnMut(&[Row]) -> Result<()>,
) -> Result<()> {
    for file in &table.files {
        let mut reader =
            RowReader::open(&archive.0.directory.join(&file.name), table.columns.len())?;
        loop {
            if stop.is_cancelled() {
                return Err(ArchiveError::Stopped);
            }
            let page = reader.page(PAGE_ROWS)?;
            if page.is_empty() {
                break;
            }
            handle(&page).await?;
        }
    }
    Ok(())
}

/// The same call again while the database says that it may succeed later.
pub(crate) async fn patiently<T>(
    mut call: impl AsyncFnMut() -> Result<T, StoreError>,
) -> Result<T> {
    let mut tries = 1;
    loop {
        match call().await {
            Err(error) if error.is_transient() && tries < TRIES => {
                tracing::debug!(%error, tries, "trying again");
                tokio::time::sleep(RETRY_PAUSE).await;
                tries += 1;
            }
            other => return Ok(other?),
        }
    }
}
