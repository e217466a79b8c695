//! The ends of an attempt that did not deliver, and the fence before every end.

use std::collections::HashSet;
use std::time::Duration;

use reelshift_store::length::{TEXT_BYTES, cut_bytes};
use reelshift_store::notifications::{MAX_ATTEMPTS, MAX_PER_CALL, Then, Undelivered};
use sqlx::{MySql, MySqlConnection, QueryBuilder};

use crate::connection::MySqlStore;
use crate::error::Result;
use crate::id_list;

/// Those of `ids` whose lease has this token, in their order. The leases stay locked, so
/// that whoever would take them back waits for this transaction.
pub(super) async fn hold(
    connection: &mut MySqlConnection,
    token: i64,
    ids: &[String],
) -> Result<Vec<String>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT notification_id FROM reelshift_notification_leases FORCE INDEX (PRIMARY) \
         WHERE notification_id IN ",
    );
    id_list::push(&mut query, ids);
    query.push(" AND token = ").push_bind(token).push(" ORDER BY notification_id FOR UPDATE");
    let held: Vec<String> = query.build_query_scalar().fetch_all(connection).await?;
    let held: HashSet<String> = held.into_iter().collect();
    Ok(ids.iter().filter(|id| held.contains(*id)).cloned().collect())
}

pub(super) async fn undelivered(
    store: &MySqlStore,
    token: i64,
    undelivered: &[Undelivered],
) -> Result<u64> {
    let mut ended = 0;
    for undelivered in undelivered.chunks(MAX_PER_CALL) {
        let ids: Vec<String> = undelivered.iter().map(|one| one.id.clone()).collect();
        let mut transaction = store.pool.begin().await?;
        let held = hold(&mut transaction, token, &ids).await?;
        for one in undelivered.iter().filter(|one| held.contains(&one.id)) {
            end(&mut transaction, one).await?;
        }
        transaction.commit().await?;
        ended += held.len() as u64;
    }
    Ok(ended)
}

async fn end(connection: &mut MySqlConnection, one: &Undelivered) -> Result<()> {
    // The server assigns from left to right: `attempts` is counted last.
    let update = match one.then {
        Then::Retry(delay) => sqlx::query(
            "UPDATE realtime_notification_queue \
             SET status = IF(COALESCE(attempts, 0) + 1 < COALESCE(max_attempts, ?), 'pending', \
                 'failed'), \
               next_retry_at = IF(status = 'pending', NOW() + INTERVAL ? SECOND, NULL), \
               process_after = COALESCE(next_retry_at, process_after), \
               attempts = COALESCE(attempts, 0) + 1, last_error = ? \
             WHERE id = ? AND status = 'processing'",
        )
        .bind(MAX_ATTEMPTS)
        .bind(whole_seconds(delay)),
        Then::Fail => sqlx::query(
            "UPDATE realtime_notification_queue SET status = 'failed', next_retry_at = NULL, \
               attempts = COALESCE(attempts, 0) + 1, last_error = ? \
             WHERE id = ? AND status = 'processing'",
        ),
        Then::Defer(delay) => sqlx::query(
            "UPDATE realtime_notification_queue SET status = 'pending', \
               next_retry_at = NOW() + INTERVAL ? SECOND, process_after = next_retry_at, \
               last_error = ? WHERE id = ? AND status = 'processing'",
        )
        .bind(whole_seconds(delay)),
        Then::Withhold => sqlx::query(
            "UPDATE realtime_notification_queue SET status = 'expired', next_retry_at = NULL, \
               last_error = ? WHERE id = ? AND status = 'processing'",
        ),
    };
    update.bind(cut_bytes(&one.why, TEXT_BYTES)).bind(&one.id).execute(&mut *connection).await?;
    sqlx::query("DELETE FROM reelshift_notification_leases WHERE notification_id = ?")
        .bind(&one.id)
        .execute(connection)
        .await?;
    Ok(())
}

/// The column has whole seconds: at least the delay.
fn whole_seconds(delay: Duration) -> i64 {
    i64::try_from(delay.as_millis().div_ceil(1_000)).unwrap_or(i64::MAX)
}
