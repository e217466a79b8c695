//! Planning: whoever holds a planner's lease, and nobody else, adds batches to a run.

use std::time::Duration;

use reelshift_plan::RunState;
use uuid::Uuid;

use super::runs::{decide, move_to};
use crate::ledger::statements::{LedgerReads, LedgerStatements, LedgerTransaction, Limit};
use crate::ledger::{BatchRow, LockedRun, NewBatch, PlannerLease, Run, new_token};
use crate::length::{HOLDER_CHARACTERS, TEXT_BYTES, cut, cut_bytes};
use crate::{Result, StoreError};

pub(super) async fn take(
    store: &impl LedgerStatements,
    id: Uuid,
    planner: &str,
    timeout: Duration,
) -> Result<Option<PlannerLease>> {
    // All workers ask again and again: a refusal locks nothing.
    let mut reads = store.reads(Limit::Short).await?;
    let Some(run) = reads.run(id).await? else { return Ok(None) };
    if !needs_planner(&mut *reads, &run, timeout).await? {
        return Ok(None);
    }
    drop(reads);
    let mut transaction = store.transaction(Limit::Short).await?;
    let Some(locked) = transaction.lock_run(id).await? else { return Ok(None) };
    if !needs_planner(&mut *transaction, &locked.run, timeout).await? {
        return Ok(None);
    }
    let token = new_token();
    transaction.set_planner(id, cut(planner, HOLDER_CHARACTERS), token).await?;
    transaction.commit().await?;
    Ok(Some(PlannerLease { run: locked.run, token }))
}

/// Whether `run` is to be planned now, and no planner has written within `timeout`.
async fn needs_planner(reads: &mut dyn LedgerReads, run: &Run, timeout: Duration) -> Result<bool> {
    Ok(run.state.is_planned()
        && !reads.planner_alive(run.id, timeout).await?
        && !reads.sweep_waits(run.id).await?)
}

/// The run of a planner's lease that is held, its row locked.
async fn fence(transaction: &mut dyn LedgerTransaction, lease: &PlannerLease) -> Result<LockedRun> {
    let locked = transaction.lock_run(lease.run.id).await?;
    locked
        .filter(|locked| locked.planner_token == Some(lease.token) && locked.run.state.is_planned())
        .ok_or(StoreError::LeaseLost)
}

pub(super) async fn add_batches(
    store: &impl LedgerStatements,
    lease: &PlannerLease,
    planned_to: Option<&str>,
    batches: &[NewBatch],
) -> Result<()> {
    let sum = |of: fn(&NewBatch) -> u64| batches.iter().map(of).fold(0, u64::saturating_add);
    let (rows, bytes) = (sum(|batch| batch.rows_total), sum(|batch| batch.bytes_total));
    let id = lease.run.id;
    let planned: Vec<BatchRow> = batches
        .iter()
        .map(|batch| BatchRow::planned(batch.clone(), lease.run.plan.max_attempts))
        .collect();
    let mut transaction = store.transaction(Limit::Short).await?;
    fence(&mut *transaction, lease).await?;
    transaction.advance_planning(id, planned_to, batches.len() as u64, rows, bytes).await?;
    transaction.insert_batches(id, &planned).await?;
    transaction.commit().await
}

pub(super) async fn finish(
    store: &impl LedgerStatements,
    lease: &PlannerLease,
) -> Result<RunState> {
    let mut transaction = store.transaction(Limit::Short).await?;
    let LockedRun { run, round_batches, .. } = fence(&mut *transaction, lease).await?;
    let next = run.state.after_planning(run.batches_total, round_batches);
    move_to(&mut *transaction, &run, next, None).await?;
    transaction.commit().await?;
    Ok(next)
}

pub(super) async fn fail(
    store: &impl LedgerStatements,
    lease: &PlannerLease,
    reason: &str,
    by: &str,
) -> Result<()> {
    let reason = cut_bytes(reason, TEXT_BYTES);
    let mut transaction = store.transaction(Limit::Short).await?;
    let LockedRun { run, .. } = fence(&mut *transaction, lease).await?;
    move_to(&mut *transaction, &run, RunState::Failed, Some(reason)).await?;
    decide(&mut *transaction, &run, Some(reason), by).await?;
    transaction.commit().await
}

pub(super) async fn release(store: &impl LedgerStatements, lease: &PlannerLease) -> Result<()> {
    let mut transaction = store.transaction(Limit::Short).await?;
    match fence(&mut *transaction, lease).await {
        Ok(_) => {
            transaction.clear_planner(lease.run.id).await?;
            transaction.commit().await
        }
        // Another has it, or nobody needs it any more.
        Err(StoreError::LeaseLost) => Ok(()),
        Err(error) => Err(error),
    }
}
