//! Reading out what the new columns and tables hold, and writing it back.
//!
//! Every value travels as the text that the server casts it to: sessions are in UTC and
//! in utf8mb4, and the server reads the same text back as the same value.

use std::collections::HashMap;

use async_trait::async_trait;
use reelshift_store::Result;
use reelshift_store::archive::decide::{CurrentVideo, decide, truth_is_outdated};
use reelshift_store::archive::{
    Archive, ArchivedTable, NEW_COLUMNS, Restored, Row, VIDEO_TRUTH, Value, video_columns,
};
use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, QueryBuilder, Row as _};

use crate::connection::MySqlStore;
use crate::error::{self, Error};
use crate::id_list;
use crate::mapping::{CURRENT_STAGE, GROUND_TRUTH_STATUS, MIME_TYPE, WORKFLOW_STATE};

#[async_trait]
impl Archive for MySqlStore {
    async fn archived_columns(&self, table: ArchivedTable) -> Result<Option<Vec<String>>> {
        Ok(archived_columns(self, table).await?)
    }

    async fn about_rows(&self, table: ArchivedTable) -> Result<u64> {
        let rows: Option<i64> = sqlx::query_scalar(
            "SELECT CAST(TABLE_ROWS AS SIGNED) FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?",
        )
        .bind(table.as_str())
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::from)?
        .flatten();
        Ok(rows.and_then(|rows| u64::try_from(rows).ok()).unwrap_or(0))
    }

    async fn archive_page(
        &self,
        table: ArchivedTable,
        columns: &[String],
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Row>> {
        Ok(archive_page(self, table, columns, after, limit).await?)
    }

    async fn restore_rows(
        &self,
        table: ArchivedTable,
        columns: &[String],
        rows: &[Row],
    ) -> Result<Restored> {
        if rows.is_empty() {
            return Ok(Restored::default());
        }
        let mut transaction = self.pool.begin().await.map_err(Error::from)?;
        let restored = match table {
            ArchivedTable::Videos => videos(&mut transaction, rows).await?,
            ArchivedTable::Statuses => statuses(&mut transaction, columns, rows).await?,
            ArchivedTable::Notifications | ArchivedTable::Errors => {
                inserted(&mut transaction, table, columns, rows).await?
            }
        };
        transaction.commit().await.map_err(Error::from)?;
        Ok(restored)
    }

    async fn link_errors(&self, links: &[(String, String)]) -> Result<()> {
        Ok(link_errors(self, links).await?)
    }
}

async fn archived_columns(
    store: &MySqlStore,
    table: ArchivedTable,
) -> error::Result<Option<Vec<String>>> {
    // Generated columns of the application's are derived anew.
    let mut columns: Vec<String> = sqlx::query_scalar(
        "SELECT CAST(COLUMN_NAME AS CHAR) FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? \
         AND COALESCE(GENERATION_EXPRESSION, '') = '' \
         ORDER BY COLUMN_NAME <> 'id', ORDINAL_POSITION",
    )
    .bind(table.as_str())
    .fetch_all(&store.pool)
    .await?;
    if table == ArchivedTable::Videos {
        let has_all = NEW_COLUMNS.iter().all(|new| columns.iter().any(|column| column == new));
        return Ok(has_all.then(video_columns));
    }
    if table == ArchivedTable::Statuses && !columns.is_empty() {
        columns.push(VIDEO_TRUTH.to_owned());
    }
    Ok((!columns.is_empty()).then_some(columns))
}

/// `CAST(t.a AS CHAR), …`; of [`VIDEO_TRUTH`], from `videos v`.
fn casts(columns: &[String], alias: &str) -> String {
    let cast = |column: &String| match column.as_str() {
        VIDEO_TRUTH => format!("CAST({GROUND_TRUTH_STATUS} AS CHAR)"),
        column => format!("CAST({alias}.{} AS CHAR)", quoted(column)),
    };
    columns.iter().map(cast).collect::<Vec<_>>().join(", ")
}

fn quoted(column: &str) -> String {
    format!("`{}`", column.replace('`', "``"))
}

fn values(row: &MySqlRow, count: usize) -> error::Result<Row> {
    (0..count).map(|column| Ok(Value::from(row.try_get::<Option<String>, _>(column)?))).collect()
}

async fn archive_page(
    store: &MySqlStore,
    table: ArchivedTable,
    columns: &[String],
    after: Option<&str>,
    limit: u32,
) -> error::Result<Vec<Row>> {
    let mut query = QueryBuilder::new("SELECT ");
    query.push(casts(columns, "t")).push(" FROM ").push(table.as_str()).push(" t");
    if table == ArchivedTable::Statuses {
        query.push(" LEFT JOIN videos v ON v.id = t.video_id");
    }
    if let Some(after) = after {
        query.push(" WHERE t.id > ").push_bind(after.to_owned());
    }
    query.push(" ORDER BY t.id LIMIT ").push_bind(limit);
    let rows = query.build().fetch_all(&store.pool).await?;
    rows.iter().map(|row| values(row, columns.len())).collect()
}

/// The text of a row's `column`, of a text column that is not NULL.
fn text(columns: &[String], row: &Row, column: &str) -> Option<String> {
    let at = columns.iter().position(|name| name == column)?;
    row[at].text().map(str::to_owned)
}

fn texts(columns: &[String], rows: &[Row], column: &str) -> Vec<String> {
    rows.iter().filter_map(|row| text(columns, row, column)).collect()
}

fn bound(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Integer(number) => Some(number.to_string()),
        Value::Text(text) | Value::Real { real: text } => Some(text.clone()),
        Value::Blob { blob } => Some(blob.clone()),
    }
}

async fn videos(tx: &mut MySqlConnection, rows: &[Row]) -> error::Result<Restored> {
    let columns = video_columns();
    let current = current_videos(tx, &columns, &texts(&columns, rows, "id")).await?;
    let mut counted = Restored::default();
    for row in rows {
        let Some(current) = row[0].text().and_then(|id| current.get(id)) else {
            counted.deleted += 1;
            continue;
        };
        let decision = decide(row, current);
        counted.kept_states += u64::from(decision.kept_state);
        counted.kept_hashes += u64::from(decision.kept_hash);
        counted.kept_metadata += u64::from(decision.kept_metadata);
        if decision.set.is_empty() {
            counted.present += 1;
            continue;
        }
        let mut query = QueryBuilder::new("UPDATE videos SET ");
        for (column, value) in &decision.set {
            query.push(column).push(" = ").push_bind(bound(value)).push(", ");
        }
        // Named, so that no ON UPDATE CURRENT_TIMESTAMP of the legacy table changes them.
        query.push("created_at = created_at, updated_at = updated_at WHERE id = ");
        query.push_bind(bound(&row[0]));
        query.build().execute(&mut *tx).await?;
        counted.restored += 1;
    }
    Ok(counted)
}

/// The videos as they are now, locked in key order, by id.
async fn current_videos(
    tx: &mut MySqlConnection,
    columns: &[String],
    ids: &[String],
) -> error::Result<HashMap<String, CurrentVideo>> {
    let mut query = QueryBuilder::new("SELECT ");
    query.push(casts(columns, "v")).push(", CAST(").push(WORKFLOW_STATE).push(" AS CHAR), CAST(");
    query.push(MIME_TYPE).push(" AS CHAR) FROM videos v WHERE v.id IN ");
    id_list::push(&mut query, ids);
    query.push(" ORDER BY v.id FOR UPDATE");
    let rows = query.build().fetch_all(tx).await?;
    let mut current = HashMap::with_capacity(rows.len());
    for row in &rows {
        let video = CurrentVideo {
            row: values(row, columns.len())?,
            workflow_state: row.try_get(columns.len())?,
            mime_type: row.try_get(columns.len() + 1)?,
        };
        current.insert(row.try_get(0)?, video);
    }
    Ok(current)
}

/// What a status row of a video says by the video's legacy columns.
struct Truth {
    truth: String,
    stage: String,
}

fn set(columns: &[String], row: &mut Row, column: &str, value: &str) {
    if let Some(at) = columns.iter().position(|name| name == column) {
        row[at] = Value::Text(value.to_owned());
    }
}

async fn statuses(
    tx: &mut MySqlConnection,
    columns: &[String],
    rows: &[Row],
) -> error::Result<Restored> {
    let ids = texts(columns, rows, "video_id");
    let videos = truths(tx, &ids).await?;
    let mut query = QueryBuilder::new(
        "SELECT CAST(s.video_id AS CHAR), CAST(s.id AS CHAR) FROM video_processing_status s WHERE s.video_id IN ",
    );
    id_list::push(&mut query, &ids);
    let present = pairs(&query.build().fetch_all(&mut *tx).await?)?;

    let mut counted = Restored::default();
    let (mut replaced, mut inserting) = (Vec::new(), Vec::new());
    for row in rows {
        let video = text(columns, row, "video_id").unwrap_or_default();
        let Some(now) = videos.get(&video) else {
            counted.deleted += 1;
            continue;
        };
        let by_bridge = present.get(&video);
        if by_bridge.is_some_and(|id| row[0].reads(id)) {
            counted.present += 1;
            continue;
        }
        replaced.extend(by_bridge.cloned());
        let mut row = row.clone();
        if truth_is_outdated(columns, &row, &now.truth) {
            set(columns, &mut row, "ground_truth_status", &now.truth);
            set(columns, &mut row, "current_stage", &now.stage);
            counted.kept_truths += 1;
        }
        inserting.push(row);
    }
    if !replaced.is_empty() {
        let mut query = QueryBuilder::new("DELETE FROM video_processing_status WHERE id IN ");
        id_list::push(&mut query, &replaced);
        query.build().execute(&mut *tx).await?;
    }
    counted.restored = insert(tx, ArchivedTable::Statuses, columns, &inserting).await?;
    counted.present += inserting.len() as u64 - counted.restored;
    Ok(counted)
}

/// Of the videos as they are now, locked in key order.
async fn truths(tx: &mut MySqlConnection, ids: &[String]) -> error::Result<HashMap<String, Truth>> {
    let mut query = QueryBuilder::new("SELECT CAST(v.id AS CHAR), CAST(");
    query.push(GROUND_TRUTH_STATUS).push(" AS CHAR), CAST(").push(CURRENT_STAGE);
    query.push(" AS CHAR) FROM videos v WHERE v.id IN ");
    id_list::push(&mut query, ids);
    query.push(" ORDER BY v.id FOR UPDATE");
    let rows = query.build().fetch_all(tx).await?;
    let truth = |row: &MySqlRow| -> error::Result<Truth> {
        Ok(Truth { truth: row.try_get(1)?, stage: row.try_get(2)? })
    };
    rows.iter().map(|row| Ok((row.try_get(0)?, truth(row)?))).collect()
}

fn pairs(rows: &[MySqlRow]) -> error::Result<HashMap<String, String>> {
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Rows of which the id is free and the video there.
async fn inserted(
    tx: &mut MySqlConnection,
    table: ArchivedTable,
    columns: &[String],
    rows: &[Row],
) -> error::Result<Restored> {
    let mut query = QueryBuilder::new("SELECT COUNT(*) FROM ");
    query.push(table.as_str()).push(" t WHERE t.id IN ");
    id_list::push(&mut query, &texts(columns, rows, "id"));
    let present: i64 = query.build_query_scalar().fetch_one(&mut *tx).await?;
    let present = u64::try_from(present).unwrap_or(0);
    let mut rows = rows.to_vec();
    if let Some(at) = columns.iter().position(|column| column == "parent_error_id") {
        for row in &mut rows {
            row[at] = Value::Null;
        }
    }
    let restored = insert(tx, table, columns, &rows).await?;
    let deleted = (rows.len() as u64).saturating_sub(present + restored);
    Ok(Restored { restored, present, deleted, ..Restored::default() })
}

/// Inserts what can be inserted: IGNORE passes over an id that is there and a video that
/// is not. Every value was in a column of the same type before.
async fn insert(
    tx: &mut MySqlConnection,
    table: ArchivedTable,
    columns: &[String],
    rows: &[Row],
) -> error::Result<u64> {
    if rows.is_empty() {
        return Ok(0);
    }
    // [`VIDEO_TRUTH`], the last, is no column of the table.
    let own = columns.iter().take_while(|column| *column != VIDEO_TRUTH);
    let names: Vec<_> = own.map(|column| quoted(column)).collect();
    let places = format!("({})", vec!["?"; names.len()].join(", "));
    let sql = format!(
        "INSERT IGNORE INTO {} ({}) VALUES {}",
        table.as_str(),
        names.join(", "),
        vec![places.as_str(); rows.len()].join(", ")
    );
    let mut query: Query<'_, MySql, MySqlArguments> = sqlx::query(AssertSqlSafe(sql));
    // A page's last rows have a shape of their own, and no other page has it.
    query = query.persistent(false);
    for value in rows.iter().flat_map(|row| row.iter().take(names.len())) {
        query = query.bind(bound(value));
    }
    Ok(query.execute(tx).await?.rows_affected())
}

async fn link_errors(store: &MySqlStore, links: &[(String, String)]) -> error::Result<()> {
    if links.is_empty() {
        return Ok(());
    }
    let parents: Vec<_> = links.iter().map(|(_, parent)| parent.clone()).collect();
    let mut tx = store.pool.begin().await?;
    let mut query = QueryBuilder::new(
        "SELECT CAST(e.id AS CHAR), '' FROM processing_error_log e WHERE e.id IN ",
    );
    id_list::push(&mut query, &parents);
    let there = pairs(&query.build().fetch_all(&mut *tx).await?)?;
    for (id, parent) in links.iter().filter(|(_, parent)| there.contains_key(parent)) {
        sqlx::query(
            "UPDATE processing_error_log SET parent_error_id = ? WHERE id = ? AND parent_error_id IS NULL",
        )
        .bind(parent)
        .bind(id)
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(())
}
