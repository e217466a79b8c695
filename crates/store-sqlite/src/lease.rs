//! Leases: the tokens that fence every write.

use reelshift_store::StoreError;
use reelshift_store::ledger::Lease;
use sqlx::{Row as _, SqliteConnection};

use crate::SqliteStore;
use crate::error::Result;
use crate::timestamp::now;

/// The batch of a lease that is still held. The transaction holds the database's write
/// lock, so that nobody takes the lease before it ends.
pub(crate) struct Fence {
    pub(crate) id: String,
    pub(crate) run_id: String,
    pub(crate) kind: String,
    pub(crate) last_error_id: Option<String>,
}

pub(crate) async fn fence(tx: &mut SqliteConnection, lease: Lease) -> Result<Fence> {
    let row = sqlx::query(
        "SELECT b.id, b.run_id, r.kind, b.last_error_id
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
        last_error_id: row.try_get("last_error_id")?,
    })
}

/// Ends leases, those that are held, as done.
pub(crate) async fn finish(store: &SqliteStore, leases: &[Lease]) -> Result<u64> {
    let sql = concat!(
        "UPDATE reelshift_batches SET state = 'done', leased_by = NULL, lease_token = NULL,
             finished_at = ",
        now!(),
        " WHERE seq = ? AND lease_token = ? AND state = 'leased'"
    );
    end(store, leases, sql).await
}

/// Ends leases, those that are held: the batches are pending as they are.
pub(crate) async fn release(store: &SqliteStore, leases: &[Lease]) -> Result<u64> {
    let sql = "UPDATE reelshift_batches
         SET state = 'pending', leased_by = NULL, lease_token = NULL, leased_at = NULL, alone_files = NULL
         WHERE seq = ? AND lease_token = ? AND state = 'leased'";
    end(store, leases, sql).await
}

/// Executes `update` for those of `leases` that are still held.
async fn end(store: &SqliteStore, leases: &[Lease], update: &'static str) -> Result<u64> {
    if leases.is_empty() {
        return Ok(0);
    }
    let mut ended = 0;
    let mut tx = store.write().await?;
    for lease in leases {
        let query = sqlx::query(update).bind(lease.seq).bind(lease.token);
        ended += query.execute(&mut *tx).await?.rows_affected();
    }
    tx.commit().await?;
    Ok(ended)
}
