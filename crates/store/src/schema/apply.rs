//! `apply`: the loop over the pieces of a phase.

use std::time::Duration;

use serde::Serialize;

use super::presence::{is_there, require_whole};
use super::{JournalEntry, Step, StepGroup, refuse_to_stop_cluster};
use crate::gate::{self, Piece, pieces};
use crate::patience::{self, Direction, Options};
use crate::rollback::RollbackState;
use crate::trial::Trial;
use crate::{Result, StoreError, preflight};

/// What happened to one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// Its statement was executed now.
    Applied,
    /// The journal said that it was done.
    AlreadyDone,
    /// Its object was there though the journal did not say so: a process died between
    /// the two.
    Recognised,
}

/// Applies every step of `groups` that the journal does not call done, in order, and
/// tells `report` of each. `sleep` waits between tries.
///
/// # Errors
/// `Refused` when a preflight check refuses, when another operator holds the migration
/// lock, when a shipped step was journaled with another text, when an object that a step
/// would create is there already without ever having been started, or when a lock was not
/// free for as long as `options` say.
pub async fn apply<Sleep, Slept>(
    store: &dyn crate::Store,
    groups: &[StepGroup],
    options: &Options<'_>,
    mut report: impl FnMut(&Step, StepOutcome) + Send,
    sleep: Sleep,
) -> Result<()>
where
    Sleep: Fn(Duration) -> Slept + Send + Sync,
    Slept: Future<Output = ()> + Send,
{
    require_whole(store).await?;
    let trial = preflight::require(store, options).await?;
    let options = Options { trial: options.trial.or(Some(&trial)), ..*options };
    let steps = store.steps().iter().filter(|step| groups.contains(&step.group));
    gate::approve_stalls(store, steps, Direction::Up, &options).await?;
    let steps = store.steps().iter().filter(|step| groups.contains(&step.group));
    refuse_to_stop_cluster(store, &steps.collect::<Vec<_>>(), Direction::Up, &options).await?;
    let lock = store.lock_migration().await?;
    let held = Options { held: Some(&*lock), ..options };
    let applied = apply_locked(store, groups, &held, &mut report, &sleep).await;
    let released = lock.release().await;
    applied.and(released)
}

async fn apply_locked<Sleep, Slept>(
    store: &dyn crate::Store,
    groups: &[StepGroup],
    options: &Options<'_>,
    report: &mut (impl FnMut(&Step, StepOutcome) + Send),
    sleep: &Sleep,
) -> Result<()>
where
    Sleep: Fn(Duration) -> Slept + Send + Sync,
    Slept: Future<Output = ()> + Send,
{
    let mut journal = store.journal().await?;
    let mut begun = false;
    let steps = store.steps().iter().filter(|step| groups.contains(&step.group));
    for piece in pieces(steps, Direction::Up) {
        let mut missing = Vec::new();
        for step in piece.steps().iter().copied() {
            let entry = journal.iter().find(|entry| entry.number == step.number);
            if let Some(entry) = entry.filter(|entry| entry.checksum != step.checksum()) {
                return Err(StoreError::Refused(format!(
                    "step {:04} {} was journaled with another text ({}): this database was migrated \
                     by another version of reelshift; use that version",
                    step.number, step.name, entry.checksum
                )));
            }
            // Journaled, but gone since: who rebuilds a table often forgets its triggers.
            let exists = match entry {
                Some(_) => is_there(store, step).await?,
                None => store.exists(&step.creates).await?,
            };
            if exists && entry.is_some_and(|entry| entry.done) {
                report(step, StepOutcome::AlreadyDone);
                continue;
            }
            if step.group == StepGroup::Expand && !begun {
                begin_expand(store, &journal).await?;
                begun = true;
            }
            if exists && entry.is_none() && !is_journal(store, step) {
                if !store.is_prebuilt(step).await? {
                    let in_the_way = preflight::in_the_way(&[(step, step.creates.to_string())]);
                    return Err(in_the_way.into_error());
                }
                store.journal_started(step).await?;
            }
            if exists {
                finish(store, step).await?;
                report(step, StepOutcome::Recognised);
            } else {
                missing.push(step);
            }
        }
        execute(store, &piece, &missing, options, report, sleep)
            .await
            .map_err(|error| error.in_steps(&missing, Direction::Up))?;
        if journal.is_empty() {
            journal = store.journal().await?;
        }
    }
    Ok(())
}

/// The journal's own table cannot be journaled before it exists.
fn is_journal(store: &dyn crate::Store, step: &Step) -> bool {
    step.number == store.steps()[0].number
}

async fn finish(store: &dyn crate::Store, step: &Step) -> Result<()> {
    if is_journal(store, step) {
        store.journal_started(step).await?;
    }
    store.journal_done(step).await
}

/// Executes the steps of `piece` that are missing.
async fn execute<Sleep, Slept>(
    store: &dyn crate::Store,
    piece: &Piece<'_>,
    missing: &[&Step],
    options: &Options<'_>,
    report: &mut (impl FnMut(&Step, StepOutcome) + Send),
    sleep: &Sleep,
) -> Result<()>
where
    Sleep: Fn(Duration) -> Slept + Send + Sync,
    Slept: Future<Output = ()> + Send,
{
    if missing.is_empty() {
        return Ok(());
    }
    let mut left = missing.to_vec();
    let is_long = match piece {
        Piece::Indexes(_) => {
            let untried = Trial::default();
            let trial = options.trial.unwrap_or(&untried);
            !gate::builds_under_gate(store, missing, trial, options.longest_stall).await?
                // There is no gate there, and one statement stops it once.
                || store.cluster().await?.is_some()
        }
        Piece::Gate(_) | Piece::Alone(_) => false,
    };
    // A table that may be copied is not copied under a lock against readers.
    let copies = missing.iter().any(|step| options.may_copy(step));
    match piece {
        Piece::Gate(_) | Piece::Indexes(_) if copies => {}
        Piece::Alone(_) => {}
        Piece::Indexes(_) if is_long => {
            for step in missing {
                store.journal_started(step).await?;
            }
            gate::build(store, missing, options, sleep).await?;
            for step in std::mem::take(&mut left) {
                store.journal_done(step).await?;
                report(step, StepOutcome::Applied);
            }
        }
        Piece::Gate(_) | Piece::Indexes(_) => {
            let passed = gate::pass(store, missing, Direction::Up, options, sleep).await?;
            if let Some(passed) = passed {
                passed.done.iter().for_each(|step| report(step, StepOutcome::Applied));
                left = passed.left;
            }
        }
    }
    for step in left {
        let outcome = alone(store, step, options, sleep).await?;
        report(step, outcome);
    }
    Ok(())
}

/// Executes a step whose statement asks for its lock by itself.
async fn alone<Sleep, Slept>(
    store: &dyn crate::Store,
    step: &Step,
    options: &Options<'_>,
    sleep: &Sleep,
) -> Result<StepOutcome>
where
    Sleep: Fn(Duration) -> Slept + Send + Sync,
    Slept: Future<Output = ()> + Send,
{
    if !is_journal(store, step) {
        store.journal_started(step).await?;
    }
    let outcome = match patience::execute(store, step, Direction::Up, options, sleep).await {
        Ok(()) => StepOutcome::Applied,
        // The statement of a process that was killed went on in the server, and has ended
        // only now.
        Err(_) if is_there(store, step).await? => StepOutcome::Recognised,
        Err(error) => return Err(error.in_step(step, Direction::Up)),
    };
    finish(store, step).await?;
    Ok(outcome)
}

/// Before the first step of expand: what `rollback` must come back to. A rollback that is
/// under way ends here, since what it has undone is made again.
async fn begin_expand(store: &dyn crate::Store, journal: &[JournalEntry]) -> Result<()> {
    let ledger = |entry: &JournalEntry| {
        store
            .steps()
            .iter()
            .any(|step| step.number == entry.number && step.group == StepGroup::Ledger)
    };
    if journal.iter().all(ledger) {
        store.record_schema_before().await?;
    }
    store.move_rollback(RollbackState::Abandoned).await
}
