//! The ends of an attempt that did not deliver, and the fence before every end.

use std::collections::HashSet;
use std::time::Duration;

use reelshift_store::length::{TEXT_BYTES, cut_bytes};
use reelshift_store::notifications::{MAX_ATTEMPTS, MAX_PER_CALL, Then, Undelivered};
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::error::Result;
use crate::id_list::id_array;
use crate::timestamp::hence;

/// Those of `ids` whose lease has this token, in their order.
pub(super) async fn hold(
    tx: &mut SqliteConnection,
    token: i64,
    ids: &[String],
) -> Result<Vec<String>> {
    let held: Vec<String> = sqlx::query_scalar(
        "SELECT notification_id FROM reelshift_notification_leases
         WHERE notification_id IN (SELECT value FROM json_each(?)) AND token = ?",
    )
    .bind(id_array(ids))
    .bind(token)
    .fetch_all(tx)
    .await?;
    let held: HashSet<String> = held.into_iter().collect();
    Ok(ids.iter().filter(|id| held.contains(*id)).cloned().collect())
}

pub(super) async fn undelivered(
    store: &SqliteStore,
    token: i64,
    undelivered: &[Undelivered],
) -> Result<u64> {
    let mut ended = 0;
    for undelivered in undelivered.chunks(MAX_PER_CALL) {
        let ids: Vec<String> = undelivered.iter().map(|one| one.id.clone()).collect();
        let mut tx = store.write().await?;
        let held = hold(&mut tx, token, &ids).await?;
        for one in undelivered.iter().filter(|one| held.contains(&one.id)) {
            end(&mut tx, one).await?;
        }
        tx.commit().await?;
        ended += held.len() as u64;
    }
    Ok(ended)
}

async fn end(tx: &mut SqliteConnection, one: &Undelivered) -> Result<()> {
    // Every expression sees the row as it was.
    let update = match one.then {
        Then::Retry(delay) => sqlx::query(
            "UPDATE realtime_notification_queue SET
                 status = CASE WHEN COALESCE(attempts, 0) + 1 < COALESCE(max_attempts, ?1)
                     THEN 'pending' ELSE 'failed' END,
                 next_retry_at = CASE WHEN COALESCE(attempts, 0) + 1 < COALESCE(max_attempts, ?1)
                     THEN datetime('now', ?2) END,
                 process_after = CASE WHEN COALESCE(attempts, 0) + 1 < COALESCE(max_attempts, ?1)
                     THEN datetime('now', ?2) ELSE process_after END,
                 attempts = COALESCE(attempts, 0) + 1, last_error = ?3
             WHERE id = ?4 AND status = 'processing'",
        )
        .bind(MAX_ATTEMPTS)
        .bind(hence(whole_seconds(delay))),
        Then::Fail => sqlx::query(
            "UPDATE realtime_notification_queue SET status = 'failed', next_retry_at = NULL,
                 attempts = COALESCE(attempts, 0) + 1, last_error = ?
             WHERE id = ? AND status = 'processing'",
        ),
        Then::Defer(delay) => sqlx::query(
            "UPDATE realtime_notification_queue SET status = 'pending',
                 next_retry_at = datetime('now', ?1), process_after = datetime('now', ?1),
                 last_error = ?2 WHERE id = ?3 AND status = 'processing'",
        )
        .bind(hence(whole_seconds(delay))),
        Then::Withhold => sqlx::query(
            "UPDATE realtime_notification_queue SET status = 'expired', next_retry_at = NULL,
                 last_error = ? WHERE id = ? AND status = 'processing'",
        ),
    };
    update.bind(cut_bytes(&one.why, TEXT_BYTES)).bind(&one.id).execute(&mut *tx).await?;
    sqlx::query("DELETE FROM reelshift_notification_leases WHERE notification_id = ?")
        .bind(&one.id)
        .execute(tx)
        .await?;
    Ok(())
}

/// The column has whole seconds: at least the delay.
const fn whole_seconds(delay: Duration) -> Duration {
    Duration::from_secs(delay.as_millis().div_ceil(1_000) as u64)
}
