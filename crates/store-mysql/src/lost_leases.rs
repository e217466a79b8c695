//! `reelshift_lost_leases`: which batches a silent worker had, for people who ask what
//! became of them.

use reelshift_store::report::LostLease;
use sqlx::{MySqlConnection, Row as _};
use uuid::Uuid;

use crate::error::Result;
use crate::row;

/// Writes down what `worker` leases, and forgets what is older than a day. A plain read
/// under READ COMMITTED: it locks no batch.
pub(crate) async fn record(connection: &mut MySqlConnection, worker: Uuid) -> Result<()> {
    sqlx::query(
        "INSERT INTO reelshift_lost_leases (batch_seq, worker_id) \
         SELECT seq, leased_by FROM reelshift_batches WHERE leased_by = ? ORDER BY seq",
    )
    .bind(worker.to_string())
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "DELETE FROM reelshift_lost_leases WHERE lost_at < NOW(6) - INTERVAL 1 DAY \
         ORDER BY lost_at LIMIT 1000",
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Those of the last ten minutes, newest first. A batch that was lost has no `leased_at` until
/// somebody claims it; times of the same instant, or of a clock that was set back, tell nothing.
pub(crate) async fn newest(connection: &mut MySqlConnection) -> Result<Vec<LostLease>> {
    let rows = sqlx::query(
        "SELECT b.id, l.batch_seq, l.worker_id, l.lost_at, b.state, \
           CASE WHEN b.leased_at IS NOT NULL OR b.claimed_by <> l.worker_id \
             THEN b.claimed_by END AS taken_over_by \
         FROM reelshift_lost_leases l JOIN reelshift_batches b ON b.seq = l.batch_seq \
         WHERE l.lost_at > NOW(6) - INTERVAL 10 MINUTE ORDER BY l.seq DESC LIMIT ?",
    )
    .bind(LostLease::SHOWN)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let taken_over_by: Option<String> = row.try_get("taken_over_by")?;
            Ok(LostLease {
                batch: row::uuid(row, "id")?,
                batch_seq: row.try_get("batch_seq")?,
                worker: row::uuid(row, "worker_id")?,
                lost_at: row.try_get("lost_at")?,
                taken_over_by: taken_over_by.and_then(|id| id.parse().ok()),
                state: row::named(row, "state")?,
            })
        })
        .collect()
}
