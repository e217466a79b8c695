//! Videos whose files have the same content.

use async_trait::async_trait;
use reelshift_store::Result;
use reelshift_store::duplicates::{Duplicate, DuplicateVideo, Duplicates, FIRST_VIDEOS};
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::error::Outcome;
use crate::videos::id_array;

#[async_trait]
impl Duplicates for SqliteStore {
    async fn duplicates(&self, after: Option<&str>, limit: u32) -> Result<Vec<Duplicate>> {
        self.named(duplicates(self, after, limit).await)
    }
}

async fn duplicates(
    store: &SqliteStore,
    after: Option<&str>,
    limit: u32,
) -> Outcome<Vec<Duplicate>> {
    let mut reader = store.readers.acquire().await?;
    let rows: Vec<(String, i64, i64, Option<i64>)> = sqlx::query_as(
        "SELECT CAST(file_hash AS TEXT), COUNT(*), COUNT(DISTINCT CAST(file_path AS BLOB)),
                CAST(MAX(file_size) AS INTEGER)
         FROM videos WHERE file_hash > ?
         GROUP BY file_hash HAVING COUNT(*) > 1 ORDER BY file_hash LIMIT ?",
    )
    .bind(after.unwrap_or_default())
    .bind(limit)
    .fetch_all(&mut *reader)
    .await?;
    let duplicate = |(hash, videos, files, size)| Duplicate::new(hash, videos, files, size);
    let mut found: Vec<Duplicate> = rows.into_iter().map(duplicate).collect();
    name_first(&mut reader, &mut found).await?;
    Ok(found)
}

async fn name_first(reader: &mut SqliteConnection, found: &mut [Duplicate]) -> Outcome<()> {
    let hashes: Vec<String> = found.iter().map(|duplicate| duplicate.sha256.clone()).collect();
    let rows: Vec<(String, String, Option<String>)> = sqlx::query_as(
        "SELECT file_hash, id, file_path FROM (
             SELECT CAST(v.file_hash AS TEXT) AS file_hash, CAST(v.id AS TEXT) AS id,
                    CAST(v.file_path AS TEXT) AS file_path,
                    ROW_NUMBER() OVER (PARTITION BY v.file_hash ORDER BY v.id) AS place
             FROM videos v WHERE v.file_hash IN (SELECT value FROM json_each(?)))
         WHERE place <= ? ORDER BY file_hash, id",
    )
    .bind(id_array(&hashes))
    .bind(FIRST_VIDEOS)
    .fetch_all(reader)
    .await?;
    for (hash, id, file_path) in rows {
        if let Some(duplicate) = found.iter_mut().find(|duplicate| duplicate.sha256 == hash) {
            duplicate.first.push(DuplicateVideo { id, file_path });
        }
    }
    Ok(())
}
