//! Reading out what the new columns and tables hold, each value in the storage class that
//! it has; [`restore`] writes it back.

mod restore;

use async_trait::async_trait;
use futures::TryStreamExt;
use reelshift_store::Result;
use reelshift_store::archive::{
    Archive, ArchivedTable, Column, PageLimit, RestoredChunk, Row, VIDEO_TRUTH, Value, size,
    video_columns,
};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite, TypeInfo, ValueRef};

use crate::mapping::{ground_truth_status, push_after};
use crate::{SqliteStore, error};

#[async_trait]
impl Archive for SqliteStore {
    async fn archived_columns(&self, table: ArchivedTable) -> Result<Option<Vec<Column>>> {
        self.short(archived_columns(self, table)).await
    }

    async fn about_rows(&self, table: ArchivedTable) -> Result<u64> {
        self.short(about_rows(self, table)).await
    }

    async fn archive_page(
        &self,
        table: ArchivedTable,
        columns: &[Column],
        after: Option<&str>,
        limit: PageLimit,
    ) -> Result<Vec<Row>> {
        self.short(archive_page(self, table, columns, after, limit)).await
    }

    async fn archived_videos(&self, columns: &[Column], ids: &[String]) -> Result<Vec<Row>> {
        self.short(archived_videos(self, columns, ids)).await
    }

    async fn largest_row(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// The bridge writes a status row when a video is written, and the archived one replaces it.
    fn restore_order(&self) -> [ArchivedTable; 4] {
        ArchivedTable::ALL
    }

    async fn restore_rows(
        &self,
        table: ArchivedTable,
        columns: &[Column],
        rows: &[Row],
    ) -> Result<RestoredChunk> {
        self.short(restore::rows(self, table, columns, rows)).await
    }

    async fn link_errors(&self, links: &[(String, String)]) -> Result<()> {
        self.short(restore::link_errors(self, links)).await
    }
}

async fn archived_columns(
    store: &SqliteStore,
    table: ArchivedTable,
) -> error::Result<Option<Vec<Column>>> {
    // Generated columns are not listed.
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT name, type FROM pragma_table_info(?) ORDER BY name <> 'id', cid")
            .bind(table.into_str())
            .fetch_all(&store.readers)
            .await?;
    let column = |(name, declared)| Column { name, declared };
    let mut columns: Vec<_> = rows.into_iter().map(column).collect();
    if table == ArchivedTable::Videos {
        return Ok(video_columns(&columns));
    }
    if table == ArchivedTable::Statuses && !columns.is_empty() {
        columns.push(Column { name: VIDEO_TRUTH.to_owned(), declared: "text".to_owned() });
    }
    Ok((!columns.is_empty()).then_some(columns))
}

async fn about_rows(store: &SqliteStore, table: ArchivedTable) -> error::Result<u64> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT COUNT(*) FROM ");
    query.push(table.into_str());
    let rows: i64 = query.build_query_scalar().fetch_one(&store.readers).await?;
    Ok(u64::try_from(rows).unwrap_or(0))
}

/// `t."a", …`
fn named_columns(columns: &[Column], alias: &str) -> String {
    let names: Vec<_> =
        columns.iter().map(|column| format!("{alias}{}", quoted(&column.name))).collect();
    names.join(", ")
}

fn quoted(column: &str) -> String {
    format!("\"{}\"", column.replace('"', "\"\""))
}

/// The value in its storage class, whatever the column's declared type is.
fn value(row: &SqliteRow, column: usize) -> error::Result<Value> {
    let raw = row.try_get_raw(column)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let class = raw.type_info().name().to_owned();
    Ok(match class.as_str() {
        "INTEGER" => Value::Integer(row.try_get_unchecked(column)?),
        "REAL" => Value::real(row.try_get_unchecked(column)?),
        "BLOB" => Value::Blob(row.try_get_unchecked(column)?),
        _ => Value::text_of(row.try_get_unchecked(column)?),
    })
}

fn values(row: &SqliteRow, count: usize) -> error::Result<Row> {
    (0..count).map(|column| value(row, column)).collect()
}

fn push_ids(query: &mut QueryBuilder<Sqlite>, ids: &[String]) {
    query.push("(");
    let mut list = query.separated(", ");
    for id in ids {
        list.push_bind(id.clone());
    }
    query.push(")");
}

/// Status rows with [`VIDEO_TRUTH`].
const STATUSES: &str = concat!(
    "(SELECT s.*, ",
    ground_truth_status!(),
    " AS \"videos.ground_truth_status\" \
     FROM video_processing_status s LEFT JOIN videos v ON v.id = s.video_id)"
);

async fn archive_page(
    store: &SqliteStore,
    table: ArchivedTable,
    columns: &[Column],
    after: Option<&str>,
    limit: PageLimit,
) -> error::Result<Vec<Row>> {
    let mut query = QueryBuilder::new("SELECT ");
    query.push(named_columns(columns, "v.")).push(" FROM ").push(match table {
        ArchivedTable::Statuses => STATUSES,
        table => table.into_str(),
    });
    query.push(" v WHERE ");
    push_after(&mut query, after);
    query.push(" ORDER BY v.id LIMIT ").push_bind(limit.rows);
    let mut found = query.build().fetch(&store.readers);
    let (mut page, mut bytes) = (Vec::new(), 0);
    while bytes < limit.bytes
        && let Some(row) = found.try_next().await?
    {
        let row = values(&row, columns.len())?;
        bytes += size(&row);
        page.push(row);
    }
    Ok(page)
}

async fn archived_videos(
    store: &SqliteStore,
    columns: &[Column],
    ids: &[String],
) -> error::Result<Vec<Row>> {
    let mut query = QueryBuilder::new("SELECT ");
    query.push(named_columns(columns, "v.")).push(" FROM videos v WHERE v.id IN ");
    push_ids(&mut query, ids);
    let rows = query.build().fetch_all(&store.readers).await?;
    rows.iter().map(|row| values(row, columns.len())).collect()
}
