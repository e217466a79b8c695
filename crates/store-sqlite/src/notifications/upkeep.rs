//! What any dispatcher does for the queue: taking back, expiring, pruning; and what waits.

use std::time::Duration;

use reelshift_store::notifications::{DueNotifications, MAX_PER_CALL};

use super::claim::priorities;
use crate::SqliteStore;
use crate::error::Result;
use crate::id_list::id_array;
use crate::timestamp::{ago, now};

pub(super) async fn take_back(store: &SqliteStore, abandoned: Duration) -> Result<u64> {
    let lapsed: Vec<String> = sqlx::query_scalar(concat!(
        "SELECT notification_id FROM reelshift_notification_leases WHERE leased_until < ",
        now!(),
        " ORDER BY leased_until LIMIT ?"
    ))
    .bind(MAX_PER_CALL as i64)
    .fetch_all(&store.readers)
    .await?;
    // As after a restore of an archive: the status came back, and the lease did not.
    let unleased: Vec<String> = sqlx::query_scalar(
        "SELECT q.id FROM realtime_notification_queue q INDEXED BY idx_notification_processing
         WHERE q.status = 'processing' AND q.updated_at < datetime('now', ?)
             AND NOT EXISTS (SELECT 1 FROM reelshift_notification_leases l
                 WHERE l.notification_id = q.id) LIMIT ?",
    )
    .bind(ago(abandoned))
    .bind(MAX_PER_CALL as i64)
    .fetch_all(&store.readers)
    .await?;
    if lapsed.is_empty() && unleased.is_empty() {
        return Ok(0);
    }
    let mut tx = store.write().await?;
    // What was seen may have changed since.
    let taken = sqlx::query(concat!(
        "UPDATE realtime_notification_queue SET status = 'pending',
             last_error = 'the dispatcher that had it fell silent'
         WHERE status = 'processing' AND id IN (
             SELECT notification_id FROM reelshift_notification_leases
             WHERE notification_id IN (SELECT value FROM json_each(?)) AND leased_until < ",
        now!(),
        ")"
    ))
    .bind(id_array(&lapsed))
    .execute(&mut *tx)
    .await?
    .rows_affected();
    sqlx::query(concat!(
        "DELETE FROM reelshift_notification_leases
         WHERE notification_id IN (SELECT value FROM json_each(?)) AND leased_until < ",
        now!()
    ))
    .bind(id_array(&lapsed))
    .execute(&mut *tx)
    .await?;
    let found = sqlx::query(
        "UPDATE realtime_notification_queue SET status = 'pending',
             last_error = 'it was being processed, and nobody had it'
         WHERE status = 'processing' AND id IN (SELECT value FROM json_each(?))
             AND id NOT IN (SELECT notification_id FROM reelshift_notification_leases)",
    )
    .bind(id_array(&unleased))
    .execute(&mut *tx)
    .await?
    .rows_affected();
    tx.commit().await?;
    Ok(taken + found)
}

pub(super) async fn expire(store: &SqliteStore, within: Duration) -> Result<u64> {
    let over: Vec<String> = sqlx::query_scalar(
        "SELECT id FROM realtime_notification_queue INDEXED BY idx_notification_expiry
         WHERE expires_at > datetime('now', ?) AND expires_at <= datetime('now')
             AND status = 'pending' LIMIT ?",
    )
    .bind(ago(within))
    .bind(MAX_PER_CALL as i64)
    .fetch_all(&store.readers)
    .await?;
    if over.is_empty() {
        return Ok(0);
    }
    let expired = sqlx::query(
        "UPDATE realtime_notification_queue SET status = 'expired'
         WHERE status = 'pending' AND id IN (SELECT value FROM json_each(?))",
    )
    .bind(id_array(&over))
    .execute(&store.writer)
    .await?;
    Ok(expired.rows_affected())
}

pub(super) async fn due(store: &SqliteStore) -> Result<DueNotifications> {
    let mut due = DueNotifications::default();
    for priority in priorities(store, "pending").await? {
        let (count, oldest): (i64, Option<f64>) = sqlx::query_as(
            "SELECT COUNT(*), MAX((julianday('now') - julianday(process_after)) * 86400.0)
             FROM (SELECT process_after FROM realtime_notification_queue
                 INDEXED BY idx_notification_processing
                 WHERE status = 'pending' AND priority = ? AND process_after <= datetime('now')
                 ORDER BY process_after LIMIT ?)",
        )
        .bind(priority)
        .bind(DueNotifications::MAX_COUNTED)
        .fetch_one(&store.readers)
        .await?;
        due.count += u64::try_from(count).unwrap_or_default();
        due.oldest_seconds = due.oldest_seconds.max(oldest.unwrap_or_default());
    }
    Ok(due)
}

/// What ended long enough ago, of one status and priority. `process_after`, by which the
/// index finds it, is when it was last due, which is never later than its end. The caller
/// ends the last condition.
macro_rules! old {
    () => {
        " FROM realtime_notification_queue q INDEXED BY idx_notification_processing
          WHERE q.status = ?1 AND q.priority = ?2 AND q.process_after < datetime('now', ?3)
              AND COALESCE(q.sent_at, q.updated_at, q.process_after) < datetime('now', ?3)
              AND NOT EXISTS (SELECT 1 FROM reelshift_notification_outbox o
                  WHERE o.notification_id = q.id"
    };
}

/// The statuses that are pruned.
const ENDED: [&str; 2] = ["sent", "expired"];

pub(super) async fn prunable(store: &SqliteStore, older_than: Duration) -> Result<u64> {
    let mut count = 0;
    for status in ENDED {
        for priority in priorities(store, status).await? {
            let some: i64 = sqlx::query_scalar(concat!(
                "SELECT COUNT(*)",
                old!(),
                " AND o.published_at >= strftime('%Y-%m-%d %H:%M:%f', 'now', ?3))"
            ))
            .bind(status)
            .bind(priority)
            .bind(ago(older_than))
            .fetch_one(&store.readers)
            .await?;
            count += u64::try_from(some).unwrap_or(0);
        }
    }
    Ok(count)
}

pub(super) async fn prune(store: &SqliteStore, older_than: Duration, limit: u32) -> Result<u64> {
    let age = ago(older_than);
    loop {
        let entries = prune_outbox(store, &age, limit).await?;
        let notifications = prune_queue(store, &age, limit).await?;
        if entries == 0 || notifications > 0 {
            return Ok(notifications);
        }
    }
}

/// The outbox loses its oldest entries first, so that nothing is missing behind the oldest
/// that is there.
async fn prune_outbox(store: &SqliteStore, age: &str, limit: u32) -> Result<u64> {
    let upto: Option<i64> = sqlx::query_scalar(
        "SELECT MAX(seq) FROM (SELECT seq, published_at FROM reelshift_notification_outbox
             ORDER BY seq LIMIT ?) WHERE published_at < strftime('%Y-%m-%d %H:%M:%f', 'now', ?)",
    )
    .bind(limit)
    .bind(age)
    .fetch_one(&store.readers)
    .await?;
    let Some(upto) = upto else { return Ok(0) };
    let removed = sqlx::query("DELETE FROM reelshift_notification_outbox WHERE seq <= ?")
        .bind(upto)
        .execute(&store.writer)
        .await?;
    Ok(removed.rows_affected())
}

/// Notifications go after their entry of the outbox.
async fn prune_queue(store: &SqliteStore, age: &str, limit: u32) -> Result<u64> {
    for status in ENDED {
        for priority in priorities(store, status).await? {
            let old: Vec<String> = sqlx::query_scalar(concat!("SELECT q.id", old!(), ") LIMIT ?4"))
                .bind(status)
                .bind(priority)
                .bind(age)
                .bind(limit)
                .fetch_all(&store.readers)
                .await?;
            if old.is_empty() {
                continue;
            }
            let removed = sqlx::query(
                "DELETE FROM realtime_notification_queue
                 WHERE status = ?1 AND id IN (SELECT value FROM json_each(?2))",
            )
            .bind(status)
            .bind(id_array(&old))
            .execute(&store.writer)
            .await?;
            return Ok(removed.rows_affected());
        }
    }
    Ok(0)
}
