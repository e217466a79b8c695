//! Whether one server answers everything on a connection.

use reelshift_store::StoreError;
use sqlx::{Executor, MySqlConnection, Row as _};

use crate::error::{Error, Result};

/// A proxy that moves reads moves what reads a table. Text, as statements that a proxy keeps
/// prepared may stay with the server that prepared them.
const WHO_ANSWERS: &str = "SELECT CONCAT(@@hostname, ':', @@port, ', server id ', @@server_id) \
     FROM information_schema.SCHEMATA LIMIT 1";

/// The primary may be one of those that reads are moved to.
const READS: u32 = 3;

/// Checks that reads are answered by the server that answers transactions.
///
/// # Errors
/// `Refused` where a proxy moves reads elsewhere: what was just written may not be there yet,
/// and nothing of this would say so.
pub(super) async fn require_one_server(
    connection: &mut MySqlConnection,
    place: &str,
) -> Result<()> {
    connection.execute("START TRANSACTION").await?;
    let primary = who_answers(connection).await?;
    connection.execute("ROLLBACK").await?;
    for _ in 0..READS {
        let reader = who_answers(connection).await?;
        if reader != primary {
            return Err(Error::Store(StoreError::Refused(format!(
                "{place} is a proxy that moves reads to another server ({reader}) than transactions \
                 ({primary}), where what was just written may be missing: give the address of the primary, \
                 or one at which the proxy moves nothing"
            ))));
        }
    }
    Ok(())
}

async fn who_answers(connection: &mut MySqlConnection) -> Result<String> {
    let row = connection.fetch_one(WHO_ANSWERS).await?;
    Ok(row.try_get_unchecked(0)?)
}
