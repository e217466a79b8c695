//! The phases, applied. That takes long and may be told to stop: it is recorded when it ends,
//! completely or not, if it has changed anything. What a killed process did is in the journal
//! of the steps.

use reelshift_rollout::{InitialFlags, initialise};
use reelshift_store::audit::AuditEvent;
use reelshift_store::patience::Options;
use reelshift_store::rollback::{self, OpenRollback, RollbackState};
use reelshift_store::schema::{self, Step, StepGroup, StepOutcome};
use reelshift_store::{Result, Store, StoreError};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::By;

/// A phase to be applied.
#[derive(Debug)]
pub struct Apply<'a> {
    /// Expand brings reelshift's own tables along.
    pub phase: StepGroup,
    /// Whether an expand may end a rollback that is not at its end.
    pub abandon_rollback: bool,
    /// What an expand stores for flags that are not stored yet.
    pub initial_flags: InitialFlags,
    pub options: Options<'a>,
}

/// What came of an [`apply`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Steps that were not done before.
    pub new: u64,
    /// The rollback that this ended.
    pub abandoned: Option<OpenRollback>,
    /// Whether it came to its end; otherwise it was told to stop.
    pub complete: bool,
}

/// A step that was executed, or was done before.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AppliedStep {
    pub number: u32,
    pub name: String,
    pub outcome: StepOutcome,
}

impl AppliedStep {
    /// As [`apply`] reports it.
    #[must_use]
    pub fn new(step: &Step, outcome: StepOutcome) -> Self {
        Self { number: step.number, name: step.name.clone(), outcome }
    }
}

/// Applies the steps of a phase that are not done yet, and tells `report` of each.
///
/// # Errors
/// `Refused` for an expand while a rollback is not at its end, unless it is to be abandoned, and
/// as [`schema::apply`]; otherwise as the store. What was done until then is recorded.
pub async fn apply(
    store: &dyn Store,
    by: &By,
    apply: Apply<'_>,
    stop: &CancellationToken,
    mut report: impl FnMut(&Step, StepOutcome) + Send,
) -> Result<Applied> {
    let abandoned = abandoned(store, &apply).await?;
    let mut new = 0;
    let count = |step: &Step, outcome| {
        new += u64::from(outcome != StepOutcome::AlreadyDone);
        report(step, outcome);
    };
    let work = steps(store, by, &apply, abandoned.as_ref(), count);
    let ended = stop.run_until_cancelled(work).await;
    let complete = matches!(ended, Some(Ok(())));
    if new > 0 || (complete && abandoned.is_some()) {
        let phase = apply.phase.into_str().to_owned();
        let event = AuditEvent::PhaseApplied { phase, done: done(new, "", complete) };
        let was_stopped = ended.is_none();
        let recorded = record(store, by, event, ended.unwrap_or(Ok(()))).await;
        // Whoever stopped it is told that; the audit's table may be among what is missing.
        if !was_stopped {
            recorded?;
        }
    } else {
        ended.unwrap_or(Ok(()))?;
    }
    Ok(Applied { new, abandoned, complete })
}

async fn steps(
    store: &dyn Store,
    by: &By,
    apply: &Apply<'_>,
    abandoned: Option<&OpenRollback>,
    report: impl FnMut(&Step, StepOutcome) + Send,
) -> Result<()> {
    let expand = [StepGroup::Ledger, StepGroup::Expand];
    let of_phase = [apply.phase];
    let groups = if apply.phase == StepGroup::Expand { &expand[..] } else { &of_phase };
    schema::apply(store, groups, &apply.options, report, tokio::time::sleep).await?;
    if apply.phase == StepGroup::Expand {
        initialise(store, apply.initial_flags, &by.who).await?;
    }
    match abandoned {
        Some(open) => end(store, open).await,
        None => Ok(()),
    }
}

/// The rollback that this ends; refused where it was not asked for, since an expand makes
/// empty tables of what a rollback dropped.
async fn abandoned(store: &dyn Store, apply: &Apply<'_>) -> Result<Option<OpenRollback>> {
    if apply.phase != StepGroup::Expand {
        return Ok(None);
    }
    match rollback::open(store).await? {
        Some(open) if !apply.abandon_rollback => Err(StoreError::Refused(open.ways_on())),
        open => Ok(open),
    }
}

/// Ends `open` where no step was missing, and so nothing ended it before.
async fn end(store: &dyn Store, open: &OpenRollback) -> Result<()> {
    let lock = store.lock_migration().await?;
    let ended = async {
        let still = store.open_rollback().await?.is_some_and(|now| now.id == open.id);
        if still { store.move_rollback(RollbackState::Abandoned).await } else { Ok(()) }
    }
    .await;
    lock.release().await?;
    ended
}

/// Follows what did not come to its end.
pub(crate) const STOPPED: &str = ", then it stopped";

pub(crate) fn done(steps: u64, kept: &str, complete: bool) -> String {
    let word = if steps == 1 { "step" } else { "steps" };
    format!("{steps} {word}{kept}{}", if complete { "" } else { STOPPED })
}

/// Records `event`, whatever came of the work. Of two errors the work's counts.
pub(crate) async fn record(
    store: &dyn Store,
    by: &By,
    event: AuditEvent,
    ended: Result<()>,
) -> Result<()> {
    let recorded = store.record(&event, by.reason(), &by.who).await;
    if let Err(error) = &recorded {
        tracing::warn!(%error, "what was done could not be recorded in the audit");
    }
    ended.and(recorded)
}
