//! Rows of `reelshift_workers`, as workers come, are lost and leave.

use uuid::Uuid;

use crate::dialect::{Connection, now};
use crate::error::Result;
use crate::lost_leases;

/// Makes a worker live again; `false` where there is none.
pub(crate) async fn revive(connection: &mut Connection, worker: Uuid) -> Result<bool> {
    let sql = concat!(
        "UPDATE reelshift_workers SET state = 'live', last_seen_at = ",
        now!(),
        " WHERE id = ?"
    );
    let updated = sqlx::query(sql).bind(worker.to_string()).execute(connection).await?;
    Ok(updated.rows_affected() > 0)
}

/// Says that a worker has left.
pub(crate) async fn set_left(connection: &mut Connection, worker: Uuid) -> Result<()> {
    let sql = concat!(
        "UPDATE reelshift_workers SET state = 'left', doing = '', last_seen_at = ",
        now!(),
        " WHERE id = ?"
    );
    sqlx::query(sql).bind(worker.to_string()).execute(connection).await?;
    Ok(())
}

/// Says of a live worker that it is lost, and which batches it had.
pub(crate) async fn set_lost(connection: &mut Connection, worker: Uuid) -> Result<()> {
    sqlx::query("UPDATE reelshift_workers SET state = 'lost' WHERE id = ? AND state = 'live'")
        .bind(worker.to_string())
        .execute(&mut *connection)
        .await?;
    lost_leases::record(connection, &worker.to_string()).await
}
