//! How an attempt ends, and what a worker records about the batch that it leases.

use std::time::Duration;

use reelshift_plan::BatchState;
use uuid::Uuid;

use crate::ledger::statements::{LedgerStatements, LedgerTransaction, Limit};
use crate::ledger::{Finished, Lease, LeasedBatch};
use crate::{ErrorRecord, Result, StoreError};

/// The batch of a lease that is held, its row locked.
async fn fence(transaction: &mut dyn LedgerTransaction, lease: Lease) -> Result<LeasedBatch> {
    transaction.lock_batch(lease).await?.ok_or(StoreError::LeaseLost)
}

/// Batches that ended without a failure on the way are finished together; each of the others
/// in a transaction of its own with the rows of its attempts.
pub(super) async fn finish(store: &impl LedgerStatements, finished: &[Finished]) -> Result<u64> {
    let plain: Vec<Lease> = finished
        .iter()
        .filter(|finished| finished.last_error_id.is_none())
        .map(|finished| finished.lease)
        .collect();
    let mut done = store.finish_batches(&plain).await?;
    for Finished { lease, last_error_id } in finished {
        let Some(error) = last_error_id else { continue };
        let mut transaction = store.transaction(Limit::Short).await?;
        if transaction.finish_batch(*lease).await? {
            transaction.mark_recovered(error).await?;
            done += 1;
        }
        transaction.commit().await?;
    }
    Ok(done)
}

pub(super) async fn fail(
    store: &impl LedgerStatements,
    lease: Lease,
    retry: bool,
    delay: Duration,
    error: &ErrorRecord,
) -> Result<BatchState> {
    let mut transaction = store.transaction(Limit::Short).await?;
    let LeasedBatch { attempts, max_attempts, last_error_id } =
        fence(&mut *transaction, lease).await?;
    transaction.insert_error(error, last_error_id.as_deref()).await?;
    let next = BatchState::after_failure(retry, attempts, max_attempts);
    if next == BatchState::Pending {
        transaction.retry_batch(lease, error, delay).await?;
    } else {
        transaction.fail_batch(lease, error).await?;
    }
    transaction.commit().await?;
    Ok(next)
}

pub(super) async fn suspect_root(
    store: &impl LedgerStatements,
    lease: Lease,
    worker: Uuid,
) -> Result<()> {
    let mut transaction = store.transaction(Limit::Short).await?;
    fence(&mut *transaction, lease).await?;
    transaction.suspect_root(lease, worker).await?;
    transaction.commit().await
}

pub(super) async fn record_alone(
    store: &impl LedgerStatements,
    lease: Lease,
    files: Option<u32>,
) -> Result<()> {
    let mut transaction = store.transaction(Limit::Short).await?;
    fence(&mut *transaction, lease).await?;
    transaction.set_alone_files(lease, files).await?;
    transaction.commit().await
}
