//! Which worker gave a batch back because it does not find most of its files.

use reelshift_store::StoreError;
use reelshift_store::ledger::{Lease, RootSuspicion};
use sqlx::Row as _;
use uuid::Uuid;

use crate::connection::MySqlStore;
use crate::error::{Error, Result};

pub(crate) async fn read(store: &MySqlStore, lease: Lease) -> Result<RootSuspicion> {
    let row = sqlx::query(
        "SELECT b.root_suspected_by, EXISTS (SELECT 1 FROM reelshift_batches o \
           WHERE o.run_id = b.run_id AND o.rows_done > 0) AS run_has_hashes \
         FROM reelshift_batches b WHERE b.seq = ? AND b.lease_token = ? AND b.state = 'leased'",
    )
    .bind(lease.seq)
    .bind(lease.token)
    .fetch_optional(&store.pool)
    .await?
    .ok_or(Error::Store(StoreError::LeaseLost))?;
    let suspected_by: Option<String> = row.try_get("root_suspected_by")?;
    let run_has_hashes: i64 = row.try_get("run_has_hashes")?;
    Ok(RootSuspicion {
        suspected_by: suspected_by.and_then(|id| id.parse().ok()),
        run_has_hashes: run_has_hashes != 0,
    })
}

pub(crate) async fn suspect(store: &MySqlStore, lease: Lease, worker: Uuid) -> Result<()> {
    let updated = sqlx::query(
        "UPDATE reelshift_batches SET root_suspected_by = COALESCE(root_suspected_by, ?) \
         WHERE seq = ? AND lease_token = ? AND state = 'leased'",
    )
    .bind(worker.to_string())
    .bind(lease.seq)
    .bind(lease.token)
    .execute(&store.pool)
    .await?;
    match updated.rows_affected() {
        0 => Err(Error::Store(StoreError::LeaseLost)),
        _ => Ok(()),
    }
}
