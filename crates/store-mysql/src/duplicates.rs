//! Videos whose files have the same content.

use async_trait::async_trait;
use reelshift_store::Result;
use reelshift_store::duplicates::{
    Counted, Duplicate, DuplicateVideo, Duplicates, FIRST_VIDEOS, ODD_PATH,
};
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
    let mut query = QueryBuilder::<MySql>::new(format!(
        "SELECT file_hash, COUNT(*) AS videos, COUNT(DISTINCT CAST(file_path AS BINARY)) AS paths, \
           CAST(MIN(file_size) AS SIGNED) AS least, CAST(MAX(file_size) AS SIGNED) AS most, \
           COUNT(file_size) AS sized, COUNT(CASE WHEN {ODD_PATH} THEN 1 END) AS odd \
         FROM videos WHERE file_hash > "
    ));
    query.push_bind(after.unwrap_or_default().to_owned());
    query.push(" GROUP BY file_hash HAVING COUNT(*) > 1 ORDER BY file_hash LIMIT ");
    query.push_bind(limit);
    let mut found = Vec::new();
    for row in query.build().fetch_all(&store.pool).await? {
        let mut duplicate = Duplicate::from(Counted {
            sha256: row.try_get("file_hash")?,
            videos: row.try_get("videos")?,
            paths: row.try_get("paths")?,
            sizes: (row.try_get("least")?, row.try_get("most")?),
            sized: row.try_get("sized")?,
        });
        if row.try_get::<i64, _>("odd")? > 0 {
            count_files(store, &mut duplicate).await?;
        }
        found.push(duplicate);
    }
    for page in found.chunks_mut(id_list::MAX_LISTED_VALUES) {
        name_first(store, page).await?;
    }
    Ok(found)
}

async fn count_files(store: &MySqlStore, duplicate: &mut Duplicate) -> error::Result<()> {
    let paths: Vec<String> = sqlx::query_scalar(
        "SELECT file_path FROM videos WHERE file_hash = ? AND file_path IS NOT NULL",
    )
    .bind(&duplicate.sha256)
    .fetch_all(&store.pool)
    .await?;
    duplicate.count_files(paths.iter().map(String::as_str));
    Ok(())
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
