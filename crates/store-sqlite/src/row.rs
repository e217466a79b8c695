//! Reading the ledger's texts, numbers and times back as what they stand for.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::timestamp;

/// An id of reelshift's own tables.
pub(crate) fn uuid(row: &SqliteRow, column: &str) -> Result<Uuid> {
    parsed(row, column)
}

/// An id, or NULL.
pub(crate) fn optional_uuid(row: &SqliteRow, column: &str) -> Result<Option<Uuid>> {
    let id: Option<String> = row.try_get(column)?;
    id.map(|id| id.parse()).transpose().map_err(|why| Error::unreadable(column, why))
}

/// A text that names one of a type's values.
pub(crate) fn parsed<T>(row: &SqliteRow, column: &str) -> Result<T>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    let text: String = row.try_get(column)?;
    text.parse().map_err(|why| Error::unreadable(column, why))
}

/// A JSON text.
pub(crate) fn json<T: serde::de::DeserializeOwned>(text: &str, what: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|why| Error::unreadable(what, why))
}

/// A text of the platform's as people read it, or NULL: SQLite stores any bytes as text.
pub(crate) fn platform_text(row: &SqliteRow, column: &str) -> Result<Option<String>> {
    let bytes: Option<Vec<u8>> = row.try_get_unchecked(column)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// A count, a sum or a number that is never negative: SQLite's integers are signed.
pub(crate) fn count(row: &SqliteRow, column: &str) -> Result<u64> {
    let number: i64 = row.try_get(column)?;
    Ok(u64::try_from(number).unwrap_or(0))
}

/// A column of unsigned numbers.
pub(crate) fn unsigned(row: &SqliteRow, column: &str) -> Result<u64> {
    count(row, column)
}

/// A time that the ledger wrote.
pub(crate) fn time(row: &SqliteRow, column: &str) -> Result<DateTime<Utc>> {
    optional_time(row, column)?.ok_or_else(|| Error::unreadable(column, "it is NULL"))
}

/// A time that the ledger wrote, or NULL.
pub(crate) fn optional_time(row: &SqliteRow, column: &str) -> Result<Option<DateTime<Utc>>> {
    let text: Option<String> = row.try_get(column)?;
    text.map(|text| {
        let unreadable = || Error::unreadable(column, format_args!("`{text}` is no time"));
        timestamp::parse(&text).ok_or_else(unreadable)
    })
    .transpose()
}
