//! Batches under suspicion: of a worker that does not find most of their files, and of
//! killing whoever reads them.

use reelshift_store::StoreError;
use reelshift_store::ledger::{Lease, RootSuspicion};
use uuid::Uuid;

use crate::SqliteStore;
use crate::error::Outcome;

pub(crate) async fn read(
    store: &SqliteStore,
    lease: Lease,
    worker: Uuid,
) -> Outcome<RootSuspicion> {
    let row: Option<(bool, u32, bool, bool)> = sqlx::query_as(
        "SELECT COALESCE(b.root_suspected_by <> ?1, 0), b.root_suspicions,
             EXISTS (SELECT 1 FROM reelshift_batches o
                     WHERE o.run_id = b.run_id AND o.root_suspected_by <> ?1),
             EXISTS (SELECT 1 FROM reelshift_batches o
                     WHERE o.run_id = b.run_id AND o.rows_done > 0)
         FROM reelshift_batches b WHERE b.seq = ?2 AND b.lease_token = ?3 AND b.state = 'leased'",
    )
    .bind(worker.to_string())
    .bind(lease.seq)
    .bind(lease.token)
    .fetch_optional(&store.readers)
    .await?;
    let (of_batch, times, of_run, run_has_hashes) = row.ok_or(StoreError::LeaseLost)?;
    Ok(RootSuspicion { of_batch, of_run, times, run_has_hashes })
}

pub(crate) async fn suspect(store: &SqliteStore, lease: Lease, worker: Uuid) -> Outcome<()> {
    let updated = sqlx::query(
        "UPDATE reelshift_batches SET root_suspected_by = COALESCE(root_suspected_by, ?),
             root_suspicions = root_suspicions + 1
         WHERE seq = ? AND lease_token = ? AND state = 'leased'",
    )
    .bind(worker.to_string())
    .bind(lease.seq)
    .bind(lease.token)
    .execute(&store.writer)
    .await?;
    match updated.rows_affected() {
        0 => Err(StoreError::LeaseLost.into()),
        _ => Ok(()),
    }
}

pub(crate) async fn record_alone(
    store: &SqliteStore,
    lease: Lease,
    files: Option<u32>,
) -> Outcome<()> {
    let updated = sqlx::query(
        "UPDATE reelshift_batches SET alone_files = ?
         WHERE seq = ? AND lease_token = ? AND state = 'leased'",
    )
    .bind(files)
    .bind(lease.seq)
    .bind(lease.token)
    .execute(&store.writer)
    .await?;
    match updated.rows_affected() {
        0 => Err(StoreError::LeaseLost.into()),
        _ => Ok(()),
    }
}
