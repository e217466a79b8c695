//! Writing archived rows back, many in a statement.
//!
//! Sessions are strict, so that a value which its column cannot hold is an error. The order
//! of locks is the backfill's: videos by key, never waiting, then the other table.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use reelshift_store::archive::decide::{CurrentVideo, decide, truth_is_outdated};
use reelshift_store::archive::{
    ArchivedTable, Column, Restored, RestoredChunk, Row, VIDEO_TRUTH, Value, position, size,
};
use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Executor as _, MySql, MySqlConnection, QueryBuilder, Row as _};

use super::column::{Reader, quoted};
use super::largest_row;
use super::update::update;
use crate::connection::MySqlStore;
use crate::error;
use crate::id_list;
use crate::mapping::{CURRENT_STAGE, GROUND_TRUTH_STATUS, MIME_TYPE, WORKFLOW_STATE};
use crate::session::LOCK_WAIT_SECONDS;

/// Values that one statement binds at most: the protocol counts them in 16 bits.
const MAX_BOUND_VALUES: usize = 60_000;

/// Beside the strictness of all sessions: what an application stored with
/// `ALLOW_INVALID_DATES` comes back.
const SESSION: &str = "SET SESSION sql_mode = CONCAT(@@SESSION.sql_mode, ',ALLOW_INVALID_DATES')";

/// The bridge is silent, and no lock is waited for: see [`crate::session::NEVER_WAIT`].
const BEGIN: &str = "SET @reelshift_restoring = TRUE /*M!100101 , innodb_lock_wait_timeout = 0 */";

pub(super) async fn rows(
    store: &MySqlStore,
    table: ArchivedTable,
    columns: &[Column],
    rows: &[Row],
) -> error::Result<RestoredChunk> {
    let bytes = largest_row(store).await?;
    let mut transaction = store.pool.begin().await?;
    let began = Instant::now();
    transaction.execute(SESSION).await?;
    // What the bridge would derive is in the archive. The session goes back to the pool.
    transaction.execute(BEGIN).await?;
    let restored = match table {
        ArchivedTable::Videos => videos(&mut transaction, columns, rows).await,
        ArchivedTable::Statuses => statuses(&mut transaction, columns, rows, bytes).await,
        ArchivedTable::Notifications | ArchivedTable::Errors => {
            inserted(&mut transaction, table, columns, rows, bytes).await
        }
    };
    let end = format!(
        "SET @reelshift_restoring = NULL /*M!100101 , innodb_lock_wait_timeout = {LOCK_WAIT_SECONDS} */"
    );
    transaction.execute(AssertSqlSafe(end)).await?;
    let restored = restored?;
    // Without the commit: what the server waits for its disk depends on no number of rows, and
    // chunks would shrink to nothing where that is slow.
    let held = began.elapsed();
    transaction.commit().await?;
    Ok(RestoredChunk { rows: restored, held })
}

/// The texts of `column`, of those rows that have one.
fn texts(columns: &[Column], rows: &[Row], column: &str) -> Vec<String> {
    let Some(at) = position(columns, column) else { return Vec::new() };
    rows.iter().filter_map(|row| row[at].text().map(str::to_owned)).collect()
}

async fn videos(
    tx: &mut MySqlConnection,
    columns: &[Column],
    rows: &[Row],
) -> error::Result<Restored> {
    let current = current_videos(tx, columns, &texts(columns, rows, "id")).await?;
    let mut counted = Restored::default();
    let mut changes = Vec::new();
    for row in rows {
        let Some((id, current)) = row[0].text().and_then(|id| Some((id, current.get(id)?))) else {
            counted.deleted += 1;
            continue;
        };
        let decision = decide(row, current);
        counted.kept_states += u64::from(decision.kept_state);
        counted.kept_hashes += u64::from(decision.kept_hash);
        counted.kept_metadata += u64::from(decision.kept_metadata);
        if decision.set.is_empty() {
            counted.present += 1;
        } else {
            changes.push((id, decision));
        }
    }
    counted.restored = changes.len() as u64;
    update(tx, &columns[0], &changes).await?;
    Ok(counted)
}

/// The videos as they are now, locked in key order, by id.
async fn current_videos(
    tx: &mut MySqlConnection,
    columns: &[Column],
    ids: &[String],
) -> error::Result<HashMap<String, CurrentVideo>> {
    let reader = Reader::new(columns, "v");
    let mut current = HashMap::with_capacity(ids.len());
    for ids in ids.chunks(id_list::MAX_LISTED_VALUES) {
        let mut query = QueryBuilder::new("SELECT ");
        query.push(reader.expressions()).push(", CAST(").push(WORKFLOW_STATE);
        query
            .push(" AS CHAR), CAST(")
            .push(MIME_TYPE)
            .push(" AS CHAR) FROM videos v WHERE v.id IN ");
        id_list::push(&mut query, ids);
        query.push(" ORDER BY v.id FOR UPDATE NOWAIT");
        for row in &query.build().fetch_all(&mut *tx).await? {
            let video = CurrentVideo {
                row: reader.row(row)?,
                workflow_state: row.try_get(reader.width())?,
                mime_type: row.try_get(reader.width() + 1)?,
            };
            if let Some(id) = video.row[0].text() {
                current.insert(id.to_owned(), video);
            }
        }
    }
    Ok(current)
}

/// What a status row of a video says by the video's legacy columns.
struct Truth {
    truth: String,
    stage: String,
}

fn set(columns: &[Column], row: &mut Row, column: &str, value: Value) {
    if let Some(at) = position(columns, column) {
        row[at] = value;
    }
}

async fn statuses(
    tx: &mut MySqlConnection,
    columns: &[Column],
    rows: &[Row],
    bytes: u64,
) -> error::Result<Restored> {
    let video_id = position(columns, "video_id").unwrap_or_default();
    let ids = texts(columns, rows, "video_id");
    let videos = truths(tx, &ids).await?;
    let by_video = status_ids(tx, &ids).await?;
    let taken = present(tx, ArchivedTable::Statuses, &texts(columns, rows, "id")).await?;

    let mut counted = Restored::default();
    let (mut replaced, mut inserting) = (Vec::new(), Vec::new());
    for row in rows {
        let video = row[video_id].text().unwrap_or_default();
        let Some(now) = videos.get(video) else {
            counted.deleted += 1;
            continue;
        };
        if row[0].text().is_some_and(|id| taken.contains(id)) {
            counted.present += 1;
            continue;
        }
        replaced.extend(by_video.get(video).cloned());
        let mut row = row.clone();
        if truth_is_outdated(columns, &row, &now.truth) {
            set(columns, &mut row, "ground_truth_status", Value::Text(now.truth.clone()));
            set(columns, &mut row, "current_stage", Value::Text(now.stage.clone()));
            counted.kept_truths += 1;
        }
        inserting.push(row);
    }
    for ids in replaced.chunks(id_list::MAX_LISTED_VALUES) {
        let mut query = QueryBuilder::new("DELETE FROM video_processing_status WHERE id IN ");
        id_list::push(&mut query, ids);
        query.build().execute(&mut *tx).await?;
    }
    counted.restored = insert(tx, ArchivedTable::Statuses, columns, &inserting, bytes).await?;
    mark(tx, &ids).await?;
    Ok(counted)
}

/// Has videos say that their status row is there, in the transaction that writes it: see
/// tr_reelshift_bridge_after_update. Their archived policy comes with the rest of their columns.
async fn mark(tx: &mut MySqlConnection, ids: &[String]) -> error::Result<()> {
    for ids in ids.chunks(id_list::MAX_LISTED_VALUES) {
        let mut query = QueryBuilder::new(
            "UPDATE videos SET retention_policy = 'standard_90_days', created_at = created_at, \
             updated_at = updated_at WHERE retention_policy IS NULL AND id IN ",
        );
        id_list::push(&mut query, ids);
        query.build().execute(&mut *tx).await?;
    }
    Ok(())
}

/// Of the videos as they are now, locked in key order.
async fn truths(tx: &mut MySqlConnection, ids: &[String]) -> error::Result<HashMap<String, Truth>> {
    let mut truths = HashMap::with_capacity(ids.len());
    for ids in ids.chunks(id_list::MAX_LISTED_VALUES) {
        let mut query = QueryBuilder::new("SELECT CAST(v.id AS CHAR), CAST(");
        query.push(GROUND_TRUTH_STATUS).push(" AS CHAR), CAST(").push(CURRENT_STAGE);
        query.push(" AS CHAR) FROM videos v WHERE v.id IN ");
        id_list::push(&mut query, ids);
        query.push(" ORDER BY v.id FOR UPDATE NOWAIT");
        for row in query.build().fetch_all(&mut *tx).await? {
            truths
                .insert(row.try_get(0)?, Truth { truth: row.try_get(1)?, stage: row.try_get(2)? });
        }
    }
    Ok(truths)
}

/// The status rows that videos have, by video.
async fn status_ids(
    tx: &mut MySqlConnection,
    ids: &[String],
) -> error::Result<HashMap<String, String>> {
    let mut found = HashMap::new();
    for ids in ids.chunks(id_list::MAX_LISTED_VALUES) {
        // With a column that the index lacks, or a small index is scanned.
        let mut query = QueryBuilder::new(
            "SELECT CAST(s.video_id AS CHAR), CAST(s.id AS CHAR), s.updated_at \
             FROM video_processing_status s FORCE INDEX (idx_video_processing_status_video_id) \
             WHERE s.video_id IN ",
        );
        id_list::push(&mut query, ids);
        query.push(" FOR UPDATE NOWAIT");
        for row in query.build().fetch_all(&mut *tx).await? {
            found.insert(row.try_get(0)?, row.try_get(1)?);
        }
    }
    Ok(found)
}

/// Those of `ids` that `table` has.
async fn present(
    tx: &mut MySqlConnection,
    table: ArchivedTable,
    ids: &[String],
) -> error::Result<HashSet<String>> {
    let mut found = HashSet::new();
    for ids in ids.chunks(id_list::MAX_LISTED_VALUES) {
        let mut query = QueryBuilder::new("SELECT CAST(t.id AS CHAR) FROM ");
        query.push(table.into_str()).push(" t WHERE t.id IN ");
        id_list::push(&mut query, ids);
        let rows: Vec<MySqlRow> = query.build().fetch_all(&mut *tx).await?;
        for row in rows {
            found.insert(row.try_get(0)?);
        }
    }
    Ok(found)
}

/// Rows of which the id is free and the video there.
async fn inserted(
    tx: &mut MySqlConnection,
    table: ArchivedTable,
    columns: &[Column],
    rows: &[Row],
    bytes: u64,
) -> error::Result<Restored> {
    let video_id = position(columns, "video_id").filter(|_| table == ArchivedTable::Errors);
    let videos = match video_id {
        Some(_) => truths(tx, &texts(columns, rows, "video_id")).await?,
        None => HashMap::new(),
    };
    let taken = present(tx, table, &texts(columns, rows, "id")).await?;
    let mut counted = Restored::default();
    let mut inserting = Vec::new();
    for row in rows {
        let video = video_id.and_then(|at| row[at].text());
        if video.is_some_and(|video| !videos.contains_key(video)) {
            counted.deleted += 1;
        } else if row[0].text().is_some_and(|id| taken.contains(id)) {
            counted.present += 1;
        } else {
            let mut row = row.clone();
            if table == ArchivedTable::Errors {
                set(columns, &mut row, "parent_error_id", Value::Null);
            }
            inserting.push(row);
        }
    }
    counted.restored = insert(tx, table, columns, &inserting, bytes).await?;
    Ok(counted)
}

/// Inserts rows, as many in a statement as it may have values and bytes.
async fn insert(
    tx: &mut MySqlConnection,
    table: ArchivedTable,
    columns: &[Column],
    rows: &[Row],
    bytes: u64,
) -> error::Result<u64> {
    // [`VIDEO_TRUTH`], the last, is no column of the table.
    let own = columns.iter().take_while(|column| column.name != VIDEO_TRUTH).count();
    let columns = &columns[..own];
    // What an ENUM holds where a session that was not strict wrote none of its members is taken
    // from none that is strict: the number 0, which has the empty name.
    let has_none = |row: &&Row| {
        columns.iter().zip(row.iter()).any(|(column, value)| {
            let none = match value {
                Value::Integer(0) => true,
                Value::Text(name) => name.is_empty(),
                Value::Blob(name) => name.is_empty(),
                _ => false,
            };
            none && column.declared.starts_with("enum")
        })
    };
    let (lenient, strict): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(has_none);
    for (verb, rows) in [("INSERT", strict), ("INSERT IGNORE", lenient)] {
        let mut rest = &rows[..];
        while !rest.is_empty() {
            let mut taken = 0;
            let fits = |row: &&&Row| {
                taken += size(row);
                taken <= bytes
            };
            let count = rest.iter().take(MAX_BOUND_VALUES / own.max(1)).take_while(fits).count();
            let (statement, after) = rest.split_at(count.max(1));
            insert_at_once(tx, verb, table, columns, statement).await?;
            rest = after;
        }
    }
    Ok(rows.len() as u64)
}

async fn insert_at_once(
    tx: &mut MySqlConnection,
    verb: &str,
    table: ArchivedTable,
    columns: &[Column],
    rows: &[&Row],
) -> error::Result<()> {
    let names: Vec<_> = columns.iter().map(|column| quoted(&column.name)).collect();
    // For the place of a VECTOR alone MySQL names a type that the driver does not know.
    let place = |column: &Column| match column.declared.split('(').next() {
        Some(word) if word.eq_ignore_ascii_case("vector") => "CAST(? AS BINARY)",
        _ => "?",
    };
    let places = format!("({})", columns.iter().map(place).collect::<Vec<_>>().join(", "));
    let sql = format!(
        "{verb} INTO {} ({}) VALUES {}",
        table.into_str(),
        names.join(", "),
        vec![places.as_str(); rows.len()].join(", ")
    );
    let mut query: Query<'_, MySql, MySqlArguments> = sqlx::query(AssertSqlSafe(sql));
    // Chunks have as many shapes as sizes.
    query = query.persistent(false);
    for value in rows.iter().flat_map(|row| row.iter().take(names.len())) {
        query = match value {
            Value::Null => query.bind(None::<String>),
            Value::Integer(number) => query.bind(*number),
            Value::Text(text) => query.bind(text.as_str()),
            Value::Real(real) => query.bind(real.parse::<f64>().ok()),
            Value::Blob(bytes) | Value::Bytes(bytes) => query.bind(bytes.as_slice()),
        };
    }
    query.execute(tx).await?;
    Ok(())
}

pub(super) async fn link_errors(
    store: &MySqlStore,
    links: &[(String, String)],
) -> error::Result<()> {
    let parents: Vec<_> = links.iter().map(|(_, parent)| parent.clone()).collect();
    let mut tx = store.pool.begin().await?;
    let there = present(&mut tx, ArchivedTable::Errors, &parents).await?;
    let links: Vec<_> = links.iter().filter(|(_, parent)| there.contains(parent)).collect();
    if !links.is_empty() {
        let ids: Vec<_> = links.iter().map(|(id, _)| id.clone()).collect();
        let mut query = QueryBuilder::<MySql>::new(
            "SELECT id FROM processing_error_log FORCE INDEX (PRIMARY) WHERE id IN ",
        );
        id_list::push(&mut query, &ids);
        query.push(" FOR UPDATE NOWAIT");
        query.build().persistent(false).execute(&mut *tx).await?;
        let mut query = QueryBuilder::new(
            "UPDATE processing_error_log FORCE INDEX (PRIMARY) SET parent_error_id = CASE id",
        );
        for (id, parent) in &links {
            query.push(" WHEN ").push_bind(id.clone()).push(" THEN ").push_bind(parent.clone());
        }
        query.push(" END WHERE parent_error_id IS NULL AND id IN ");
        id_list::push(&mut query, &ids);
        // Pages have as many shapes as sizes.
        query.build().persistent(false).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(())
}
