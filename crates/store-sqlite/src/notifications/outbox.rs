//! The outbox: what was published, in the one order in which all replicas deliver it.
//! SQLite has one writer at a time, so that sequence numbers become visible in their order.

use std::collections::HashSet;

use reelshift_store::notifications::{MAX_PER_CALL, OutboxSpan, PayloadBudget, Published};
use sqlx::{Row, SqliteConnection};

use super::ending::hold;
use super::payload;
use crate::SqliteStore;
use crate::error::Result;
use crate::id_list::id_array;
use crate::timestamp::now;

pub(super) async fn publish(
    store: &SqliteStore,
    token: i64,
    ids: &[String],
    sent: bool,
) -> Result<u64> {
    let mut published = 0;
    for ids in ids.chunks(MAX_PER_CALL) {
        let mut tx = store.write().await?;
        let held = hold(&mut tx, token, ids).await?;
        if sent {
            end_sent(&mut tx, &held).await?;
        }
        append(&mut tx, &held).await?;
        tx.commit().await?;
        published += held.len() as u64;
    }
    Ok(published)
}

async fn end_sent(tx: &mut SqliteConnection, ids: &[String]) -> Result<()> {
    for sql in [
        "UPDATE realtime_notification_queue SET status = 'sent', sent_at = CURRENT_TIMESTAMP,
             attempts = COALESCE(attempts, 0) + 1, next_retry_at = NULL
         WHERE status = 'processing' AND id IN (SELECT value FROM json_each(?))",
        "DELETE FROM reelshift_notification_leases
         WHERE notification_id IN (SELECT value FROM json_each(?))",
    ] {
        sqlx::query(sql).bind(id_array(ids)).execute(&mut *tx).await?;
    }
    Ok(())
}

async fn append(tx: &mut SqliteConnection, ids: &[String]) -> Result<()> {
    let there: Vec<String> = sqlx::query_scalar(
        "SELECT notification_id FROM reelshift_notification_outbox
         WHERE notification_id IN (SELECT value FROM json_each(?))",
    )
    .bind(id_array(ids))
    .fetch_all(&mut *tx)
    .await?;
    let there: HashSet<String> = there.into_iter().collect();
    let new: Vec<String> = ids.iter().filter(|id| !there.contains(*id)).cloned().collect();
    if new.is_empty() {
        return Ok(());
    }
    let count = i64::try_from(new.len()).unwrap_or(i64::MAX);
    let last: i64 = sqlx::query_scalar(
        "INSERT INTO reelshift_notification_position (id, seq) VALUES (1, ?)
         ON CONFLICT (id) DO UPDATE SET seq = seq + excluded.seq RETURNING seq",
    )
    .bind(count)
    .fetch_one(&mut *tx)
    .await?;
    sqlx::query(concat!(
        "INSERT INTO reelshift_notification_outbox (seq, notification_id, published_at)
         SELECT ? + key + 1, value, ",
        now!(),
        " FROM json_each(?)"
    ))
    .bind(last - count)
    .bind(id_array(&new))
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn span(store: &SqliteStore) -> Result<OutboxSpan> {
    let row = sqlx::query(
        "SELECT (SELECT MIN(seq) FROM reelshift_notification_outbox) AS oldest,
             COALESCE((SELECT seq FROM reelshift_notification_position), 0) AS newest",
    )
    .fetch_one(&store.readers)
    .await?;
    let oldest: Option<i64> = row.try_get("oldest")?;
    let newest: i64 = row.try_get("newest")?;
    Ok(OutboxSpan { newest, pruned_upto: oldest.map_or(newest, |oldest| oldest - 1) })
}

const AFTER: &str = "SELECT o.seq, q.id FROM reelshift_notification_outbox o
     CROSS JOIN realtime_notification_queue q ON q.id = o.notification_id
     WHERE o.seq > ? ORDER BY o.seq LIMIT ?";

pub(super) async fn after(store: &SqliteStore, seq: i64, limit: u32) -> Result<Vec<Published>> {
    // One snapshot for all three statements.
    let mut tx = store.readers.begin().await?;
    let rows: Vec<(i64, String)> =
        sqlx::query_as(AFTER).bind(seq).bind(limit).fetch_all(&mut *tx).await?;
    let (seqs, ids): (Vec<i64>, Vec<String>) = rows.into_iter().unzip();
    let fitting = payload::fitting(&mut tx, &ids, &mut PayloadBudget::default()).await?;
    let found = payload::read_all(&mut tx, fitting).await?;
    let published = |(seq, notification)| Published { seq, notification };
    Ok(seqs.into_iter().zip(found).map(published).collect())
}
