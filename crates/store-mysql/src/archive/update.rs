//! Writing the new columns of many videos, each its own values, in one statement.
//!
//! One statement a video took three times as long. A JSON document costs the server no more
//! than the backfill's own statement does; what JSON cannot say is written by itself.

use reelshift_store::StoreError;
use reelshift_store::archive::decide::Decision;
use reelshift_store::archive::{Column, NEW_COLUMNS, Value};
use sqlx::{MySql, MySqlConnection, QueryBuilder};

use crate::error::{self, Error};

/// A document is not longer, so that the smallest `max_allowed_packet` in use takes it and
/// it is parsed in a moment.
const MAX_DOCUMENT_BYTES: usize = 512 * 1024;

/// A video's id and what to write.
pub(super) type Change<'a> = (&'a str, Decision);

/// Writes many videos in a statement where all values are texts, else one.
pub(super) async fn update(
    tx: &mut MySqlConnection,
    key: &Column,
    changes: &[Change<'_>],
) -> error::Result<()> {
    let mut many = Document::default();
    for (id, decision) in changes {
        let columns = decision.columns();
        let Some(line) = line(id, columns, decision) else {
            update_one(tx, id, decision).await?;
            continue;
        };
        if many.videos > 0 && many.text.len() + line.len() > MAX_DOCUMENT_BYTES {
            update_many(tx, key, std::mem::take(&mut many)).await?;
        }
        many.text.push(if many.videos == 0 { '[' } else { ',' });
        many.text.push_str(&line);
        many.videos += 1;
        many.columns |= columns;
    }
    if many.videos > 0 {
        update_many(tx, key, many).await?;
    }
    Ok(())
}

/// Videos of one statement, as the beginning of a JSON list.
#[derive(Default)]
struct Document {
    text: String,
    videos: u64,
    /// Those of [`NEW_COLUMNS`] that any of them writes, a bit each.
    columns: u32,
}

/// `[id, columns, value, …]`; `None` where JSON cannot say a value as it is.
fn line(id: &str, columns: u32, decision: &Decision) -> Option<String> {
    let columns = columns.to_string();
    let mut line = vec![None; 2 + NEW_COLUMNS.len()];
    (line[0], line[1]) = (Some(id), Some(columns.as_str()));
    for (column, value) in &decision.set {
        let at = NEW_COLUMNS.iter().position(|name| name == column)?;
        line[2 + at] = match value {
            Value::Null => None,
            Value::Text(text) => Some(text.as_str()),
            _ => return None,
        };
    }
    let line = serde_json::to_string(&line).ok()?;
    // By itself where it would not fit beside others.
    (line.len() <= MAX_DOCUMENT_BYTES).then_some(line)
}

async fn update_many(
    tx: &mut MySqlConnection,
    key: &Column,
    Document { text, videos, columns }: Document,
) -> error::Result<()> {
    let written = || {
        let names = NEW_COLUMNS.iter().enumerate();
        names.filter(move |(at, _)| columns & (1 << at) != 0)
    };
    let mut query = QueryBuilder::<MySql>::new("UPDATE JSON_TABLE(");
    query.push_bind(format!("{text}]"));
    // The id in the type of the key, so that each row is found by it.
    query.push(", '$[*]' COLUMNS (id ").push(&key.declared);
    query.push(" PATH '$[0]', written INT PATH '$[1]'");
    for (at, _) in written() {
        query.push(format!(", c{at} LONGTEXT CHARACTER SET utf8mb4 PATH '$[{}]'", at + 2));
    }
    query.push(")) j STRAIGHT_JOIN videos v ON v.id = j.id SET ");
    for (at, column) in written() {
        query.push(format!("v.{column} = IF(j.written & {}, j.c{at}, v.{column}), ", 1_u32 << at));
    }
    // Named, so that no ON UPDATE CURRENT_TIMESTAMP of the legacy table changes them.
    query.push("v.created_at = v.created_at, v.updated_at = v.updated_at");
    let found = query.build().execute(tx).await?.rows_affected();
    if found == videos {
        return Ok(());
    }
    Err(Error::Store(StoreError::Permanent {
        code: None,
        message: format!("{found} of {videos} locked videos were found by their id"),
    }))
}

async fn update_one(tx: &mut MySqlConnection, id: &str, decision: &Decision) -> error::Result<()> {
    let mut query = QueryBuilder::<MySql>::new("UPDATE videos SET ");
    for (column, value) in &decision.set {
        query.push(column).push(" = ");
        match value {
            Value::Null => query.push("NULL"),
            Value::Integer(number) => query.push_bind(*number),
            Value::Text(text) => query.push_bind(text.clone()),
            Value::Real(real) => query.push_bind(real.parse::<f64>().ok()),
            Value::Blob(bytes) | Value::Bytes(bytes) => query.push_bind(bytes.clone()),
        };
        query.push(", ");
    }
    query.push("created_at = created_at, updated_at = updated_at WHERE id = ");
    query.push_bind(id.to_owned());
    query.build().execute(tx).await?;
    Ok(())
}
