//! `reelshift_lost_leases`: which batches a silent worker had, for people who ask what
//! became of them.

use reelshift_store::report::LostLease;
use sqlx::Row as _;

use crate::dialect::{Connection, FORGET_LOST_LEASES, minutes_ago, now};
use crate::error::Result;
use crate::row;

/// Writes down what `worker` leases, and forgets what is older than a day. The read is a plain
/// one: it locks no batch.
pub(crate) async fn record(connection: &mut Connection, worker: &str) -> Result<()> {
    sqlx::query(concat!(
        "INSERT INTO reelshift_lost_leases (batch_seq, worker_id, lost_at) SELECT seq, leased_by, ",
        now!(),
        " FROM reelshift_batches WHERE leased_by = ? AND state = 'leased' ORDER BY seq"
    ))
    .bind(worker)
    .execute(&mut *connection)
    .await?;
    sqlx::query(FORGET_LOST_LEASES).execute(connection).await?;
    Ok(())
}

/// Those of the last ten minutes, newest first. A batch that was lost has no `leased_at` until
/// somebody claims it; times of the same instant, or of a clock that was set back, tell nothing.
pub(crate) async fn newest(connection: &mut Connection) -> Result<Vec<LostLease>> {
    let rows = sqlx::query(concat!(
        "SELECT b.id, l.batch_seq, l.worker_id, l.lost_at, b.state, \
           CASE WHEN b.leased_at IS NOT NULL OR b.claimed_by <> l.worker_id \
             THEN b.claimed_by END AS taken_over_by \
         FROM reelshift_lost_leases l JOIN reelshift_batches b ON b.seq = l.batch_seq \
         WHERE l.lost_at > ",
        minutes_ago!("10"),
        " ORDER BY l.seq DESC LIMIT ?"
    ))
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
                lost_at: row::time(row, "lost_at")?,
                taken_over_by: taken_over_by.and_then(|id| id.parse().ok()),
                state: row::parsed(row, "state")?,
            })
        })
        .collect()
}
