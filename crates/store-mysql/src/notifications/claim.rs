//! Claiming: for each priority that is there, one walk along
//! `idx_notification_processing` from what has been due longest. Its cost is what it
//! claims, whatever is sent, and whatever is not due yet.

use std::time::Duration;

use reelshift_store::ledger::new_token;
use reelshift_store::notifications::{
    MAX_PER_CALL, Notification, NotificationClaim, PayloadBudget,
};
use sqlx::{MySql, MySqlConnection, QueryBuilder, Row as _};

use super::payload;
use crate::connection::MySqlStore;
use crate::error::Result;
use crate::id_list;
use crate::timestamp::microseconds;

/// Walks in one claim at most. What is met and not due is put off, 256 at a time; many that
/// are scheduled for later must not make one claim long.
const WALKS: usize = 16;

/// The priorities of notifications of one status, ascending. Each is one step down the
/// index behind the one before; a DISTINCT would read them all, and so would MariaDB with
/// the recursive query that SQLite is asked.
pub(super) async fn priorities(store: &MySqlStore, status: &str) -> Result<Vec<i32>> {
    let mut priorities = Vec::new();
    let mut behind = i64::from(i32::MIN) - 1;
    loop {
        let next: Option<i32> = sqlx::query_scalar(
            "SELECT priority \
             FROM realtime_notification_queue FORCE INDEX (idx_notification_processing) \
             WHERE status = ? AND priority > ? ORDER BY priority LIMIT 1",
        )
        .bind(status)
        .bind(behind)
        .fetch_optional(&store.pool)
        .await?;
        let Some(next) = next else { return Ok(priorities) };
        priorities.push(next);
        behind = next.into();
    }
}

pub(super) async fn claim(
    store: &MySqlStore,
    dispatcher: &str,
    lease: Duration,
    max: usize,
) -> Result<NotificationClaim> {
    let priorities = priorities(store, "pending").await?;
    let token = new_token();
    let most = max.min(MAX_PER_CALL);
    let mut notifications: Vec<Notification> = Vec::new();
    let mut transaction = store.pool.begin().await?;
    let mut walks = 0;
    let mut budget = PayloadBudget::default();
    let mut is_full = false;
    for priority in priorities {
        loop {
            let wanted = most - notifications.len();
            if wanted == 0 || is_full || walks == WALKS {
                break;
            }
            walks += 1;
            let due = lock_due(&mut transaction, priority, wanted).await?;
            expire(&mut transaction, &due.over).await?;
            put_off(&mut transaction, &due.later).await?;
            let ready = payload::fitting(&mut transaction, &due.ready, &mut budget).await?;
            is_full = ready.len() < due.ready.len();
            lease_all(&mut transaction, ready, dispatcher, token, lease).await?;
            notifications.extend(payload::read_all(&mut transaction, ready).await?);
            let set_aside = due.over.len() + due.later.len();
            let all = set_aside + due.ready.len() < wanted;
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
    ready: Vec<String>,
    over: Vec<String>,
    /// Due by `process_after`, and not by `scheduled_at` or `next_retry_at`.
    later: Vec<String>,
}

const DUE: &str = "SELECT q.id, COALESCE(q.expires_at <= NOW(), FALSE) AS is_over, \
       COALESCE(q.scheduled_at > NOW(), FALSE) OR COALESCE(q.next_retry_at > NOW(), FALSE) \
         AS is_later \
     FROM realtime_notification_queue q FORCE INDEX (idx_notification_processing) \
     WHERE q.status = 'pending' AND q.priority = ? \
       AND (q.process_after IS NULL OR q.process_after <= NOW()) \
     ORDER BY q.process_after LIMIT ? FOR UPDATE SKIP LOCKED";

async fn lock_due(connection: &mut MySqlConnection, priority: i32, wanted: usize) -> Result<Due> {
    let rows = sqlx::query(DUE).bind(priority).bind(wanted as u64).fetch_all(connection).await?;
    let mut due = Due::default();
    for row in &rows {
        if row.try_get("is_over")? {
            due.over.push(row.try_get("id")?);
        } else if row.try_get("is_later")? {
            due.later.push(row.try_get("id")?);
        } else {
            due.ready.push(row.try_get("id")?);
        }
    }
    Ok(due)
}

async fn expire(connection: &mut MySqlConnection, ids: &[String]) -> Result<()> {
    update(connection, "status = 'expired'", ids).await
}

async fn put_off(connection: &mut MySqlConnection, ids: &[String]) -> Result<()> {
    let due =
        "process_after = GREATEST(COALESCE(scheduled_at, NOW()), COALESCE(next_retry_at, NOW()))";
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
    ids: &[String],
    dispatcher: &str,
    token: i64,
    lease: Duration,
) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let processing = "status = 'processing', process_after = COALESCE(process_after, NOW())";
    update(connection, processing, ids).await?;
    let mut query = QueryBuilder::<MySql>::new(
        "INSERT INTO reelshift_notification_leases \
           (notification_id, token, dispatcher, leased_until) ",
    );
    query.push_values(id_list::padded(ids), |mut values, id| {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use reelshift_store::{Notifications as _, SharedStore};
    use reelshift_store_conformance::arrange::{steadily, try_expand};
    use sqlx::mysql::MySqlPool;
    use sqlx::{AssertSqlSafe, Row as _};

    use crate::connection::MySqlStore;
    use crate::{ConnectOptions, connect};

    const VIDEOS: &str = "CREATE TABLE videos (id VARCHAR(36) PRIMARY KEY, filename VARCHAR(255), \
       file_path VARCHAR(500), file_size INTEGER, duration FLOAT, fps FLOAT, \
       resolution VARCHAR(50), status VARCHAR(50), processing_status VARCHAR(50), \
       ground_truth_generated BOOLEAN, project_id VARCHAR(36), created_at TIMESTAMP NULL, \
       updated_at TIMESTAMP NULL)";

    /// Rows that the store's one session has read so far.
    async fn rows_read(store: &MySqlStore) -> i64 {
        let rows = sqlx::query("SHOW SESSION STATUS LIKE 'Handler_read%'")
            .fetch_all(&store.pool)
            .await
            .expect("the session's counters");
        let value = |row: &sqlx::mysql::MySqlRow| row.get::<String, _>(1).parse::<i64>();
        rows.iter().map(|row| value(row).expect("a number")).sum()
    }

    /// What claiming five notifications reads. A session that was replaced meanwhile counts
    /// from nothing: then once more.
    async fn cost(store: &MySqlStore) -> i64 {
        loop {
            let before = rows_read(store).await;
            let lease = Duration::from_mins(1);
            let claim =
                steadily("a claim", async || store.claim_notifications("d", lease, 5).await).await;
            assert_eq!(claim.notifications.len(), 5);
            let read = rows_read(store).await - before;
            if read > 0 {
                return read;
            }
        }
    }

    /// Neither what has ended nor what is not due yet makes a claim read more.
    #[tokio::test]
    async fn a_claim_reads_what_it_claims() {
        let server = std::env::var("REELSHIFT_TEST_MYSQL_URL")
            .expect("run `cargo xtask test`, which starts a server");
        let database = format!("reelshift_{}", uuid::Uuid::new_v4().simple());
        let url = format!("{}/{database}", server.trim_end_matches('/'));
        let admin = MySqlPool::connect(&server).await.expect("the server answers");
        let create = format!("CREATE DATABASE {database} CHARACTER SET utf8mb4");
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&admin).await.expect("a database");
        let platform = MySqlPool::connect(&url).await.expect("the database is there");
        let execute = async |sql: String| {
            sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&platform).await.expect(&sql);
        };
        execute(VIDEOS.to_owned()).await;
        let open = async |max_connections| {
            connect(&url, ConnectOptions { max_connections, ..ConnectOptions::default() })
                .await
                .expect("it opens")
        };
        let wide: SharedStore = Arc::new(open(4).await);
        try_expand(&wide).await.expect("expand is applied");
        let queue = "INSERT INTO realtime_notification_queue \
             (id, event_type, priority, event_data, status, process_after)";
        for priority in [1, 3, 4] {
            let row = format!("(UUID(), 'e', {priority}, '{{}}', 'pending', NOW())");
            execute(format!("{queue} VALUES {}", vec![row; 10].join(", "))).await;
        }
        // One session, whose counters then hold all that the claim reads.
        let store = open(1).await;
        let alone = cost(&store).await;
        for (status, after) in [("sent", "NOW()"), ("pending", "NOW() + INTERVAL 1 DAY")] {
            for priority in [1, 3] {
                let row = format!("(UUID(), 'e', {priority}, '{{}}', '{status}', {after})");
                execute(format!("{queue} VALUES {}", vec![row; 2_000].join(", "))).await;
            }
        }
        execute("ANALYZE TABLE realtime_notification_queue".to_owned()).await;
        let beside = cost(&store).await;
        assert!(beside <= alone + 5, "{alone} rows alone, {beside} beside 8,000 others");
        let drop = format!("DROP DATABASE {database}");
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&admin).await.expect("dropped");
    }
}
