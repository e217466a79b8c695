//! Locking one flag.

use std::time::Duration;

use reelshift_plan::Flag;
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, MySqlConnection};

use crate::error::{Error, Result};

/// Tries to lock a flag that is locked, with [`RETRY_DELAY`] between two: a second in all, in
/// which short transactions end.
const TRIES: u32 = 66;
const RETRY_DELAY: Duration = Duration::from_millis(15);

/// Locks a flag's row and reads it. A session that waits for a row makes later ones wait, and a
/// trigger may read this row in the middle of an application's write: so this tries without
/// waiting first, and waits only where the row is never free.
pub(crate) async fn lock(connection: &mut MySqlConnection, flag: Flag) -> Result<Option<MySqlRow>> {
    let lock = "SELECT enabled, rollout_percent, updated_by FROM reelshift_flags \
                WHERE name = ? FOR UPDATE";
    let no_wait = format!("{lock} NOWAIT");
    for attempt in 0..=TRIES {
        let sql = if attempt < TRIES { no_wait.as_str() } else { lock };
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(flag.into_str())
            .fetch_optional(&mut *connection)
            .await
            .map_err(Error::from);
        match row {
            Err(error) if error.is_locked() && attempt < TRIES => {
                tokio::time::sleep(RETRY_DELAY).await;
            }
            row => return row,
        }
    }
    Ok(None)
}
