//! Videos whose files have the same content.

use async_trait::async_trait;
use reelshift_store::Result;
use reelshift_store::duplicates::{
    Counted, Duplicate, DuplicateVideo, Duplicates, FIRST_VIDEOS, ODD_PATH,
};
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};

use crate::id_list::id_array;
use crate::{SqliteStore, error, row};

#[async_trait]
impl Duplicates for SqliteStore {
    async fn duplicates(&self, after: Option<&str>, limit: u32) -> Result<Vec<Duplicate>> {
        self.short(duplicates(self, after, limit)).await
    }
}

/// Hash, videos, paths, smallest and largest size, sizes, paths that may be odd.
type Group = (String, i64, i64, Option<i64>, Option<i64>, i64, i64);

async fn duplicates(
    store: &SqliteStore,
    after: Option<&str>,
    limit: u32,
) -> error::Result<Vec<Duplicate>> {
    let mut reader = store.readers.acquire().await?;
    let rows: Vec<Group> = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT CAST(file_hash AS TEXT), COUNT(*), COUNT(DISTINCT CAST(file_path AS BLOB)),
                CAST(MIN(file_size) AS INTEGER), CAST(MAX(file_size) AS INTEGER),
                COUNT(file_size), COUNT(CASE WHEN {ODD_PATH} THEN 1 END)
             FROM videos WHERE file_hash > ?
             GROUP BY file_hash HAVING COUNT(*) > 1 ORDER BY file_hash LIMIT ?"
    )))
    .bind(after.unwrap_or_default())
    .bind(limit)
    .fetch_all(&mut *reader)
    .await?;
    let mut found = Vec::new();
    for (sha256, videos, paths, least, most, sized, odd) in rows {
        let sizes = (least, most);
        let mut duplicate = Duplicate::from(Counted { sha256, videos, paths, sizes, sized });
        if odd > 0 {
            count_files(&mut reader, &mut duplicate).await?;
        }
        found.push(duplicate);
    }
    name_first(&mut reader, &mut found).await?;
    Ok(found)
}

async fn count_files(
    reader: &mut SqliteConnection,
    duplicate: &mut Duplicate,
) -> error::Result<()> {
    let rows =
        sqlx::query("SELECT file_path FROM videos WHERE file_hash = ? AND file_path IS NOT NULL")
            .bind(&duplicate.sha256)
            .fetch_all(reader)
            .await?;
    let paths: Vec<_> =
        rows.iter().map(|row| row::platform_text(row, "file_path")).collect::<Result<_, _>>()?;
    duplicate.count_files(paths.iter().flatten().map(String::as_str));
    Ok(())
}

async fn name_first(reader: &mut SqliteConnection, found: &mut [Duplicate]) -> error::Result<()> {
    let hashes: Vec<String> = found.iter().map(|duplicate| duplicate.sha256.clone()).collect();
    let rows = sqlx::query(
        "SELECT file_hash, id, file_path FROM (
             SELECT CAST(v.file_hash AS TEXT) AS file_hash, CAST(v.id AS TEXT) AS id,
                    v.file_path AS file_path,
                    ROW_NUMBER() OVER (PARTITION BY v.file_hash ORDER BY v.id) AS place
             FROM videos v WHERE v.file_hash IN (SELECT value FROM json_each(?)))
         WHERE place <= ? ORDER BY file_hash, id",
    )
    .bind(id_array(&hashes))
    .bind(FIRST_VIDEOS)
    .fetch_all(reader)
    .await?;
    for row in &rows {
        let (hash, id): (String, String) = (row.try_get("file_hash")?, row.try_get("id")?);
        let file_path = row::platform_text(row, "file_path")?;
        if let Some(duplicate) = found.iter_mut().find(|duplicate| duplicate.sha256 == hash) {
            duplicate.first.push(DuplicateVideo { id, file_path });
        }
    }
    Ok(())
}
