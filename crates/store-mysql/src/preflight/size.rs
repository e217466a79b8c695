//! How large `videos` is.

use async_trait::async_trait;
use reelshift_store::preflight::{Finding, TableSize};
use sqlx::{MySqlConnection, Row as _};

use super::CheckContext;
use crate::error::Result;
use crate::row;

/// Up to this many rows, counting them takes well below a second.
const CHEAP: u64 = 1_000_000;

pub(super) struct Check;

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "size"
    }

    fn refuses(&self) -> bool {
        false
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        Ok(judge(&read(context.connection).await?))
    }
}

fn judge(size: &TableSize) -> Finding {
    let about = if size.exact { "" } else { "about " };
    let bytes = size.bytes.unwrap_or(0).div_ceil(1024 * 1024);
    Finding::ok(format!("table videos has {about}{} rows in {bytes} MiB", size.rows))
}

/// The server's estimate of rows, and the bytes of the table with its indexes.
pub(super) async fn estimate(connection: &mut MySqlConnection) -> Result<(u64, u64)> {
    let row = sqlx::query(
        "SELECT CAST(COALESCE(TABLE_ROWS, 0) AS SIGNED) AS estimate, \
           CAST(COALESCE(DATA_LENGTH + INDEX_LENGTH, 0) AS SIGNED) AS bytes \
         FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'videos'",
    )
    .fetch_one(connection)
    .await?;
    Ok((row::count(&row, "estimate")?, row::count(&row, "bytes")?))
}

pub(super) async fn read(connection: &mut MySqlConnection) -> Result<TableSize> {
    let (rows, bytes) = estimate(connection).await?;
    if rows > CHEAP {
        return Ok(TableSize {
            rows,
            exact: false,
            bytes: Some(bytes),
            files: None,
            file_bytes: None,
        });
    }
    let counted = sqlx::query(
        "SELECT COUNT(*) AS counted, COUNT(CASE WHEN file_path <> '' THEN 1 END) AS files, \
           CAST(COALESCE(SUM(CASE WHEN file_path <> '' THEN GREATEST(file_size, 0) END), 0) AS SIGNED) \
             AS file_bytes \
         FROM videos",
    )
    .fetch_one(connection)
    .await?;
    Ok(TableSize {
        rows: row::count(&counted, "counted")?,
        exact: true,
        bytes: Some(bytes),
        files: Some(row::count(&counted, "files")?),
        file_bytes: Some(counted.try_get::<i64, _>("file_bytes")?.try_into().unwrap_or(0)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_is_called_one() {
        let size =
            |exact| TableSize { rows: 7, exact, bytes: Some(1), files: None, file_bytes: None };
        assert_eq!(judge(&size(false)).says, "table videos has about 7 rows in 1 MiB");
        assert_eq!(judge(&size(true)).says, "table videos has 7 rows in 1 MiB");
    }
}
