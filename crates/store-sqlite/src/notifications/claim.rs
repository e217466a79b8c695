//! Claiming: for each priority that is there, one walk along
//! `idx_notification_processing` from what has been due longest. Its cost is what it
//! claims, whatever is sent, and whatever is not due yet.

use std::time::Duration;

use reelshift_store::ledger::new_token;
use reelshift_store::notifications::{MAX_PER_CALL, NotificationClaim, PayloadBudget};
use sqlx::{Row, SqliteConnection};

use super::payload;
use crate::error::Result;
use crate::id_list::id_array;
use crate::timestamp::{hence, now};
use crate::{SqliteStore, row};

/// Walks in one claim at most. What is met and not due is put off, 256 at a time; many that
/// are scheduled for later must not make one claim long.
const WALKS: usize = 16;

/// The priorities of notifications of one status, ascending. Each is one step down the
/// index behind the one before; a DISTINCT would read them all.
pub(super) const PRIORITIES: &str = "WITH RECURSIVE p (priority) AS (
         SELECT * FROM (SELECT priority FROM realtime_notification_queue
             INDEXED BY idx_notification_processing WHERE status = ?1 ORDER BY priority LIMIT 1)
         UNION ALL
         SELECT (SELECT q.priority FROM realtime_notification_queue q
             INDEXED BY idx_notification_processing
             WHERE q.status = ?1 AND q.priority > p.priority ORDER BY q.priority LIMIT 1)
         FROM p WHERE p.priority IS NOT NULL)
     SELECT priority FROM p WHERE priority IS NOT NULL";

pub(super) async fn priorities(store: &SqliteStore, status: &str) -> Result<Vec<i32>> {
    Ok(sqlx::query_scalar(PRIORITIES).bind(status).fetch_all(&store.readers).await?)
}

pub(super) async fn claim(
    store: &SqliteStore,
    dispatcher: &str,
    lease: Duration,
    max: usize,
) -> Result<NotificationClaim> {
    // Idle dispatchers ask all the time: they must not take the write lock.
    let mut waiting = Vec::new();
    for priority in priorities(store, "pending").await? {
        if any_due(store, priority).await? {
            waiting.push(priority);
        }
    }
    let mut claim = NotificationClaim {
        token: new_token(),
        at: moment(store).await?,
        notifications: Vec::new(),
    };
    if waiting.is_empty() {
        return Ok(claim);
    }
    let most = max.min(MAX_PER_CALL);
    let mut tx = store.write().await?;
    let mut walks = 0;
    let mut budget = PayloadBudget::default();
    let mut is_full = false;
    for priority in waiting {
        loop {
            let wanted = most - claim.notifications.len();
            if wanted == 0 || is_full || walks == WALKS {
                break;
            }
            walks += 1;
            let due = due(&mut tx, priority, wanted).await?;
            expire(&mut tx, &due.over).await?;
            put_off(&mut tx, &due.later).await?;
            let ready = payload::fitting(&mut tx, &due.ready, &mut budget).await?;
            is_full = ready.len() < due.ready.len();
            lease_all(&mut tx, ready, dispatcher, claim.token, lease).await?;
            claim.notifications.extend(payload::read_all(&mut tx, ready).await?);
            let set_aside = due.over.len() + due.later.len();
            let all = set_aside + due.ready.len() < wanted;
            if all || set_aside == 0 {
                break;
            }
        }
    }
    tx.commit().await?;
    Ok(claim)
}

async fn moment(store: &SqliteStore) -> Result<chrono::DateTime<chrono::Utc>> {
    let row = sqlx::query(concat!("SELECT ", now!(), " AS at")).fetch_one(&store.readers).await?;
    row::time(&row, "at")
}

/// What a walk met.
#[derive(Default)]
struct Due {
    ready: Vec<String>,
    over: Vec<String>,
    /// Due by `process_after`, and not by `scheduled_at` or `next_retry_at`.
    later: Vec<String>,
}

/// A row without a time to wait for comes before all others. Its condition is a statement
/// of its own: joined by OR, the order of the index would be lost.
pub(super) const DUE: [&str; 2] = [
    "SELECT q.id, COALESCE(q.expires_at <= datetime('now'), 0) AS is_over,
             COALESCE(q.scheduled_at > datetime('now'), 0) OR COALESCE(q.next_retry_at > datetime('now'), 0)
                 AS is_later
         FROM realtime_notification_queue q INDEXED BY idx_notification_processing
         WHERE q.status = 'pending' AND q.priority = ? AND q.process_after IS NULL LIMIT ?",
    "SELECT q.id, COALESCE(q.expires_at <= datetime('now'), 0) AS is_over,
             COALESCE(q.scheduled_at > datetime('now'), 0) OR COALESCE(q.next_retry_at > datetime('now'), 0)
                 AS is_later
         FROM realtime_notification_queue q INDEXED BY idx_notification_processing
         WHERE q.status = 'pending' AND q.priority = ? AND q.process_after <= datetime('now')
         ORDER BY q.process_after LIMIT ?",
];

async fn any_due(store: &SqliteStore, priority: i32) -> Result<bool> {
    for sql in DUE {
        if sqlx::query(sql).bind(priority).bind(1).fetch_optional(&store.readers).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn due(tx: &mut SqliteConnection, priority: i32, wanted: usize) -> Result<Due> {
    let mut due = Due::default();
    let mut left = i64::try_from(wanted).unwrap_or(i64::MAX);
    for sql in DUE {
        let rows = sqlx::query(sql).bind(priority).bind(left).fetch_all(&mut *tx).await?;
        left -= i64::try_from(rows.len()).unwrap_or(left);
        for row in &rows {
            if row.try_get("is_over")? {
                due.over.push(row.try_get("id")?);
            } else if row.try_get("is_later")? {
                due.later.push(row.try_get("id")?);
            } else {
                due.ready.push(row.try_get("id")?);
            }
        }
    }
    Ok(due)
}

async fn expire(tx: &mut SqliteConnection, ids: &[String]) -> Result<()> {
    sqlx::query(
        "UPDATE realtime_notification_queue SET status = 'expired'
         WHERE id IN (SELECT value FROM json_each(?))",
    )
    .bind(id_array(ids))
    .execute(tx)
    .await?;
    Ok(())
}

async fn put_off(tx: &mut SqliteConnection, ids: &[String]) -> Result<()> {
    sqlx::query(
        "UPDATE realtime_notification_queue
         SET process_after = MAX(COALESCE(scheduled_at, datetime('now')),
             COALESCE(next_retry_at, datetime('now')))
         WHERE id IN (SELECT value FROM json_each(?))",
    )
    .bind(id_array(ids))
    .execute(tx)
    .await?;
    Ok(())
}

async fn lease_all(
    tx: &mut SqliteConnection,
    ids: &[String],
    dispatcher: &str,
    token: i64,
    lease: Duration,
) -> Result<()> {
    sqlx::query(
        "UPDATE realtime_notification_queue
         SET status = 'processing', process_after = COALESCE(process_after, datetime('now'))
         WHERE id IN (SELECT value FROM json_each(?))",
    )
    .bind(id_array(ids))
    .execute(&mut *tx)
    .await?;
    // Whoever had it before and did not say so has lost it.
    sqlx::query(
        "INSERT INTO reelshift_notification_leases (notification_id, token, dispatcher, leased_until)
         SELECT value, ?2, ?3, strftime('%Y-%m-%d %H:%M:%f', 'now', ?4) FROM json_each(?1) WHERE TRUE
         ON CONFLICT (notification_id) DO UPDATE SET token = excluded.token,
             dispatcher = excluded.dispatcher, leased_until = excluded.leased_until",
    )
    .bind(id_array(ids))
    .bind(token)
    .bind(dispatcher)
    .bind(hence(lease))
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn extend(store: &SqliteStore, token: i64, lease: Duration) -> Result<u64> {
    let extended = sqlx::query(
        "UPDATE reelshift_notification_leases
         SET leased_until = strftime('%Y-%m-%d %H:%M:%f', 'now', ?) WHERE token = ?",
    )
    .bind(hence(lease))
    .bind(token)
    .execute(&store.writer)
    .await?;
    Ok(extended.rows_affected())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reelshift_store::SharedStore;
    use reelshift_store_conformance::arrange::try_expand;
    use sqlx::sqlite::SqlitePool;
    use sqlx::{AssertSqlSafe, Row as _};

    use super::{DUE, PRIORITIES};
    use crate::{ConnectOptions, connect};

    /// What a claim reads is what the index yields for one priority: nothing that has
    /// ended or is not due, and nothing that has to be sorted.
    #[tokio::test]
    async fn a_claim_reads_what_it_claims() {
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite://{}", directory.path().join("videos.db").display());
        let pool = SqlitePool::connect(&format!("{url}?mode=rwc")).await.expect("a database");
        let videos = "CREATE TABLE videos (id VARCHAR(36) PRIMARY KEY, filename VARCHAR(255), \
             file_path VARCHAR(500), file_size INTEGER, duration FLOAT, fps FLOAT, \
             resolution VARCHAR(50), status VARCHAR(50), processing_status VARCHAR(50), \
             ground_truth_generated BOOLEAN, project_id VARCHAR(36), created_at TIMESTAMP, \
             updated_at TIMESTAMP)";
        sqlx::raw_sql(videos).execute(&pool).await.expect("a table");
        let options = ConnectOptions { max_connections: 1, create: false };
        let store: SharedStore = Arc::new(connect(&url, options).await.expect("it opens"));
        try_expand(&store).await.expect("expand is applied");
        let by = "INDEX idx_notification_processing (status=?";
        for (sql, how) in [
            (PRIORITIES, ")"),
            (PRIORITIES, " AND priority>?)"),
            (DUE[0], " AND priority=? AND process_after=?)"),
            (DUE[1], " AND priority=? AND process_after<?)"),
        ] {
            let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")))
                .fetch_all(&pool)
                .await
                .expect("a plan");
            let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
            assert!(plan.iter().any(|step| step.contains(&format!("{by}{how}"))), "{plan:#?}");
            let slow = |step: &String| step.contains("SCAN realtime") || step.contains("B-TREE");
            assert!(!plan.iter().any(slow), "{plan:#?}");
        }
    }
}
