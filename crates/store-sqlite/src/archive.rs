//! Reading out what the new columns and tables hold, and writing it back, each value in
//! the storage class that it has.

use std::collections::HashMap;

use async_trait::async_trait;
use reelshift_store::Result;
use reelshift_store::archive::decide::{CurrentVideo, decide, truth_is_outdated};
use reelshift_store::archive::{
    Archive, ArchivedTable, NEW_COLUMNS, Restored, Row, VIDEO_TRUTH, Value, video_columns,
};
use reelshift_store::schema::{Object, Schema as _};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection, TypeInfo, ValueRef};

use crate::SqliteStore;
use crate::error::{Failure, Outcome};
use crate::mapping::{current_stage, ground_truth_status, mime_type, push_after, workflow_state};

/// The switch that silences the triggers of `automate` for one transaction.
const QUIET: &str = "reelshift_quiet";

#[async_trait]
impl Archive for SqliteStore {
    async fn archived_columns(&self, table: ArchivedTable) -> Result<Option<Vec<String>>> {
        self.named(archived_columns(self, table).await)
    }

    async fn about_rows(&self, table: ArchivedTable) -> Result<u64> {
        self.named(about_rows(self, table).await)
    }

    async fn archive_page(
        &self,
        table: ArchivedTable,
        columns: &[String],
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Row>> {
        self.named(archive_page(self, table, columns, after, limit).await)
    }

    async fn restore_rows(
        &self,
        table: ArchivedTable,
        columns: &[String],
        rows: &[Row],
    ) -> Result<Restored> {
        self.named(restore_rows(self, table, columns, rows).await)
    }

    async fn link_errors(&self, links: &[(String, String)]) -> Result<()> {
        self.named(link_errors(self, links).await)
    }
}

async fn archived_columns(
    store: &SqliteStore,
    table: ArchivedTable,
) -> Outcome<Option<Vec<String>>> {
    // Generated columns are not listed.
    let mut columns: Vec<String> =
        sqlx::query_scalar("SELECT name FROM pragma_table_info(?) ORDER BY name <> 'id', cid")
            .bind(table.as_str())
            .fetch_all(&store.readers)
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

async fn about_rows(store: &SqliteStore, table: ArchivedTable) -> Outcome<u64> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT COUNT(*) FROM ");
    query.push(table.as_str());
    let rows: i64 = query.build_query_scalar().fetch_one(&store.readers).await?;
    Ok(u64::try_from(rows).unwrap_or(0))
}

/// `t."a", …`
fn named_columns(columns: &[String], alias: &str) -> String {
    let names: Vec<_> = columns.iter().map(|column| format!("{alias}{}", quoted(column))).collect();
    names.join(", ")
}

fn quoted(column: &str) -> String {
    format!("\"{}\"", column.replace('"', "\"\""))
}

/// The value in its storage class, whatever the column's declared type is.
fn value(row: &SqliteRow, column: usize) -> Outcome<Value> {
    let raw = row.try_get_raw(column)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let class = raw.type_info().name().to_owned();
    Ok(match class.as_str() {
        "INTEGER" => Value::Integer(row.try_get_unchecked(column)?),
        "REAL" => Value::Real { real: format!("{:?}", row.try_get_unchecked::<f64, _>(column)?) },
        "BLOB" => Value::Blob { blob: hex::encode(row.try_get_unchecked::<Vec<u8>, _>(column)?) },
        _ => Value::Text(row.try_get_unchecked(column)?),
    })
}

fn values(row: &SqliteRow, count: usize) -> Outcome<Row> {
    (0..count).map(|column| value(row, column)).collect()
}

fn unreadable(value: &str) -> Failure {
    Failure::foreign_value("the archive", "a value", value)
}

fn push_value(query: &mut QueryBuilder<Sqlite>, value: &Value) -> Outcome<()> {
    match value {
        Value::Null => query.push("NULL"),
        Value::Integer(number) => query.push_bind(*number),
        Value::Text(text) => query.push_bind(text.clone()),
        Value::Real { real } => query.push_bind(real.parse::<f64>().map_err(|_| unreadable(real))?),
        Value::Blob { blob } => query.push_bind(hex::decode(blob).map_err(|_| unreadable(blob))?),
    };
    Ok(())
}

fn push_ids(query: &mut QueryBuilder<Sqlite>, ids: &[String]) {
    query.push("(");
    let mut list = query.separated(", ");
    for id in ids {
        list.push_bind(id.clone());
    }
    query.push(")");
}

fn text(columns: &[String], row: &Row, column: &str) -> Option<String> {
    let at = columns.iter().position(|name| name == column)?;
    row[at].text().map(str::to_owned)
}

fn texts(columns: &[String], rows: &[Row], column: &str) -> Vec<String> {
    rows.iter().filter_map(|row| text(columns, row, column)).collect()
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
    columns: &[String],
    after: Option<&str>,
    limit: u32,
) -> Outcome<Vec<Row>> {
    let mut query = QueryBuilder::new("SELECT ");
    query.push(named_columns(columns, "v.")).push(" FROM ").push(match table {
        ArchivedTable::Statuses => STATUSES,
        table => table.as_str(),
    });
    query.push(" v WHERE ");
    push_after(&mut query, after);
    query.push(" ORDER BY v.id LIMIT ").push_bind(limit);
    let rows = query.build().fetch_all(&store.readers).await?;
    rows.iter().map(|row| values(row, columns.len())).collect()
}

async fn restore_rows(
    store: &SqliteStore,
    table: ArchivedTable,
    columns: &[String],
    rows: &[Row],
) -> Outcome<Restored> {
    if rows.is_empty() {
        return Ok(Restored::default());
    }
    let silences = store.exists(&Object::Table(QUIET.to_owned())).await?;
    let mut tx = store.write().await?;
    if silences {
        sqlx::query("INSERT INTO reelshift_quiet (reason) VALUES ('restore')")
            .execute(&mut *tx)
            .await?;
    }
    let restored = match table {
        ArchivedTable::Videos => videos(&mut tx, rows).await?,
        ArchivedTable::Statuses => statuses(&mut tx, columns, rows).await?,
        ArchivedTable::Notifications | ArchivedTable::Errors => {
            inserted(&mut tx, table, columns, rows).await?
        }
    };
    if silences {
        sqlx::query("DELETE FROM reelshift_quiet WHERE reason = 'restore'")
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(restored)
}

async fn videos(tx: &mut SqliteConnection, rows: &[Row]) -> Outcome<Restored> {
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
        for (index, (column, value)) in decision.set.iter().enumerate() {
            query.push(if index == 0 { "" } else { ", " }).push(column).push(" = ");
            push_value(&mut query, value)?;
        }
        query.push(" WHERE id = ");
        push_value(&mut query, &row[0])?;
        query.build().execute(&mut *tx).await?;
        counted.restored += 1;
    }
    Ok(counted)
}

/// The videos as they are now, by id.
async fn current_videos(
    tx: &mut SqliteConnection,
    columns: &[String],
    ids: &[String],
) -> Outcome<HashMap<String, CurrentVideo>> {
    let mut query = QueryBuilder::new("SELECT ");
    query.push(named_columns(columns, "v."));
    query.push(concat!(
        ", ",
        workflow_state!(),
        ", ",
        mime_type!(),
        " FROM videos v WHERE v.id IN "
    ));
    push_ids(&mut query, ids);
    let mut current = HashMap::with_capacity(ids.len());
    for row in &query.build().fetch_all(tx).await? {
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
    tx: &mut SqliteConnection,
    columns: &[String],
    rows: &[Row],
) -> Outcome<Restored> {
    let ids = texts(columns, rows, "video_id");
    let videos = truths(tx, &ids).await?;
    let mut query = QueryBuilder::new(
        "SELECT s.video_id, s.id FROM video_processing_status s WHERE s.video_id IN ",
    );
    push_ids(&mut query, &ids);
    let present = pairs(&mut query, tx).await?;

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
        push_ids(&mut query, &replaced);
        query.build().execute(&mut *tx).await?;
    }
    counted.restored = insert(tx, ArchivedTable::Statuses, columns, &inserting).await?;
    counted.present += inserting.len() as u64 - counted.restored;
    Ok(counted)
}

/// Of the videos as they are now.
async fn truths(tx: &mut SqliteConnection, ids: &[String]) -> Outcome<HashMap<String, Truth>> {
    let mut query = QueryBuilder::new(concat!(
        "SELECT v.id, ",
        ground_truth_status!(),
        ", ",
        current_stage!(),
        " FROM videos v WHERE v.id IN "
    ));
    push_ids(&mut query, ids);
    let rows = query.build().fetch_all(tx).await?;
    let truth = |row: &SqliteRow| -> Outcome<Truth> {
        Ok(Truth { truth: row.try_get(1)?, stage: row.try_get(2)? })
    };
    rows.iter().map(|row| Ok((row.try_get(0)?, truth(row)?))).collect()
}

async fn pairs(
    query: &mut QueryBuilder<Sqlite>,
    tx: &mut SqliteConnection,
) -> Outcome<HashMap<String, String>> {
    let rows = query.build().fetch_all(tx).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Rows of which the id is free and the video there.
async fn inserted(
    tx: &mut SqliteConnection,
    table: ArchivedTable,
    columns: &[String],
    rows: &[Row],
) -> Outcome<Restored> {
    let mut counted = Restored::default();
    let mut rows = rows.to_vec();
    if table == ArchivedTable::Errors {
        let ids = texts(columns, &rows, "video_id");
        let mut query = QueryBuilder::new("SELECT v.id, '' FROM videos v WHERE v.id IN ");
        push_ids(&mut query, &ids);
        let videos = pairs(&mut query, tx).await?;
        let before = rows.len();
        rows.retain(|row| text(columns, row, "video_id").is_none_or(|id| videos.contains_key(&id)));
        counted.deleted = (before - rows.len()) as u64;
        if let Some(at) = columns.iter().position(|column| column == "parent_error_id") {
            for row in &mut rows {
                row[at] = Value::Null;
            }
        }
    }
    counted.restored = insert(tx, table, columns, &rows).await?;
    counted.present = rows.len() as u64 - counted.restored;
    Ok(counted)
}

/// Inserts the rows of which the id is free.
async fn insert(
    tx: &mut SqliteConnection,
    table: ArchivedTable,
    columns: &[String],
    rows: &[Row],
) -> Outcome<u64> {
    // [`VIDEO_TRUTH`], the last, is no column of the table.
    let own = columns.iter().take_while(|column| *column != VIDEO_TRUTH).count();
    let mut inserted = 0;
    for row in rows {
        let mut query = QueryBuilder::<Sqlite>::new("INSERT INTO ");
        query.push(table.as_str()).push(" (").push(named_columns(&columns[..own], ""));
        query.push(") VALUES (");
        for (index, value) in row.iter().take(own).enumerate() {
            query.push(if index == 0 { "" } else { ", " });
            push_value(&mut query, value)?;
        }
        query.push(") ON CONFLICT DO NOTHING");
        inserted += query.build().execute(&mut *tx).await?.rows_affected();
    }
    Ok(inserted)
}

async fn link_errors(store: &SqliteStore, links: &[(String, String)]) -> Outcome<()> {
    let mut tx = store.write().await?;
    for (id, parent) in links {
        sqlx::query(
            "UPDATE processing_error_log SET parent_error_id = ?1 WHERE id = ?2 AND parent_error_id IS NULL
             AND EXISTS (SELECT 1 FROM processing_error_log p WHERE p.id = ?1)",
        )
        .bind(parent)
        .bind(id)
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(())
}
