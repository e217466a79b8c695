//! Claiming: for each priority that is there, one walk along
//! `idx_notification_processing` from what has been due longest. Its cost is what it
//! claims, whatever is sent, and whatever is not due yet.

use std::time::Duration;

use reelshift_store::notifications::{MOST, Notification, NotificationClaim};
use sqlx::{MySql, MySqlConnection, QueryBuilder, Row as _};

use super::{columns, read};
use crate::connection::MySqlStore;
use crate::error::Result;
use crate::id_list;
use crate::lease::new_token;
use crate::runs::microseconds;

/// Walks in one claim at most. What is met and not due is put off, 256 at a time; many that
/// are scheduled for later must not make one claim long.
const WALKS: usize = 16;

/// The priorities of notifications of one status, ascending. Each is one step down the
/// index behind the one before; a DISTINCT would read them all.
pub(super) const PRIORITIES: &str = "WITH RECURSIVE p (priority) AS ( \
       (SELECT priority FROM realtime_notification_queue FORCE INDEX (idx_notification_processing) \
        WHERE status = ? ORDER BY priority LIMIT 1) \
       UNION ALL \
       SELECT (SELECT q.priority \
          FROM realtime_notification_queue q FORCE INDEX (idx_notification_processing) \
          WHERE q.status = ? AND q.priority > p.priority ORDER BY q.priority LIMIT 1) \
       FROM p WHERE p.priority IS NOT NULL) \
     SELECT priority FROM p WHERE priority IS NOT NULL";

pub(super) async fn priorities(store: &MySqlStore, status: &str) -> Result<Vec<i32>> {
    Ok(sqlx::query_scalar(PRIORITIES).bind(status).bind(status).fetch_all(&store.pool).await?)
}

pub(super) async fn claim(
    store: &MySqlStore,
    dispatcher: &str,
    lease: Duration,
    max: usize,
) -> Result<NotificationClaim> {
    let priorities = priorities(store, "pending").await?;
    let token = new_token();
    let most = max.min(MOST);
    let mut notifications: Vec<Notification> = Vec::new();
    let mut transaction = store.pool.begin().await?;
    let mut walks = 0;
    for priority in priorities {
        loop {
            let wanted = most - notifications.len();
            if wanted == 0 || walks == WALKS {
                break;
            }
            walks += 1;
            let due = lock_due(&mut transaction, priority, wanted).await?;
            expire(&mut transaction, &due.over).await?;
            put_off(&mut transaction, &due.later).await?;
            lease_all(&mut transaction, &due.ready, dispatcher, token, lease).await?;
            let set_aside = due.over.len() + due.later.len();
            let all = set_aside + due.ready.len() < wanted;
            notifications.extend(due.ready);
            if all || set_aside == 0 {
                break;
            }
        }
    }
    let at = sqlx::query_scalar("SELECT NOW(6)").fetch_one(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(NotificationClaim { token, at, notifications })
}

/// What a walk met.
#[derive(Default)]
struct Due {
    ready: Vec<Notification>,
    over: Vec<String>,
    /// Due by `process_after`, and not by `scheduled_at` or `next_retry_at`.
    later: Vec<String>,
}

pub(super) const DUE: &str = concat!(
    "SELECT ",
    columns!(),
    ", COALESCE(q.expires_at <= NOW(), FALSE) AS is_over, \
       COALESCE(q.scheduled_at > NOW(), FALSE) OR COALESCE(q.next_retry_at > NOW(), FALSE) \
         AS is_later \
     FROM realtime_notification_queue q FORCE INDEX (idx_notification_processing) \
     WHERE q.status = 'pending' AND q.priority = ? \
       AND (q.process_after IS NULL OR q.process_after <= NOW()) \
     ORDER BY q.process_after LIMIT ? FOR UPDATE SKIP LOCKED"
);

async fn lock_due(connection: &mut MySqlConnection, priority: i32, wanted: usize) -> Result<Due> {
    let rows =
        sqlx::query(DUE).bind(priority).bind(wanted as u64).fetch_all(connection).await?;
    let mut due = Due::default();
    for row in &rows {
        if row.try_get("is_over")? {
            due.over.push(row.try_get("id")?);
        } else if row.try_get("is_later")? {
            due.later.push(row.try_get("id")?);
        } else {
            due.ready.push(read(row)?);
        }
    }
    Ok(due)
}

async fn expire(connection: &mut MySqlConnection, ids: &[String]) -> Result<()> {
    update(connection, "status = 'expired'", ids).await
}

async fn put_off(connection: &mut MySqlConnection, ids: &[String]) -> Result<()> {
    let due = "process_after = GREATEST(COALESCE(scheduled_at, NOW()), COALESCE(next_retry_at, NOW()))";
    update(connection, due, ids).await
}

/// Changes rows that this transaction holds.
async fn update(connection: &mut MySqlConnection, set: &str, ids: &[String]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let mut query = QueryBuilder::<MySql>::new("UPDATE realtime_notification_queue SET ");
    query.push(set).push(" WHERE id IN ");
    id_list::push(&mut query, ids);
    query.build().execute(connection).await?;
    Ok(())
}

async fn lease_all(
    connection: &mut MySqlConnection,
    notifications: &[Notification],
    dispatcher: &str,
    token: i64,
    lease: Duration,
) -> Result<()> {
    if notifications.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = notifications.iter().map(|one| one.id.clone()).collect();
    let processing = "status = 'processing', process_after = COALESCE(process_after, NOW())";
    update(connection, processing, &ids).await?;
    let mut query = QueryBuilder::<MySql>::new(
        "INSERT INTO reelshift_notification_leases \
           (notification_id, token, dispatcher, leased_until) ",
    );
    query.push_values(id_list::padded(&ids), |mut values, id| {
        values
            .push_bind(id.clone())
            .push_bind(token)
            .push_bind(dispatcher.to_owned())
            .push("NOW(6) + INTERVAL ")
            .push_bind_unseparated(microseconds(lease))
            .push_unseparated(" MICROSECOND");
    });
    // Whoever had it before and did not say so has lost it.
    query.push(
        " ON DUPLICATE KEY UPDATE token = VALUES(token), dispatcher = VALUES(dispatcher), \
          leased_until = VALUES(leased_until)",
    );
    query.build().execute(connection).await?;
    Ok(())
}

pub(super) async fn extend(store: &MySqlStore, token: i64, lease: Duration) -> Result<u64> {
    let extended = sqlx::query(
        "UPDATE reelshift_notification_leases \
         SET leased_until = NOW(6) + INTERVAL ? MICROSECOND WHERE token = ?",
    )
    .bind(microseconds(lease))
    .bind(token)
    .execute(&store.pool)
    .await?;
    Ok(extended.rows_affected())
}
