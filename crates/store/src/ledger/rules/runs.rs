//! Runs: creating them, moving them on, and what an operator decides about them.

use reelshift_plan::RunState;
use reelshift_plan::backoff::sweep_delay;
use uuid::Uuid;

use super::no_run;
use crate::audit::AuditEvent;
use crate::controls::{BREAKER, CancelledRun, breaker_reason, check_resumable, check_transition};
use crate::ledger::statements::{LedgerReads, LedgerStatements, LedgerTransaction, Limit};
use crate::ledger::{CreatedRun, LockedRun, NewRun, Run, failed_reason};
use crate::length::{BY_CHARACTERS, TEXT_BYTES, cut, cut_bytes};
use crate::{Result, StoreError};

/// Tries to create a run whose key is taken and then free again.
const CREATE_TRIES: u32 = 3;

pub(super) async fn create(store: &impl LedgerStatements, run: &NewRun) -> Result<CreatedRun> {
    let key = run.plan.key(run.kind);
    for _ in 0..CREATE_TRIES {
        let mut transaction = store.transaction(Limit::Short).await?;
        if transaction.insert_run(run, &key).await? {
            let event = AuditEvent::enqueued(run.id, run.kind, &run.plan, true);
            transaction.record(event, None, &run.created_by).await?;
            let created = transaction.run(run.id).await?.ok_or_else(|| no_run(run.id))?;
            transaction.commit().await?;
            return Ok(CreatedRun::New(created));
        }
        if let Some(existing) = transaction.run_with_key(&key).await? {
            return Ok(CreatedRun::Existing(existing));
        }
        if transaction.run(run.id).await?.is_some() {
            return Err(StoreError::Invalid(format!("there is a run {} already", run.id)));
        }
        // The run that had the key has just ended: the next try succeeds.
    }
    Err(StoreError::Transient {
        code: None,
        message: "runs over the same videos begin and end all the time: try again".to_owned(),
    })
}

/// The run, its row locked.
pub(super) async fn lock(transaction: &mut dyn LedgerTransaction, id: Uuid) -> Result<LockedRun> {
    transaction.lock_run(id).await?.ok_or_else(|| no_run(id))
}

/// Moves a run whose row is locked to `next`, where the state machine lets it. Its planner loses
/// its right.
pub(super) async fn move_to(
    transaction: &mut dyn LedgerTransaction,
    run: &Run,
    next: RunState,
    reason: Option<&str>,
) -> Result<()> {
    check_transition(run, next)?;
    transaction.set_run_state(run.id, next, reason).await?;
    match (run.state.has_ended(), next.has_ended()) {
        (false, true) => transaction.close_run(run.id).await,
        (true, false) => transaction.open_run(run.id).await,
        (true, true) | (false, false) => Ok(()),
    }
}

pub(super) async fn settle(store: &impl LedgerStatements, id: Uuid) -> Result<RunState> {
    // Most calls find nothing to move: they must not queue for the run's row, which every
    // worker asks for, nor for the lock of whoever writes.
    let mut reads = store.reads(Limit::Short).await?;
    let state = reads.run(id).await?.ok_or_else(|| no_run(id))?.state;
    if state != RunState::Running || reads.has_open_batch(id).await? {
        return Ok(state);
    }
    drop(reads);
    let mut transaction = store.transaction(Limit::Short).await?;
    let locked = lock(&mut *transaction, id).await?;
    let run = &locked.run;
    if run.state != RunState::Running || transaction.has_open_batch(id).await? {
        return Ok(run.state);
    }
    let failed = transaction.failed_without_rerun(id).await?;
    let next = RunState::after_batches(run.plan.sweeps(run.kind), failed);
    let reason = (failed > 0).then(|| failed_reason(failed));
    move_to(&mut *transaction, run, next, reason.as_deref()).await?;
    if next == RunState::Sweeping {
        begin_sweep(&mut *transaction, &locked).await?;
    }
    transaction.commit().await?;
    Ok(next)
}

/// A sweep after a round that wrote and set aside nothing waits, ever longer: the application
/// holds what is left. The first round is never such a one.
async fn begin_sweep(transaction: &mut dyn LedgerTransaction, locked: &LockedRun) -> Result<()> {
    let run = locked.run.id;
    // Not asked of the first round, which may have half a million batches.
    let left = match locked.run.round {
        0 => None,
        _ => {
            let (ended, planned) = transaction.rows_of_last(run, locked.round_batches).await?;
            (ended == 0).then_some(planned)
        }
    };
    let Some(planned) = left else {
        return transaction.begin_round(run, 0, 0, None).await;
    };
    let idle = locked.idle_rounds.saturating_add(1);
    transaction.begin_round(run, idle, planned, Some(sweep_delay(idle))).await
}

/// Says who decided about a run, in its row and in the audit, and reads it as it is now.
pub(super) async fn decide(
    transaction: &mut dyn LedgerTransaction,
    before: &Run,
    reason: Option<&str>,
    by: &str,
) -> Result<Run> {
    let by = cut(by, BY_CHARACTERS);
    transaction.set_decided_by(before.id, by).await?;
    audit(transaction, before, reason, by).await
}

async fn audit(
    transaction: &mut dyn LedgerTransaction,
    before: &Run,
    reason: Option<&str>,
    by: &str,
) -> Result<Run> {
    let run = transaction.run(before.id).await?.ok_or_else(|| no_run(before.id))?;
    let (previous, state) = (before.state, run.state);
    let event = AuditEvent::RunStateChanged { run: run.id, previous, state };
    transaction.record(event, reason, by).await?;
    Ok(run)
}

pub(super) async fn pause(
    store: &impl LedgerStatements,
    id: Uuid,
    reason: Option<&str>,
    by: &str,
) -> Result<Run> {
    let mut transaction = store.transaction(Limit::Short).await?;
    let locked = lock(&mut *transaction, id).await?;
    let run = pause_locked(&mut *transaction, &locked, reason, by).await?;
    transaction.commit().await?;
    Ok(run)
}

/// Pauses a run, or gives one that is paused another reason.
async fn pause_locked(
    transaction: &mut dyn LedgerTransaction,
    locked: &LockedRun,
    reason: Option<&str>,
    by: &str,
) -> Result<Run> {
    let LockedRun { run, .. } = locked;
    let reason = reason.map(|reason| cut_bytes(reason, TEXT_BYTES));
    move_to(transaction, run, RunState::Paused, reason).await?;
    if run.state != RunState::Paused {
        transaction.set_paused_from(run.id, Some(run.state)).await?;
    }
    decide(transaction, run, reason, by).await
}

pub(super) async fn pause_failing(store: &impl LedgerStatements) -> Result<Vec<Run>> {
    let mut failing = Vec::new();
    let mut reads = store.reads(Limit::Short).await?;
    for run in reads.runs_in(RunState::ACTIVE, None).await? {
        if fails(&mut *reads, &run).await?.is_some() {
            failing.push(run.id);
        }
    }
    drop(reads);
    let mut paused = Vec::new();
    for id in failing {
        let mut transaction = store.transaction(Limit::Short).await?;
        let locked = lock(&mut *transaction, id).await?;
        if let Some(reason) = fails(&mut *transaction, &locked.run).await? {
            let run = pause_locked(&mut *transaction, &locked, Some(&reason), BREAKER).await?;
            transaction.commit().await?;
            paused.push(run);
        }
    }
    Ok(paused)
}

/// Why a run that works pauses itself; `None` where it goes on.
async fn fails(reads: &mut dyn LedgerReads, run: &Run) -> Result<Option<String>> {
    if !run.state.is_active() {
        return Ok(None);
    }
    Ok(breaker_reason(reads.failed_since_resumed(run.id).await?, run.batches_total))
}

pub(super) async fn resume(
    store: &impl LedgerStatements,
    id: Uuid,
    reason: Option<&str>,
    by: &str,
) -> Result<Run> {
    let mut transaction = store.transaction(Limit::Short).await?;
    let locked = lock(&mut *transaction, id).await?;
    check_resumable(&locked.run)?;
    let back = locked.paused_from.unwrap_or(RunState::Running);
    move_to(&mut *transaction, &locked.run, back, None).await?;
    transaction.set_paused_from(id, None).await?;
    transaction.set_resumed(id).await?;
    let run = decide(&mut *transaction, &locked.run, reason, by).await?;
    transaction.commit().await?;
    Ok(run)
}

pub(super) async fn cancel(
    store: &impl LedgerStatements,
    id: Uuid,
    reason: Option<&str>,
    by: &str,
) -> Result<CancelledRun> {
    let mut transaction = store.transaction(Limit::Short).await?;
    let locked = lock(&mut *transaction, id).await?;
    let reason = reason.map(|reason| cut_bytes(reason, TEXT_BYTES));
    let by = cut(by, BY_CHARACTERS);
    if locked.run.state != RunState::Cancelled {
        move_to(&mut *transaction, &locked.run, RunState::Cancelled, reason).await?;
        transaction.set_paused_from(id, None).await?;
        transaction.set_decided_by(id, by).await?;
    }
    let leased = transaction.cancel_leased(id).await?;
    let run = audit(&mut *transaction, &locked.run, reason, by).await?;
    transaction.commit().await?;
    Ok(CancelledRun { run, leased })
}

/// Also what a claim leased that had begun before the run was cancelled.
pub(super) async fn cancel_pending(
    store: &impl LedgerStatements,
    id: Uuid,
    limit: u32,
) -> Result<u64> {
    let Some(mut transaction) = of_cancelled(store, id).await? else { return Ok(0) };
    let cancelled = transaction.cancel_open(id, limit).await?;
    transaction.commit().await?;
    Ok(cancelled)
}

pub(super) async fn free_quarantine(
    store: &impl LedgerStatements,
    id: Uuid,
    limit: u32,
) -> Result<u64> {
    let Some(mut transaction) = of_cancelled(store, id).await? else { return Ok(0) };
    let freed = transaction.free_quarantined(id, limit).await?;
    transaction.commit().await?;
    Ok(freed)
}

/// A transaction, if the run is cancelled. Nothing opens such a run again: its row need not be
/// locked.
async fn of_cancelled(
    store: &impl LedgerStatements,
    id: Uuid,
) -> Result<Option<Box<dyn LedgerTransaction + '_>>> {
    let mut transaction = store.transaction(Limit::Short).await?;
    let run = transaction.run(id).await?;
    let is_cancelled = run.is_some_and(|run| run.state == RunState::Cancelled);
    Ok(is_cancelled.then_some(transaction))
}
