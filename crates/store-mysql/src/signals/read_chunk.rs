//! Videos, read as a chunk of a backfill reads them, for a forecast.

use reelshift_store::signals::ReadChunk;
use sqlx::{MySql, QueryBuilder, Row as _};

use crate::connection::MySqlStore;
use crate::error;

/// Only what is there before the first phase is read.
pub(super) async fn read(
    store: &MySqlStore,
    after: Option<&str>,
    rows: u32,
) -> error::Result<Option<ReadChunk>> {
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT MAX(w.id) AS upto, CAST(COUNT(*) AS UNSIGNED) AS videos, MAX(w.bytes) AS bytes \
         FROM (SELECT v.id, LENGTH(CONCAT_WS('', v.filename, v.file_path, v.file_size, \
                 v.processing_status, v.ground_truth_generated, v.created_at)) AS bytes \
               FROM videos v FORCE INDEX (PRIMARY)",
    );
    if let Some(after) = after {
        query.push(" WHERE v.id > ").push_bind(after);
    }
    query.push(" ORDER BY v.id LIMIT ").push_bind(rows).push(") w");
    let row = query.build().fetch_one(&store.pool).await?;
    let rows = u32::try_from(row.try_get::<u64, _>("videos")?).unwrap_or(u32::MAX);
    let upto: Option<String> = row.try_get("upto")?;
    Ok(upto.map(|upto| ReadChunk { upto, rows }))
}
