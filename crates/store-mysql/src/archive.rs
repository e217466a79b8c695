//! Reading out what the new columns and tables hold; [`restore`] writes it back.

mod column;
mod restore;
mod update;

use async_trait::async_trait;
use futures::TryStreamExt;
use reelshift_store::Result;
use reelshift_store::archive::{
    Archive, ArchivedTable, Column, PageLimit, RestoredChunk, Row, VIDEO_TRUTH, size, video_columns,
};
use sqlx::{MySql, QueryBuilder, Row as _};

use self::column::Reader;
use crate::connection::MySqlStore;
use crate::error::{self, Error};
use crate::id_list;

/// What a statement has beside the values of its rows, at most.
const STATEMENT_OVERHEAD: u64 = 4 * 1024;

#[async_trait]
impl Archive for MySqlStore {
    async fn archived_columns(&self, table: ArchivedTable) -> Result<Option<Vec<Column>>> {
        Ok(archived_columns(self, table).await?)
    }

    async fn about_rows(&self, table: ArchivedTable) -> Result<u64> {
        let rows: Option<i64> = sqlx::query_scalar(
            "SELECT CAST(TABLE_ROWS AS SIGNED) FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?",
        )
        .bind(table.into_str())
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::from)?
        .flatten();
        Ok(rows.and_then(|rows| u64::try_from(rows).ok()).unwrap_or(0))
    }

    async fn archive_page(
        &self,
        table: ArchivedTable,
        columns: &[Column],
        after: Option<&str>,
        limit: PageLimit,
    ) -> Result<Vec<Row>> {
        Ok(archive_page(self, table, columns, after, limit).await?)
    }

    async fn archived_videos(&self, columns: &[Column], ids: &[String]) -> Result<Vec<Row>> {
        Ok(archived_videos(self, columns, ids).await?)
    }

    async fn largest_row(&self) -> Result<Option<u64>> {
        Ok(Some(largest_row(self).await?))
    }

    /// Status rows before their videos. The columns of a restored video tell the bridge that the
    /// status row exists, and the bridge updates that row. If the row did not exist yet, InnoDB
    /// would lock a gap that other transactions insert into.
    fn restore_order(&self) -> [ArchivedTable; 4] {
        use ArchivedTable::{Errors, Notifications, Statuses, Videos};
        [Statuses, Videos, Notifications, Errors]
    }

    async fn restore_rows(
        &self,
        table: ArchivedTable,
        columns: &[Column],
        rows: &[Row],
    ) -> Result<RestoredChunk> {
        Ok(restore::rows(self, table, columns, rows).await?)
    }

    async fn link_errors(&self, links: &[(String, String)]) -> Result<()> {
        Ok(restore::link_errors(self, links).await?)
    }
}

async fn archived_columns(
    store: &MySqlStore,
    table: ArchivedTable,
) -> error::Result<Option<Vec<Column>>> {
    // Generated columns of the application's are derived anew.
    let rows = sqlx::query(
        "SELECT CAST(COLUMN_NAME AS CHAR) AS name, CAST(CONCAT(COLUMN_TYPE, \
           COALESCE(CONCAT(' CHARACTER SET ', CHARACTER_SET_NAME, ' COLLATE ', COLLATION_NAME), '')) AS CHAR) \
           AS declared \
         FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? \
         AND COALESCE(GENERATION_EXPRESSION, '') = '' \
         ORDER BY COLUMN_NAME <> 'id', ORDINAL_POSITION",
    )
    .bind(table.into_str())
    .fetch_all(&store.pool)
    .await?;
    let mut columns = rows
        .iter()
        .map(|row| Ok(Column { name: row.try_get("name")?, declared: row.try_get("declared")? }))
        .collect::<error::Result<Vec<_>>>()?;
    if table == ArchivedTable::Videos {
        return Ok(video_columns(&columns));
    }
    if table == ArchivedTable::Statuses && !columns.is_empty() {
        columns.push(Column { name: VIDEO_TRUTH.to_owned(), declared: "text".to_owned() });
    }
    Ok((!columns.is_empty()).then_some(columns))
}

async fn largest_row(store: &MySqlStore) -> error::Result<u64> {
    let packet: u64 = sqlx::query_scalar("SELECT CAST(@@SESSION.max_allowed_packet AS UNSIGNED)")
        .fetch_one(&store.pool)
        .await?;
    Ok(packet.saturating_sub(STATEMENT_OVERHEAD))
}

async fn archive_page(
    store: &MySqlStore,
    table: ArchivedTable,
    columns: &[Column],
    after: Option<&str>,
    limit: PageLimit,
) -> error::Result<Vec<Row>> {
    let reader = Reader::new(columns, "t");
    let mut query = QueryBuilder::<MySql>::new("SELECT ");
    query.push(reader.expressions()).push(" FROM ").push(table.into_str()).push(" t");
    if table == ArchivedTable::Statuses {
        query.push(" LEFT JOIN videos v ON v.id = t.video_id");
    }
    if let Some(after) = after {
        query.push(" WHERE t.id > ").push_bind(after.to_owned());
    }
    query.push(" ORDER BY t.id LIMIT ").push_bind(limit.rows);
    let mut found = query.build().fetch(&store.pool);
    let (mut page, mut bytes) = (Vec::new(), 0);
    while bytes < limit.bytes
        && let Some(row) = found.try_next().await?
    {
        let row = reader.row(&row)?;
        bytes += size(&row);
        page.push(row);
    }
    Ok(page)
}

async fn archived_videos(
    store: &MySqlStore,
    columns: &[Column],
    ids: &[String],
) -> error::Result<Vec<Row>> {
    let reader = Reader::new(columns, "v");
    let mut found = Vec::new();
    for ids in ids.chunks(id_list::MAX_LISTED_VALUES) {
        let mut query = QueryBuilder::<MySql>::new("SELECT ");
        query.push(reader.expressions()).push(" FROM videos v WHERE v.id IN ");
        id_list::push(&mut query, ids);
        for row in &query.build().fetch_all(&store.pool).await? {
            found.push(reader.row(row)?);
        }
    }
    Ok(found)
}
