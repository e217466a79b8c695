//! Batches under suspicion: of a worker that does not find most of their files, and of
//! killing whoever reads them.

use reelshift_store::StoreError;
use reelshift_store::ledger::{Lease, RootSuspicion};
use sqlx::Row as _;
use uuid::Uuid;

use crate::dialect::Store;
use crate::error::{Error, Result};
use crate::lease;

pub(crate) async fn read(store: &Store, lease: Lease, worker: Uuid) -> Result<RootSuspicion> {
    let row = sqlx::query(
        "SELECT COALESCE(b.root_suspected_by <> ?, FALSE) AS of_batch, b.root_suspicions, \
           EXISTS (SELECT 1 FROM reelshift_batches o \
             WHERE o.run_id = b.run_id AND o.root_suspected_by <> ?) AS of_run, \
           EXISTS (SELECT 1 FROM reelshift_batches o \
             WHERE o.run_id = b.run_id AND o.rows_done > 0) AS run_has_hashes \
         FROM reelshift_batches b WHERE b.seq = ? AND b.lease_token = ? AND b.state = 'leased'",
    )
    .bind(worker.to_string())
    .bind(worker.to_string())
    .bind(lease.seq)
    .bind(lease.token)
    .fetch_optional(store.reader())
    .await?
    .ok_or(Error::Store(StoreError::LeaseLost))?;
    let holds = |column| -> Result<bool> { Ok(row.try_get::<i64, _>(column)? != 0) };
    Ok(RootSuspicion {
        of_batch: holds("of_batch")?,
        of_run: holds("of_run")?,
        times: row.try_get("root_suspicions")?,
        run_has_hashes: holds("run_has_hashes")?,
    })
}

pub(crate) async fn suspect(store: &Store, lease: Lease, worker: Uuid) -> Result<()> {
    let mut transaction = store.begin().await?;
    lease::fence(&mut transaction, lease).await?;
    sqlx::query(
        "UPDATE reelshift_batches SET root_suspected_by = COALESCE(root_suspected_by, ?), \
           root_suspicions = root_suspicions + 1 \
         WHERE seq = ? AND lease_token = ?",
    )
    .bind(worker.to_string())
    .bind(lease.seq)
    .bind(lease.token)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(())
}

pub(crate) async fn record_alone(store: &Store, lease: Lease, files: Option<u32>) -> Result<()> {
    let mut transaction = store.begin().await?;
    // The fence first: an UPDATE to the same value has no affected row to tell by.
    lease::fence(&mut transaction, lease).await?;
    sqlx::query("UPDATE reelshift_batches SET alone_files = ? WHERE seq = ? AND lease_token = ?")
        .bind(files)
        .bind(lease.seq)
        .bind(lease.token)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
}
