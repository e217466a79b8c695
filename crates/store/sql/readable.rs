//! Rows of the ledger that this version can read. One that a later version wrote, or somebody's
//! hand, keeps nobody from the others.

use sqlx::Row as _;

use crate::dialect::Row;
use crate::error::Result;

/// What `read` makes of each row; those of which it makes nothing are in `unreadable`, with
/// `table` and the value of its column `key`.
pub(crate) fn readable<T>(
    rows: &[Row],
    (table, key): (&str, &str),
    read: impl Fn(&Row) -> Result<T>,
    unreadable: &mut Vec<String>,
) -> Result<Vec<T>> {
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        match read(row) {
            Ok(one) => all.push(one),
            Err(error) => {
                let key: String = row.try_get(key)?;
                unreadable.push(error.unreadable_row(table, &key)?);
            }
        }
    }
    Ok(all)
}

/// As [`readable`], with a line of the log for each row that cannot be read.
pub(crate) fn readable_only<T>(
    rows: &[Row],
    table: (&str, &str),
    read: impl Fn(&Row) -> Result<T>,
) -> Result<Vec<T>> {
    let mut unreadable = Vec::new();
    let all = readable(rows, table, read, &mut unreadable)?;
    for row in unreadable {
        tracing::warn!(row, "a row of the ledger cannot be read: it is left alone");
    }
    Ok(all)
}
