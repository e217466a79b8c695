//! Whose archive it is, so that the rows of one platform do not end in another's tables.
//!
//! A platform is known by reelshift's own tables in its database: by when they were made.
//! That goes along when the database is moved or copied with them, and ends with
//! `rollback --purge`. After a purge the same place and the same videos have to do.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use reelshift_store::archive::{ArchivedTable, Column, PageLimit, Row};
use reelshift_store::{Store, StoreError};
use serde::{Deserialize, Serialize};

use crate::error::{ArchiveError, Result};
use crate::file::RowReader;
use crate::manifest::Archive;

/// Archived videos that are looked for in the database, from the beginning of every file.
const SAMPLE: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// When reelshift's own tables were made, by the database's clock.
    pub since: DateTime<Utc>,
    /// The database and its server, for people.
    pub place: String,
}

impl Platform {
    pub(crate) async fn of(store: &dyn Store) -> Result<Self> {
        let journal = store.journal().await?;
        let first = journal.iter().min_by_key(|entry| entry.number).ok_or_else(|| {
            StoreError::Refused(
                "reelshift's own tables are not there: run `reelshift apply expand`".to_owned(),
            )
        })?;
        let address = store.address();
        let place = match address.server {
            Some((host, port)) => format!("{} on {host}:{port}", address.namespace),
            // A file, by whatever path it was named; or a database behind a socket.
            None => std::fs::canonicalize(&address.namespace)
                .map_or(address.namespace, |path| path.display().to_string()),
        };
        Ok(Self { since: first.started_at, place })
    }
}

/// Refuses an archive of another platform.
pub(crate) async fn check(store: &dyn Store, archive: &Archive, videos: &[Column]) -> Result<()> {
    let (was, is) = (&archive.manifest.platform, Platform::of(store).await?);
    let same = was.since == is.since
        || (was.place == is.place && shares_videos(store, archive, videos).await?);
    if same {
        return Ok(());
    }
    let time = |time: &DateTime<Utc>| time.format("%Y-%m-%d %H:%M:%S UTC").to_string();
    Err(ArchiveError::Refused(format!(
        "the archive is of another platform: {}, under reelshift since {}; this one is {}, under reelshift \
         since {}. Restore it there; only if this is the same platform after all, add --other-platform",
        was.place,
        time(&was.since),
        is.place,
        time(&is.since),
    )))
}

/// Whether most of the archived videos whose ids are here are the same videos.
async fn shares_videos(store: &dyn Store, archive: &Archive, videos: &[Column]) -> Result<bool> {
    let sample = sample(archive)?;
    if sample.is_empty() {
        return Ok(true);
    }
    let ids: Vec<String> =
        sample.iter().filter_map(|row| row[0].text().map(str::to_owned)).collect();
    let here = store.archived_videos(videos, &ids).await?;
    let here: HashMap<_, _> = here.iter().map(|row| (&row[0], row)).collect();
    let found: Vec<_> = sample.iter().filter_map(|was| Some((was, here.get(&was[0])?))).collect();
    // By file name or path: either may have been changed since.
    let same = found.iter().filter(|(was, is)| was[1] == is[1] || was[2] == is[2]).count();
    Ok(same > 0 && same * 2 >= found.len())
}

fn sample(archive: &Archive) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let tables = &archive.manifest.tables;
    let Some(videos) = tables.iter().find(|table| table.table == ArchivedTable::Videos) else {
        return Ok(rows);
    };
    let each = SAMPLE.div_ceil(videos.files.len().max(1));
    let limit = PageLimit { rows: u32::try_from(each).unwrap_or(1), bytes: crate::PAGE_BYTES };
    for listed in videos.files.iter().take(SAMPLE) {
        let mut reader = RowReader::open(&archive.directory, listed, videos.columns.len())?;
        rows.extend(reader.page(limit)?);
    }
    Ok(rows)
}
