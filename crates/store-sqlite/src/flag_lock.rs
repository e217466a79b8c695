//! Reading one flag before it is written. The transaction has the whole file to itself.

use reelshift_plan::Flag;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::error::Result;

/// The flag's row.
pub(crate) async fn lock(
    connection: &mut SqliteConnection,
    flag: Flag,
) -> Result<Option<SqliteRow>> {
    Ok(sqlx::query(
        "SELECT enabled, rollout_percent, updated_by FROM reelshift_flags WHERE name = ?",
    )
    .bind(flag.into_str())
    .fetch_optional(connection)
    .await?)
}
