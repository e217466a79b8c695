//! Writing archived rows back, each value in the storage class that it had.

use std::collections::HashMap;
use std::time::Instant;

use reelshift_store::archive::decide::{CurrentVideo, decide, truth_is_outdated};
use reelshift_store::archive::{
    ArchivedTable, Column, Restored, RestoredChunk, Row, VIDEO_TRUTH, Value, position,
};
use reelshift_store::schema::{Object, Schema as _};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection};

use super::{named_columns, push_ids, values};
use crate::SqliteStore;
use crate::error::Result;
use crate::mapping::{current_stage, ground_truth_status, mime_type, workflow_state};

/// The switch that silences the triggers of `automate` for one transaction.
const QUIET: &str = "reelshift_quiet";

fn text(columns: &[Column], row: &Row, column: &str) -> Option<String> {
    row[position(columns, column)?].text().map(str::to_owned)
}

fn texts(columns: &[Column], rows: &[Row], column: &str) -> Vec<String> {
    rows.iter().filter_map(|row| text(columns, row, column)).collect()
}

fn push_value(query: &mut QueryBuilder<Sqlite>, value: &Value) {
    match value {
        Value::Null => query.push("NULL"),
        Value::Integer(number) => query.push_bind(*number),
        Value::Text(text) => query.push_bind(text.clone()),
        Value::Real(real) => query.push_bind(real.parse::<f64>().ok()),
        Value::Blob(bytes) => query.push_bind(bytes.clone()),
        // A text of bytes that are not UTF-8.
        Value::Bytes(bytes) => query.push("CAST(").push_bind(bytes.clone()).push(" AS TEXT)"),
    };
}

pub(super) async fn rows(
    store: &SqliteStore,
    table: ArchivedTable,
    columns: &[Column],
    rows: &[Row],
) -> Result<RestoredChunk> {
    let silences = store.exists(&Object::Table(QUIET.to_owned())).await?;
    let mut tx = store.write().await?;
    // The wait for one's turn holds nothing.
    let began = Instant::now();
    if silences {
        sqlx::query("INSERT INTO reelshift_quiet (reason) VALUES ('restore')")
            .execute(&mut *tx)
            .await?;
    }
    let restored = match table {
        ArchivedTable::Videos => videos(&mut tx, columns, rows).await?,
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
    Ok(RestoredChunk { rows: restored, held: began.elapsed() })
}

async fn videos(tx: &mut SqliteConnection, columns: &[Column], rows: &[Row]) -> Result<Restored> {
    let current = current_videos(tx, columns, &texts(columns, rows, "id")).await?;
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
            push_value(&mut query, value);
        }
        query.push(" WHERE id = ");
        push_value(&mut query, &row[0]);
        query.build().execute(&mut *tx).await?;
        counted.restored += 1;
    }
    Ok(counted)
}

/// The videos as they are now, by id.
async fn current_videos(
    tx: &mut SqliteConnection,
    columns: &[Column],
    ids: &[String],
) -> Result<HashMap<String, CurrentVideo>> {
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

fn set(columns: &[Column], row: &mut Row, column: &str, value: &str) {
    if let Some(at) = position(columns, column) {
        row[at] = Value::Text(value.to_owned());
    }
}

async fn statuses(tx: &mut SqliteConnection, columns: &[Column], rows: &[Row]) -> Result<Restored> {
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
async fn truths(tx: &mut SqliteConnection, ids: &[String]) -> Result<HashMap<String, Truth>> {
    let mut query = QueryBuilder::new(concat!(
        "SELECT v.id, ",
        ground_truth_status!(),
        ", ",
        current_stage!(),
        " FROM videos v WHERE v.id IN "
    ));
    push_ids(&mut query, ids);
    let rows = query.build().fetch_all(tx).await?;
    let truth = |row: &SqliteRow| -> Result<Truth> {
        Ok(Truth { truth: row.try_get(1)?, stage: row.try_get(2)? })
    };
    rows.iter().map(|row| Ok((row.try_get(0)?, truth(row)?))).collect()
}

async fn pairs(
    query: &mut QueryBuilder<Sqlite>,
    tx: &mut SqliteConnection,
) -> Result<HashMap<String, String>> {
    let rows = query.build().fetch_all(tx).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Rows of which the id is free and the video there.
async fn inserted(
    tx: &mut SqliteConnection,
    table: ArchivedTable,
    columns: &[Column],
    rows: &[Row],
) -> Result<Restored> {
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
        if let Some(at) = position(columns, "parent_error_id") {
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
    columns: &[Column],
    rows: &[Row],
) -> Result<u64> {
    // [`VIDEO_TRUTH`], the last, is no column of the table.
    let own = columns.iter().take_while(|column| column.name != VIDEO_TRUTH).count();
    let mut inserted = 0;
    for row in rows {
        let mut query = QueryBuilder::<Sqlite>::new("INSERT INTO ");
        query.push(table.into_str()).push(" (").push(named_columns(&columns[..own], ""));
        query.push(") VALUES (");
        for (index, value) in row.iter().take(own).enumerate() {
            query.push(if index == 0 { "" } else { ", " });
            push_value(&mut query, value);
        }
        query.push(") ON CONFLICT DO NOTHING");
        inserted += query.build().execute(&mut *tx).await?.rows_affected();
    }
    Ok(inserted)
}

pub(super) async fn link_errors(store: &SqliteStore, links: &[(String, String)]) -> Result<()> {
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
