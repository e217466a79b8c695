//! Leases: the tokens that fence every write, and the ends that an attempt can have.

use std::time::Duration;

use reelshift_plan::BatchState;
use reelshift_store::ledger::{Finished, Lease};
use reelshift_store::length::{ERROR_TYPE_CHARACTERS, cut};
use reelshift_store::{ErrorRecord, StoreError};
use sqlx::{Row as _, SqliteConnection};

use crate::SqliteStore;
use crate::error::Result;
use crate::failures::{Parent, insert_error, mark_recovered};
use crate::timestamp::{hence, now};

/// The batch of a lease that is still held. The transaction holds the database's write
/// lock, so that nobody takes the lease before it ends.
pub(crate) struct Fence {
    pub(crate) id: String,
    pub(crate) run_id: String,
    pub(crate) kind: String,
    pub(crate) attempts: u32,
    pub(crate) max_attempts: u32,
    pub(crate) last_error_id: Option<String>,
}

pub(crate) async fn fence(tx: &mut SqliteConnection, lease: Lease) -> Result<Fence> {
    let row = sqlx::query(
        "SELECT b.id, b.run_id, r.kind, b.attempts, b.max_attempts, b.last_error_id
         FROM reelshift_batches b JOIN reelshift_runs r ON r.id = b.run_id
         WHERE b.seq = ? AND b.lease_token = ? AND b.state = 'leased'",
    )
    .bind(lease.seq)
    .bind(lease.token)
    .fetch_optional(tx)
    .await?
    .ok_or(StoreError::LeaseLost)?;
    Ok(Fence {
        id: row.try_get("id")?,
        run_id: row.try_get("run_id")?,
        kind: row.try_get("kind")?,
        attempts: row.try_get("attempts")?,
        max_attempts: row.try_get("max_attempts")?,
        last_error_id: row.try_get("last_error_id")?,
    })
}

pub(crate) async fn finish(store: &SqliteStore, finished: &[Finished]) -> Result<u64> {
    if finished.is_empty() {
        return Ok(0);
    }
    let mut done = 0;
    let mut tx = store.write().await?;
    for Finished { lease, last_error_id } in finished {
        let held = sqlx::query(concat!(
            "UPDATE reelshift_batches SET state = 'done', leased_by = NULL, lease_token = NULL,
                 finished_at = ",
            now!(),
            " WHERE seq = ? AND lease_token = ? AND state = 'leased'"
        ))
        .bind(lease.seq)
        .bind(lease.token)
        .execute(&mut *tx)
        .await?
        .rows_affected();
        done += held;
        if let Some(error) = last_error_id.as_deref().filter(|_| held > 0) {
            mark_recovered(&mut tx, error).await?;
        }
    }
    tx.commit().await?;
    Ok(done)
}

pub(crate) async fn fail_attempt(
    store: &SqliteStore,
    lease: Lease,
    retry: bool,
    delay: Duration,
    error: &ErrorRecord,
) -> Result<BatchState> {
    let mut tx = store.write().await?;
    let batch = fence(&mut tx, lease).await?;
    insert_error(&mut tx, error, Parent::Batch(batch.last_error_id.as_deref())).await?;
    let state = BatchState::after_failure(retry, batch.attempts, batch.max_attempts);
    sqlx::query(concat!(
        "UPDATE reelshift_batches SET state = ?1, attempts = attempts + 1, last_error_id = ?2,
             last_error_type = ?6, leased_by = NULL, lease_token = NULL,
             leased_at = CASE ?1 WHEN 'failed' THEN leased_at END, alone_files = NULL,
             run_at = CASE ?1 WHEN 'pending' THEN strftime('%Y-%m-%d %H:%M:%f', 'now', ?3) ELSE run_at END,
             finished_at = CASE ?1 WHEN 'failed' THEN ",
        now!(),
        " END WHERE seq = ?4 AND lease_token = ?5 AND state = 'leased'"
    ))
    .bind(state.into_str())
    .bind(error.id.to_string())
    .bind(hence(delay))
    .bind(lease.seq)
    .bind(lease.token)
    .bind(cut(&error.error_type, ERROR_TYPE_CHARACTERS))
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(state)
}

pub(crate) async fn release(store: &SqliteStore, leases: &[Lease]) -> Result<u64> {
    if leases.is_empty() {
        return Ok(0);
    }
    let mut released = 0;
    let mut tx = store.write().await?;
    for lease in leases {
        released += sqlx::query(
            "UPDATE reelshift_batches
             SET state = 'pending', leased_by = NULL, lease_token = NULL, leased_at = NULL, alone_files = NULL
             WHERE seq = ? AND lease_token = ? AND state = 'leased'",
        )
        .bind(lease.seq)
        .bind(lease.token)
        .execute(&mut *tx)
        .await?
        .rows_affected();
    }
    tx.commit().await?;
    Ok(released)
}
