//! Undoing steps in the order of [`undo_order`], each journaled before and after.
//!
//! A step is first journaled as no longer complete, then undone, then taken out of the
//! journal. A process that dies between two of these is followed by one that sees in the
//! schema how far it came; so does an `apply`, which completes the step instead.

use std::cmp::Reverse;
use std::time::Duration;

use serde::Serialize;

use super::presence::is_there;
use super::{JournalEntry, MigrationLock, Step};
use crate::gate::{self, Piece, pieces};
use crate::patience::{self, Direction, Options};
use crate::{Result, StoreError};

/// What happened to one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoOutcome {
    /// Its statement was undone now.
    Undone,
    /// Its object was gone though the journal had the step: a process died between the two.
    FoundUndone,
}

/// Undoes every journaled step whose number is above `last`, and tells `report` of each. `sleep` waits between tries. The caller holds the migration lock.
///
/// # Errors
/// `Refused` when the journal has a step that this version does not ship or ships with
/// another text (nothing is undone then), or when a lock was not free for as long as
/// `options` say.
pub async fn undo<Sleep, Slept>(
    store: &dyn crate::Store,
    lock: &dyn MigrationLock,
    last: u32,
    options: &Options<'_>,
    mut report: impl FnMut(&Step, UndoOutcome) + Send,
    sleep: Sleep,
) -> Result<()>
where
    Sleep: Fn(Duration) -> Slept + Send + Sync,
    Slept: Future<Output = ()> + Send,
{
    let options = &Options { held: Some(lock), ..*options };
    let steps = undoable(store, last).await?;
    for piece in pieces(steps.iter().copied(), Direction::Down) {
        let mut there = Vec::new();
        for step in piece.steps().iter().copied() {
            if is_there(store, step).await? {
                there.push(step);
            } else {
                forget(store, step).await.map_err(|error| error.in_step(step, Direction::Down))?;
                report(step, UndoOutcome::FoundUndone);
            }
        }
        let mut left = there.clone();
        if matches!(piece, Piece::Gate(_))
            && let Some(passed) = gate::pass(store, &there, Direction::Down, options, &sleep)
                .await
                .map_err(|error| error.in_steps(&there, Direction::Down))?
        {
            passed.done.iter().for_each(|step| report(step, UndoOutcome::Undone));
            left = passed.left;
        }
        for step in left {
            let undone = undo_one(store, step, options, &sleep).await;
            report(step, undone.map_err(|error| error.in_step(step, Direction::Down))?);
        }
    }
    Ok(())
}

/// The steps that [`undo`] would undo, in its order.
///
/// # Errors
/// As [`undo`]'s; also where somebody has dropped a part of what a step made.
pub async fn undoable(store: &dyn crate::Store, last: u32) -> Result<Vec<&Step>> {
    let journal = store.journal().await?;
    let above = journal.iter().filter(|entry| entry.number > last);
    let steps = above.map(|entry| shipped(store.steps(), entry)).collect::<Result<Vec<_>>>()?;
    for step in &steps {
        is_there(store, step).await?;
    }
    Ok(undo_order(steps))
}

/// The triggers of the platform's table before anything else, so that no table is changed which
/// one of them names; then from the highest number down, so that a new table loses its foreign
/// key before its trigger.
#[must_use]
pub fn undo_order<'a>(steps: impl IntoIterator<Item = &'a Step>) -> Vec<&'a Step> {
    let mut steps: Vec<_> = steps.into_iter().collect();
    steps.sort_by_key(|step| (!step.is_on_platform_table(), Reverse(step.number)));
    steps
}

fn shipped<'a>(steps: &'a [Step], entry: &JournalEntry) -> Result<&'a Step> {
    let step = steps.iter().find(|step| step.number == entry.number);
    step.filter(|step| step.checksum() == entry.checksum).ok_or_else(|| {
        StoreError::Refused(format!(
            "step {:04} {} was made by another version of reelshift: roll back with that version",
            entry.number, entry.name
        ))
    })
}

/// The journal's own table goes last, and what it would say goes with it.
fn is_journal(store: &dyn crate::Store, step: &Step) -> bool {
    step.number == store.steps()[0].number
}

async fn forget(store: &dyn crate::Store, step: &Step) -> Result<()> {
    if is_journal(store, step) { Ok(()) } else { store.journal_undone(step).await }
}

/// Undoes a step whose statement asks for its lock by itself.
async fn undo_one<Sleep, Slept>(
    store: &dyn crate::Store,
    step: &Step,
    options: &Options<'_>,
    sleep: &Sleep,
) -> Result<UndoOutcome>
where
    Sleep: Fn(Duration) -> Slept + Send + Sync,
    Slept: Future<Output = ()> + Send,
{
    if !is_journal(store, step) {
        store.journal_undoing(step).await?;
    }
    let outcome = match patience::execute(store, step, Direction::Down, options, sleep).await {
        Ok(()) => UndoOutcome::Undone,
        // The statement of a process that was killed may have gone on at the server.
        Err(_) if !is_there(store, step).await? => UndoOutcome::FoundUndone,
        Err(error) => return Err(error),
    };
    forget(store, step).await?;
    Ok(outcome)
}
