//! `reelshift_lost_leases`: which batches a silent worker had, for people who ask what
//! became of them.

use reelshift_store::report::LostLease;
use sqlx::{Row, SqliteConnection};

use crate::error::Outcome;
use crate::runs;
use crate::time::{self, now};

/// Writes down what `worker` leases, and forgets what is older than a day.
pub(crate) async fn record(tx: &mut SqliteConnection, worker: &str) -> Outcome<()> {
    sqlx::query(concat!(
        "INSERT INTO reelshift_lost_leases (batch_seq, worker_id, lost_at)
         SELECT seq, leased_by, ",
        now!(),
        " FROM reelshift_batches WHERE leased_by = ? AND state = 'leased' ORDER BY seq"
    ))
    .bind(worker)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "DELETE FROM reelshift_lost_leases WHERE seq IN (
             SELECT seq FROM reelshift_lost_leases
             WHERE lost_at < strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 day')
             ORDER BY lost_at LIMIT 1000)",
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Those of the last ten minutes, newest first. A batch that was lost has no `leased_at` until
/// somebody claims it; times of the same instant, or of a clock that was set back, tell nothing.
pub(crate) async fn newest(tx: &mut SqliteConnection) -> Outcome<Vec<LostLease>> {
    let rows = sqlx::query(
        "SELECT b.id, l.batch_seq, l.worker_id, l.lost_at, b.state,
             CASE WHEN b.leased_at IS NOT NULL OR b.claimed_by <> l.worker_id
                 THEN b.claimed_by END AS taken_over_by
         FROM reelshift_lost_leases l JOIN reelshift_batches b ON b.seq = l.batch_seq
         WHERE l.lost_at > strftime('%Y-%m-%d %H:%M:%f', 'now', '-10 minutes')
         ORDER BY l.seq DESC LIMIT ?",
    )
    .bind(LostLease::SHOWN)
    .fetch_all(tx)
    .await?;
    rows.iter()
        .map(|row| {
            let taken_over_by: Option<String> = row.try_get("taken_over_by")?;
            Ok(LostLease {
                batch: runs::uuid(row, "id")?,
                batch_seq: row.try_get("batch_seq")?,
                worker: runs::uuid(row, "worker_id")?,
                lost_at: time::read(row, "lost_at")?,
                taken_over_by: taken_over_by.and_then(|id| id.parse().ok()),
                state: runs::parsed(row, "state")?,
            })
        })
        .collect()
}
