//! Reading the ledger's texts, numbers and times back as what they stand for.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use sqlx::Row as _;
use sqlx::mysql::MySqlRow;
use uuid::Uuid;

use crate::error::{Error, Result};

/// An id of reelshift's own tables.
pub(crate) fn uuid(row: &MySqlRow, column: &str) -> Result<Uuid> {
    parsed(row, column)
}

/// An id, or NULL.
pub(crate) fn optional_uuid(row: &MySqlRow, column: &str) -> Result<Option<Uuid>> {
    let id: Option<String> = row.try_get(column)?;
    id.map(|id| id.parse()).transpose().map_err(|why| Error::unreadable(column, why))
}

/// A text that names one of a type's values.
pub(crate) fn parsed<T>(row: &MySqlRow, column: &str) -> Result<T>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    let text: String = row.try_get(column)?;
    text.parse().map_err(|error| Error::unreadable(column, error))
}

/// A JSON text.
pub(crate) fn json<T: serde::de::DeserializeOwned>(text: &str, what: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::unreadable(what, error))
}

/// A count or a sum, which the server calls signed.
pub(crate) fn count(row: &MySqlRow, column: &str) -> Result<u64> {
    let count: i64 = row.try_get(column)?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// A column of unsigned numbers.
pub(crate) fn unsigned(row: &MySqlRow, column: &str) -> Result<u64> {
    Ok(row.try_get(column)?)
}

/// A time that the ledger wrote.
pub(crate) fn time(row: &MySqlRow, column: &str) -> Result<DateTime<Utc>> {
    Ok(row.try_get(column)?)
}

/// A time that the ledger wrote, or NULL.
pub(crate) fn optional_time(row: &MySqlRow, column: &str) -> Result<Option<DateTime<Utc>>> {
    Ok(row.try_get(column)?)
}
