//! What any dispatcher does for the queue: taking back, expiring, pruning; and what waits.

use std::time::Duration;

use reelshift_store::notifications::{DueNotifications, MAX_PER_CALL};
use sqlx::{MySql, QueryBuilder};

use super::claim::priorities;
use crate::connection::MySqlStore;
use crate::error::Result;
use crate::id_list;
use crate::timestamp::microseconds;

pub(super) async fn take_back(store: &MySqlStore, abandoned: Duration) -> Result<u64> {
    let lapsed = "SELECT notification_id FROM reelshift_notification_leases \
         WHERE leased_until < NOW(6) ORDER BY leased_until LIMIT ? FOR UPDATE SKIP LOCKED";
    let mut transaction = store.pool.begin().await?;
    let lapsed: Vec<String> =
        sqlx::query_scalar(lapsed).bind(MAX_PER_CALL as u64).fetch_all(&mut *transaction).await?;
    let mut taken = 0;
    if !lapsed.is_empty() {
        let mut query = QueryBuilder::<MySql>::new(
            "UPDATE realtime_notification_queue SET status = 'pending', \
               last_error = 'the dispatcher that had it fell silent' \
             WHERE status = 'processing' AND id IN ",
        );
        id_list::push(&mut query, &lapsed);
        taken = query.build().execute(&mut *transaction).await?.rows_affected();
        let mut query = QueryBuilder::<MySql>::new(
            "DELETE FROM reelshift_notification_leases WHERE notification_id IN ",
        );
        id_list::push(&mut query, &lapsed);
        query.build().execute(&mut *transaction).await?;
    }
    transaction.commit().await?;

    // As after a restore of an archive: the status came back, and the lease did not.
    let mut transaction = store.pool.begin().await?;
    let unleased: Vec<String> = sqlx::query_scalar(
        "SELECT q.id FROM realtime_notification_queue q FORCE INDEX (idx_notification_processing) \
         WHERE q.status = 'processing' AND q.updated_at < NOW() - INTERVAL ? MICROSECOND \
           AND NOT EXISTS (SELECT 1 FROM reelshift_notification_leases l \
             WHERE l.notification_id = q.id) \
         LIMIT ? FOR UPDATE SKIP LOCKED",
    )
    .bind(microseconds(abandoned))
    .bind(MAX_PER_CALL as u64)
    .fetch_all(&mut *transaction)
    .await?;
    if !unleased.is_empty() {
        let mut query = QueryBuilder::<MySql>::new(
            "UPDATE realtime_notification_queue SET status = 'pending', \
               last_error = 'it was being processed, and nobody had it' WHERE id IN ",
        );
        id_list::push(&mut query, &unleased);
        taken += query.build().execute(&mut *transaction).await?.rows_affected();
    }
    transaction.commit().await?;
    Ok(taken)
}

pub(super) async fn expire(store: &MySqlStore, within: Duration) -> Result<u64> {
    let mut transaction = store.pool.begin().await?;
    let over: Vec<String> = sqlx::query_scalar(
        "SELECT id FROM realtime_notification_queue FORCE INDEX (idx_notification_expiry) \
         WHERE expires_at > NOW() - INTERVAL ? MICROSECOND AND expires_at <= NOW() \
           AND status = 'pending' LIMIT ? FOR UPDATE SKIP LOCKED",
    )
    .bind(microseconds(within))
    .bind(MAX_PER_CALL as u64)
    .fetch_all(&mut *transaction)
    .await?;
    if over.is_empty() {
        return Ok(0);
    }
    let mut query = QueryBuilder::<MySql>::new(
        "UPDATE realtime_notification_queue SET status = 'expired' \
         WHERE status = 'pending' AND id IN ",
    );
    id_list::push(&mut query, &over);
    let expired = query.build().execute(&mut *transaction).await?.rows_affected();
    transaction.commit().await?;
    Ok(expired)
}

pub(super) async fn due(store: &MySqlStore) -> Result<DueNotifications> {
    let mut due = DueNotifications::default();
    for priority in priorities(store, "pending").await? {
        let (count, oldest): (i64, Option<f64>) = sqlx::query_as(
            "SELECT COUNT(*), MAX(TIMESTAMPDIFF(MICROSECOND, process_after, NOW(6)) / 1000000e0) \
             FROM (SELECT process_after FROM realtime_notification_queue \
               FORCE INDEX (idx_notification_processing) \
               WHERE status = 'pending' AND priority = ? AND process_after <= NOW() \
               ORDER BY process_after LIMIT ?) AS due",
        )
        .bind(priority)
        .bind(DueNotifications::MAX_COUNTED)
        .fetch_one(&store.pool)
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
        " FROM realtime_notification_queue FORCE INDEX (idx_notification_processing) \
          WHERE status = ? AND priority = ? AND process_after < NOW() - INTERVAL ? MICROSECOND \
            AND COALESCE(sent_at, updated_at, process_after) < NOW() - INTERVAL ? MICROSECOND \
            AND NOT EXISTS (SELECT 1 FROM reelshift_notification_outbox o \
              WHERE o.notification_id = realtime_notification_queue.id"
    };
}

/// The statuses that are pruned.
const ENDED: [&str; 2] = ["sent", "expired"];

pub(super) async fn prunable(store: &MySqlStore, older_than: Duration) -> Result<u64> {
    let age = microseconds(older_than);
    let mut count = 0;
    for status in ENDED {
        for priority in priorities(store, status).await? {
            let some: i64 = sqlx::query_scalar(concat!(
                "SELECT COUNT(*)",
                old!(),
                " AND o.published_at >= NOW(6) - INTERVAL ? MICROSECOND)"
            ))
            .bind(status)
            .bind(priority)
            .bind(age)
            .bind(age)
            .bind(age)
            .fetch_one(&store.pool)
            .await?;
            count += u64::try_from(some).unwrap_or(0);
        }
    }
    Ok(count)
}

pub(super) async fn prune(store: &MySqlStore, older_than: Duration, limit: u32) -> Result<u64> {
    let age = microseconds(older_than);
    let limit = limit.min(MAX_PER_CALL as u32);
    loop {
        let entries = prune_outbox(store, age, limit).await?;
        let notifications = prune_queue(store, age, limit).await?;
        if entries == 0 || notifications > 0 {
            return Ok(notifications);
        }
    }
}

/// The outbox loses its oldest entries first, so that nothing is missing behind the oldest
/// that is there.
async fn prune_outbox(store: &MySqlStore, age: i64, limit: u32) -> Result<u64> {
    let upto: Option<i64> = sqlx::query_scalar(
        "SELECT MAX(seq) FROM (SELECT seq, published_at FROM reelshift_notification_outbox \
           ORDER BY seq LIMIT ?) oldest WHERE published_at < NOW(6) - INTERVAL ? MICROSECOND",
    )
    .bind(limit)
    .bind(age)
    .fetch_one(&store.pool)
    .await?;
    let Some(upto) = upto else { return Ok(0) };
    let removed = sqlx::query("DELETE FROM reelshift_notification_outbox WHERE seq <= ? LIMIT ?")
        .bind(upto)
        .bind(limit)
        .execute(&store.pool)
        .await?;
    Ok(removed.rows_affected())
}

/// Notifications go after their entry of the outbox.
async fn prune_queue(store: &MySqlStore, age: i64, limit: u32) -> Result<u64> {
    for status in ENDED {
        for priority in priorities(store, status).await? {
            let mut transaction = store.pool.begin().await?;
            let old: Vec<String> = sqlx::query_scalar(concat!(
                "SELECT id",
                old!(),
                ") LIMIT ? FOR UPDATE SKIP LOCKED"
            ))
            .bind(status)
            .bind(priority)
            .bind(age)
            .bind(age)
            .bind(limit)
            .fetch_all(&mut *transaction)
            .await?;
            if old.is_empty() {
                continue;
            }
            let mut query =
                QueryBuilder::<MySql>::new("DELETE FROM realtime_notification_queue WHERE id IN ");
            id_list::push(&mut query, &old);
            query.build().execute(&mut *transaction).await?;
            transaction.commit().await?;
            return Ok(old.len() as u64);
        }
    }
    Ok(0)
}
