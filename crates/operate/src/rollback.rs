//! `rollback`: what the new columns and tables hold goes into an archive, then each step is
//! undone in reverse, then the schema is compared with that of before expand.

mod keep;
mod preview;
mod refuse;

use std::path::{Path, PathBuf};
use std::time::Duration;

use reelshift_archive::{ArchiveError, Manifest, Progress};
use reelshift_plan::{Flag, FlagAction};
use reelshift_store::audit::AuditEvent;
use reelshift_store::flags::FlagSetting;
use reelshift_store::patience::{Direction, Options};
use reelshift_store::rollback::{RollbackState, SchemaDifference, differences};
use reelshift_store::schema::{self, JournalEntry, MigrationLock, Step, StepGroup, UndoOutcome};
use reelshift_store::trial::{Extent, Trial};
use reelshift_store::{Store, StoreError, gate};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::By;
use crate::schema::{done, record};

pub use preview::{PreviewedStep, RollbackPreview, preview_rollback};

/// The errors of a rollback: the archive's, and in it the store's.
type Result<T> = std::result::Result<T, ArchiveError>;

/// Every process has seen a changed flag after this.
const FLAGS_SEEN: Duration = Duration::from_millis(2_500);

/// How far back: to the end of a phase, or to before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum RollbackTarget {
    /// Everything but reelshift's own tables is undone.
    Legacy,
    Expand,
    Backfill,
    Rollout,
    Index,
}

impl RollbackTarget {
    /// The number of the last step that stays.
    fn last_step(self, steps: &[Step]) -> u32 {
        let group = match self {
            Self::Legacy => StepGroup::Ledger,
            // Backfill and rollout have no steps of their own.
            Self::Expand | Self::Backfill | Self::Rollout => StepGroup::Expand,
            Self::Index => StepGroup::Index,
        };
        steps.iter().filter(|step| step.group <= group).map(|step| step.number).max().unwrap_or(0)
    }

    /// Whether readers must go back to the legacy columns.
    const fn takes_readers_back(self) -> bool {
        matches!(self, Self::Legacy | Self::Expand | Self::Backfill)
    }
}

impl std::fmt::Display for RollbackTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.into_str())
    }
}

/// What becomes of the data that a rollback to legacy drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep<'a> {
    Archive(&'a Path),
    Discard,
    /// Nobody has decided: right for any other target, which drops no data.
    Undecided,
}

/// A rollback as it is asked for.
#[derive(Debug)]
pub struct RollBack<'a> {
    pub to: RollbackTarget,
    pub keep: Keep<'a>,
    /// Whether reelshift's own tables go too, last of all.
    pub purge: bool,
    /// The application's own objects that only seem to use what is dropped.
    pub despite: &'a [String],
    /// Without a trial: this makes its own.
    pub options: Options<'a>,
}

impl RollBack<'_> {
    /// The same rollback, as it is typed.
    #[must_use]
    pub fn command(&self) -> String {
        let mut words = vec!["reelshift rollback".to_owned()];
        if self.to != RollbackTarget::Legacy {
            words.push(format!("--to {}", self.to));
        }
        match self.keep {
            Keep::Archive(directory) => words.push(format!("--archive {}", directory.display())),
            Keep::Discard => words.push("--discard".to_owned()),
            Keep::Undecided => {}
        }
        words.extend(self.purge.then(|| "--purge".to_owned()));
        words.extend(self.options.stop_the_cluster.then(|| "--stop-the-cluster".to_owned()));
        let copies = self.options.allow_copy.iter().map(|table| format!("--allow-copy {table}"));
        words.extend(copies);
        words.extend(self.despite.iter().map(|name| format!("--despite {name}")));
        words.join(" ")
    }

    /// `error` names its step already: adds what to type.
    fn stopped(&self, error: StoreError) -> ArchiveError {
        let again = self.command();
        let reworded = error.reworded(|message| {
            format!(
                "the rollback stopped at {message}. What was undone stays undone; when this is mended, \
                 go on with `{again}`"
            )
        });
        ArchiveError::Store(reworded)
    }
}

/// What happens during a rollback.
#[derive(Debug)]
pub enum RollbackEvent<'a> {
    Archiving(Progress),
    Archived,
    Undone(&'a Step, UndoOutcome),
}

/// The archive that a rollback wrote.
#[derive(Debug, Serialize)]
pub struct WrittenArchive {
    pub directory: PathBuf,
    pub manifest: Manifest,
}

/// What a rollback did.
#[derive(Debug, Default)]
pub struct RolledBack {
    pub archive: Option<WrittenArchive>,
    pub flags_disabled: usize,
    pub undone: u64,
    /// What differs from the schema of before expand; `None` where nothing was compared.
    pub differences: Option<Vec<SchemaDifference>>,
    pub purged: bool,
    /// Whether it came to its end; otherwise it was told to stop.
    pub complete: bool,
}

/// Rolls back, and tells `report` of each step. What was done is recorded, complete or not,
/// before a purge takes the audit too.
///
/// # Errors
/// `Refused` where something stands in the way or what would be lost is not decided about, and
/// nothing was changed then; otherwise as the archive and the store.
pub async fn roll_back(
    store: &dyn Store,
    by: &By,
    request: &RollBack<'_>,
    stop: &CancellationToken,
    mut report: impl FnMut(RollbackEvent<'_>) + Send,
) -> Result<RolledBack> {
    let lock = store.lock_migration().await?;
    let ended = recorded(store, by, request, &*lock, stop, &mut report).await;
    let released = lock.release().await;
    let rolled_back = ended?;
    released?;
    Ok(rolled_back)
}

async fn recorded(
    store: &dyn Store,
    by: &By,
    request: &RollBack<'_>,
    lock: &dyn MigrationLock,
    stop: &CancellationToken,
    report: &mut (impl FnMut(RollbackEvent<'_>) + Send),
) -> Result<RolledBack> {
    let ledger = ledger_is_whole(store.steps(), &store.journal().await?);
    let mut rolled_back = RolledBack::default();
    let work = locked(store, by, request, lock, (ledger, stop), &mut rolled_back, report);
    let ended = stop.run_until_cancelled(work).await;
    rolled_back.complete = matches!(ended, Some(Ok(())));
    let ended = ended.unwrap_or(Ok(()));
    if ledger && (rolled_back.undone > 0 || rolled_back.archive.is_some()) {
        let kept = match request.keep {
            Keep::Archive(directory) => format!(", archived in {}", directory.display()),
            Keep::Discard => ", discarded".to_owned(),
            Keep::Undecided => String::new(),
        };
        let done = done(rolled_back.undone, &kept, rolled_back.complete);
        let event = AuditEvent::RolledBack { to: request.to.to_string(), done };
        let recorded = record(store, by, event, Ok(())).await;
        ended?;
        recorded?;
    } else {
        ended?;
    }
    let equal = rolled_back.differences.as_ref().is_none_or(Vec::is_empty);
    if rolled_back.complete && request.purge && (equal || request.keep == Keep::Discard) {
        let purge = undo(store, request, lock, 0, None, &mut rolled_back, report);
        match stop.run_until_cancelled(purge).await {
            Some(purged) => purged?,
            None => rolled_back.complete = false,
        }
        rolled_back.purged = rolled_back.complete;
    }
    Ok(rolled_back)
}

async fn locked(
    store: &dyn Store,
    by: &By,
    request: &RollBack<'_>,
    lock: &dyn MigrationLock,
    (ledger, stop): (bool, &CancellationToken),
    rolled_back: &mut RolledBack,
    report: &mut (impl FnMut(RollbackEvent<'_>) + Send),
) -> Result<()> {
    let legacy = request.to == RollbackTarget::Legacy;
    let last = request.to.last_step(store.steps());
    let to_undo = schema::undoable(store, last).await?;
    if !to_undo.is_empty() && !ledger {
        return Err(ArchiveError::Refused(
            "reelshift's own tables are not complete: run `reelshift apply expand` first, then roll back".to_owned(),
        ));
    }
    if to_undo.is_empty() {
        // Also where no step is left to undo, a rollback takes readers back.
        if ledger {
            rolled_back.flags_disabled = disable_flags(store, by, request.to).await?;
        }
    } else {
        refuse::while_used(store, &to_undo, request.despite).await?;
        let trial = store.trial(Extent::WayBack { last }).await?;
        refuse::unless_it_can_end(&trial, request.options.allow_copy)?;
        approve_stalls(store, request, &to_undo, &trial).await?;
        let options = &request.options;
        schema::refuse_to_stop_cluster(store, &to_undo, Direction::Down, options).await?;
        // Where expand is not whole nobody can work, and part of what tells is gone.
        let expanded = legacy && schema::require_expanded(store).await.is_ok();
        if expanded {
            refuse::while_working(store).await?;
        }
        if legacy {
            rolled_back.archive = keep::keep(store, by, request.keep, stop, report).await?;
        }
        if expanded {
            // From here on nobody starts; somebody may have while the archive was written.
            refuse::while_working(store).await?;
        }
        rolled_back.flags_disabled = disable_flags(store, by, request.to).await?;
        if expanded {
            // Nor was anybody just starting at the check before.
            refuse::while_working(store).await?;
        }
        if legacy {
            store.move_rollback(RollbackState::Undoing).await?;
        }
        undo(store, request, lock, last, Some(&trial), rolled_back, report).await?;
    }
    if !legacy {
        return Ok(());
    }
    if let Some(before) = store.schema_before().await? {
        rolled_back.differences = Some(differences(&before, &store.schema_now().await?));
    }
    if ledger {
        store.move_rollback(RollbackState::Done).await?;
    }
    Ok(())
}

/// Asks about every table that the application would be kept from for long, while nothing is
/// undone yet.
async fn approve_stalls(
    store: &dyn Store,
    request: &RollBack<'_>,
    to_undo: &[&Step],
    trial: &Trial,
) -> Result<()> {
    let options = Options { trial: Some(trial), ..request.options };
    let steps = to_undo.iter().copied();
    Ok(gate::approve_stalls(store, steps, Direction::Down, &options).await?)
}

async fn undo(
    store: &dyn Store,
    request: &RollBack<'_>,
    lock: &dyn MigrationLock,
    last: u32,
    trial: Option<&Trial>,
    rolled_back: &mut RolledBack,
    report: &mut (impl FnMut(RollbackEvent<'_>) + Send),
) -> Result<()> {
    let count = |step: &Step, outcome| {
        rolled_back.undone += 1;
        report(RollbackEvent::Undone(step, outcome));
    };
    let options = Options { trial, ..request.options };
    let undone = schema::undo(store, lock, last, &options, count, tokio::time::sleep).await;
    undone.map_err(|error| request.stopped(error))
}

fn ledger_is_whole(steps: &[Step], journal: &[JournalEntry]) -> bool {
    steps.iter().filter(|step| step.group == StepGroup::Ledger).all(|step| step.is_done(journal))
}

/// The application's rollback comes before the database's: readers go back to the legacy
/// columns while the new ones are still there.
async fn disable_flags(store: &dyn Store, by: &By, target: RollbackTarget) -> Result<usize> {
    if !target.takes_readers_back() {
        return Ok(0);
    }
    let stored = store.flags().await?.unwrap_or_default();
    let on = stored.into_iter().filter(|stored| stored.rollout.is_on());
    let settings: Vec<FlagSetting> = on
        .filter(|stored| Flag::EMERGENCY.contains(&stored.flag))
        .map(|stored| FlagSetting {
            flag: stored.flag,
            enabled: false,
            percent: None,
            expected: None,
        })
        .collect();
    if !settings.is_empty() {
        store
            .set_flags(FlagAction::EmergencyDisable, &settings, Some("a rollback"), &by.who)
            .await?;
        tokio::time::sleep(FLAGS_SEEN).await;
    }
    Ok(settings.len())
}
