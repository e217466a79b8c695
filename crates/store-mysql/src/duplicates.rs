//! Videos whose files have the same content.

use async_trait::async_trait;
use reelshift_store::Result;
use reelshift_store::duplicates::{Duplicate, DuplicateVideo, Duplicates, FIRST_VIDEOS};
use sqlx::{MySql, QueryBuilder, Row as _};

use crate::connection::MySqlStore;
use crate::deadline::{WHOLE_TABLE, within};
use crate::{error, id_list};

#[async_trait]
impl Duplicates for MySqlStore {
    async fn duplicates(&self, after: Option<&str>, limit: u32) -> Result<Vec<Duplicate>> {
        within(WHOLE_TABLE, duplicates(self, after, limit)).await
    }
}

/// Paths are compared byte by byte: the column's collation may ignore case.
async fn duplicates(
    store: &MySqlStore,
    after: Option<&str>,
    limit: u32,
) -> error::Result<Vec<Duplicate>> {
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT file_hash, COUNT(*) AS videos, COUNT(DISTINCT CAST(file_path AS BINARY)) AS files, \
           CAST(MAX(file_size) AS SIGNED) AS file_size FROM videos WHERE file_hash > ",
    );
    query.push_bind(after.unwrap_or_default().to_owned());
    query.push(" GROUP BY file_hash HAVING COUNT(*) > 1 ORDER BY file_hash LIMIT ");
    query.push_bind(limit);
    let mut found = Vec::new();
    for row in query.build().fetch_all(&store.pool).await? {
        let (hash, size) = (row.try_get("file_hash")?, row.try_get("file_size")?);
        found.push(Duplicate::new(hash, row.try_get("videos")?, row.try_get("files")?, size));
    }
    for page in found.chunks_mut(id_list::MOST) {
        name_first(store, page).await?;
    }
    Ok(found)
}

async fn name_first(store: &MySqlStore, page: &mut [Duplicate]) -> error::Result<()> {
    let hashes: Vec<String> = page.iter().map(|duplicate| duplicate.sha256.clone()).collect();
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT file_hash, id, file_path FROM (SELECT v.file_hash, v.id, v.file_path, \
           ROW_NUMBER() OVER (PARTITION BY v.file_hash ORDER BY v.id) AS place \
           FROM videos v WHERE v.file_hash IN ",
    );
    id_list::push(&mut query, &hashes);
    query.push(") w WHERE place <= ").push_bind(FIRST_VIDEOS).push(" ORDER BY file_hash, id");
    for row in query.build().fetch_all(&store.pool).await? {
        let hash: String = row.try_get("file_hash")?;
        if let Some(duplicate) = page.iter_mut().find(|duplicate| duplicate.sha256 == hash) {
            let (id, file_path) = (row.try_get("id")?, row.try_get("file_path")?);
            duplicate.first.push(DuplicateVideo { id, file_path });
        }
    }
    Ok(())
}
