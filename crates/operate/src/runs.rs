//! Runs: enqueued, paused, resumed, cancelled, and their failed work enqueued again.

use reelshift_plan::JobKind;
use reelshift_producer::repair::Repair;
use reelshift_producer::watch::{Event, Watch};
use reelshift_producer::{Enqueued, Producer, Progress};
use reelshift_store::controls::CancelledRun;
use reelshift_store::ledger::{Rerun, RerunSelection, Run, RunPlan};
use reelshift_store::{Result, SharedStore, Store, StoreError, rollback};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::By;

/// Batches cancelled, or items freed, in one short transaction.
const ROWS_PER_CHUNK: u32 = 1_000;

/// Makes a run and plans it, or goes on planning the active run over the same videos when its
/// planner is gone.
///
/// # Errors
/// As [`rollback::require_expand_in_place`] and [`Producer::enqueue`].
pub async fn enqueue(
    store: &SharedStore,
    by: &By,
    kind: JobKind,
    plan: RunPlan,
    stop: &CancellationToken,
    report: impl FnMut(&Progress) + Send,
) -> Result<Enqueued> {
    rollback::require_expand_in_place(&**store).await?;
    Producer::new(store.clone(), by.who.clone()).enqueue(kind, plan, stop, report).await
}

/// Enqueues a run whenever videos need work, until `stop`: one watcher of a kind acts, the
/// others stand by. Each run is in the audit as its own.
///
/// # Errors
/// As [`Producer::watch`].
pub async fn watch(
    store: &SharedStore,
    by: &By,
    watch: &Watch,
    stop: &CancellationToken,
    report: impl FnMut(Event) + Send,
) -> Result<()> {
    Producer::new(store.clone(), by.who.clone()).watch(watch, stop, report).await
}

/// Begins a backfill, by `plan`, of exactly the videos that are added to it.
#[must_use]
pub fn repair(store: &SharedStore, by: &By, plan: RunPlan) -> Repair {
    Producer::new(store.clone(), by.who.clone()).repair(plan)
}

/// Pauses a run: within two seconds workers give its batches back.
///
/// # Errors
/// `Invalid` when there is no such run, `Refused` when it has ended.
pub async fn pause_run(store: &dyn Store, by: &By, run: Uuid) -> Result<Run> {
    store.pause_run(run, by.reason(), &by.who).await
}

/// Lets a paused run go on.
///
/// # Errors
/// `Invalid` when there is no such run, `Refused` when it is not paused.
pub async fn resume_run(store: &dyn Store, by: &By, run: Uuid) -> Result<Run> {
    store.resume_run(run, by.reason(), &by.who).await
}

/// Ends a run for good: nothing of it is written from now on. [`cancel_rest`] ends its pending
/// batches, which no worker takes any longer.
///
/// # Errors
/// `Invalid` when there is no such run, `Refused` when it has ended otherwise.
pub async fn cancel(store: &dyn Store, by: &By, run: Uuid) -> Result<CancelledRun> {
    store.cancel_run(run, by.reason(), &by.who).await
}

/// What was left of a run when it was cancelled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CancelledRest {
    /// Pending batches that were cancelled.
    pub batches: u64,
    /// Items in its quarantine that others may plan again.
    pub freed: u64,
}

/// Cancels the pending batches of a run that [`cancel`] has ended, and frees the items in its
/// quarantine. No worker claims them meanwhile: where this is interrupted, the same call goes
/// on.
///
/// # Errors
/// As the store.
pub async fn cancel_rest(store: &dyn Store, run: Uuid) -> Result<CancelledRest> {
    let mut rest = CancelledRest::default();
    loop {
        match store.cancel_pending(run, ROWS_PER_CHUNK).await? {
            0 => break,
            some => rest.batches += some,
        }
    }
    loop {
        match store.free_quarantine(run, ROWS_PER_CHUNK).await? {
            0 => return Ok(rest),
            some => rest.freed += some,
        }
    }
}

/// Accepts all quarantined items that match: they stay as they are, and no longer count as open.
/// A dry run only counts them. Returns how many.
///
/// # Errors
/// `Invalid` without a reason; otherwise as [`rerun`].
pub async fn accept(store: &dyn Store, by: &By, selection: &RerunSelection) -> Result<u64> {
    rollback::require_expand_in_place(store).await?;
    let reason = by.reason().map(str::trim).filter(|reason| !reason.is_empty());
    let reason = reason.ok_or_else(|| {
        let why = "say why these items may stay as they are: whoever reads the report asks";
        StoreError::Invalid(why.to_owned())
    })?;
    let mut selection = selection.clone();
    // What is accepted already is none of them: to ask for it here as well is an error on MySQL,
    // whose UPDATE may not read its own table.
    if let Some(error) = &mut selection.error
        && error.accepted.take() == Some(true)
    {
        return Ok(0);
    }
    store.accept(&selection, reason, &by.who).await
}

/// Enqueues all failed batches and quarantined items that match again; a dry run only counts
/// them.
///
/// # Errors
/// As [`rollback::require_expand_in_place`]; `Invalid` when there is no such run or batch;
/// otherwise as the store.
pub async fn rerun(store: &dyn Store, by: &By, selection: &RerunSelection) -> Result<Rerun> {
    rollback::require_expand_in_place(store).await?;
    let rerun = store.rerun(selection, by.reason(), &by.who).await?;
    // A rollback that began meanwhile has seen what was enqueued, or cancels it.
    rollback::refuse_while_open(store).await?;
    Ok(rerun)
}
