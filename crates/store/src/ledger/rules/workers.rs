//! Workers: their heartbeats, and the leases of those that are silent.

use std::time::Duration;

use uuid::Uuid;

use crate::Result;
use crate::ledger::statements::{LedgerStatements, Limit};
use crate::ledger::{Membership, WorkerActivity};

pub(super) async fn heartbeat(
    store: &impl LedgerStatements,
    worker: Uuid,
    activity: &WorkerActivity,
) -> Result<Membership> {
    if store.write_activity(worker, activity).await? {
        return Ok(Membership::Live);
    }
    let mut transaction = store.transaction(Limit::Short).await?;
    if !transaction.revive_worker(worker).await? {
        return Ok(Membership::Unknown);
    }
    // What it claimed after its leases were taken it is about to drop, so nobody would work on
    // it.
    transaction.give_back(worker, false).await?;
    transaction.commit().await?;
    store.write_activity(worker, activity).await?;
    Ok(Membership::WasLost)
}

pub(super) async fn deregister(store: &impl LedgerStatements, worker: Uuid) -> Result<()> {
    let mut transaction = store.transaction(Limit::Short).await?;
    transaction.set_left(worker).await?;
    transaction.give_back(worker, false).await?;
    transaction.commit().await?;
    store.end_activity(worker).await;
    Ok(())
}

/// Silent workers, and those that left or were lost but whose last claim came through only
/// afterwards. One transaction a worker, which checks its heartbeat again.
pub(super) async fn reap(store: &impl LedgerStatements, timeout: Duration) -> Result<u64> {
    if !store.may_reap(timeout).await? {
        return Ok(0);
    }
    let silent = store.reads(Limit::Short).await?.silent_workers(timeout).await?;
    // The clock may have stepped between the two.
    if silent.is_empty() || !store.may_reap(timeout).await? {
        return Ok(0);
    }
    let mut reaped = 0;
    for worker in silent {
        let mut transaction = store.transaction(Limit::Short).await?;
        if transaction.lock_silent(worker, timeout).await? {
            transaction.set_lost(worker).await?;
            reaped += transaction.give_back(worker, true).await?;
            transaction.commit().await?;
        }
    }
    Ok(reaped)
}
