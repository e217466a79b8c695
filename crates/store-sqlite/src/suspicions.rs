//! Batches under suspicion: of a worker that does not find most of their files, and of
//! killing whoever reads them.

use reelshift_store::StoreError;
use reelshift_store::ledger::{Lease, RootSuspicion};
use uuid::Uuid;

use crate::SqliteStore;
use crate::error::Outcome;

pub(crate) async fn read(store: &SqliteStore, lease: Lease) -> Outcome<RootSuspicion> {
    let row: Option<(Option<String>, bool)> = sqlx::query_as(
        "SELECT b.root_suspected_by, EXISTS (SELECT 1 FROM reelshift_batches o
             WHERE o.run_id = b.run_id AND o.rows_done > 0)
         FROM reelshift_batches b WHERE b.seq = ? AND b.lease_token = ? AND b.state = 'leased'",
    )
    .bind(lease.seq)
    .bind(lease.token)
    .fetch_optional(&store.readers)
    .await?;
    let (suspected_by, run_has_hashes) = row.ok_or(StoreError::LeaseLost)?;
    let suspected_by = suspected_by.and_then(|id| id.parse().ok());
    Ok(RootSuspicion { suspected_by, run_has_hashes })
}

pub(crate) async fn suspect(store: &SqliteStore, lease: Lease, worker: Uuid) -> Outcome<()> {
    let updated = sqlx::query(
        "UPDATE reelshift_batches SET root_suspected_by = COALESCE(root_suspected_by, ?)
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
