//! `rollback`: what the new columns and tables hold goes into an archive, then each step
//! is undone in reverse, then the schema is compared with that of before expand.

mod dry_run;
mod keep;
mod refuse;
mod stopped;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_archive::Manifest;
use reelshift_operate::Kept;
use reelshift_plan::FlagAction;
use reelshift_store::SharedStore;
use reelshift_store::flags::FlagSetting;
use reelshift_store::gate::{self, GateReport};
use reelshift_store::patience::{Direction, Options, Waiting};
use reelshift_store::rollback::{RollbackState, SchemaDifference, differences};
use reelshift_store::schema::{self, JournalEntry, MigrationLock, Step, StepGroup, UndoOutcome};
use reelshift_store::trial::{Extent, Trial};
use serde::Serialize;

use crate::args::{RollbackArgs, RollbackTarget};
use crate::confirm;
use crate::context::{Context, by, who};
use crate::exit::{Failed, Outcome, Refused, Usage};
use crate::gates::{self, Gates};
use crate::look;
use crate::waiting::WaitingLine;

/// Every process has seen a changed flag after this.
const FLAGS_SEEN: Duration = Duration::from_millis(2_500);

#[derive(Debug, Serialize)]
struct Undone {
    number: u32,
    name: String,
    outcome: UndoOutcome,
}

/// The archive that this rollback wrote.
#[derive(Debug, Serialize)]
struct WrittenArchive {
    directory: PathBuf,
    manifest: Manifest,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    archive: Option<WrittenArchive>,
    flags_disabled: usize,
    undone: Vec<Undone>,
    /// The tables that were kept from the application, and for how long.
    gates: Vec<GateReport>,
    /// What differs from the schema of before expand; `None` where nothing was compared.
    differences: Option<Vec<SchemaDifference>>,
    purged: bool,
}

pub async fn run(context: &Context, args: &RollbackArgs) -> Result<Outcome> {
    let legacy = args.to == RollbackTarget::Legacy;
    if !legacy && (args.archive.is_some() || args.discard || args.purge) {
        return Err(Usage(
            "--archive, --discard and --purge go with a rollback to legacy: any other keeps all data".to_owned(),
        )
        .into());
    }
    let store = context.until_stopped(open(context)).await?;
    if args.dry_run {
        return context.until_stopped(dry_run::run(context, args, &store)).await;
    }
    confirm::copying(context, &args.allow_copy, args.yes, &store)?;
    if let Some(loss) = loss(args) {
        confirm::losing(context, loss, &store.place().namespace, args.yes)?;
    }
    let mut lock = store.lock_migration().await?;
    let mut report = Report::default();
    let done = recorded(context, args, &store, &mut *lock, &mut report).await;
    let released = lock.release().await;
    done?;
    released?;
    conclude(context, args, &report)
}

async fn open(context: &Context) -> Result<SharedStore> {
    let store = context.store().await?;
    store.check_legacy().await?;
    Ok(store)
}

/// Rolls back and records how far that went, before a purge takes the audit too.
async fn recorded(
    context: &Context,
    args: &RollbackArgs,
    store: &SharedStore,
    lock: &mut dyn MigrationLock,
    report: &mut Report,
) -> Result<()> {
    let ledger = ledger_is_whole(store.steps(), &store.journal().await?);
    let done = context.until_stopped(locked(context, args, store, lock, ledger, report)).await;
    if ledger && (!report.undone.is_empty() || report.archive.is_some()) {
        let kept = match (&args.archive, args.discard) {
            (Some(directory), _) => Kept::Archive(directory),
            (None, true) => Kept::Discarded,
            (None, false) => Kept::All,
        };
        let (by, to, undone) = (by(None), args.to.to_string(), report.undone.len() as u64);
        let recorded =
            reelshift_operate::record_rollback(&**store, &by, to, undone, kept, done.is_ok());
        let recorded = recorded.await;
        done?;
        recorded?;
    } else {
        done?;
    }
    let equal = report.differences.as_ref().is_none_or(Vec::is_empty);
    if args.purge && (equal || args.discard) {
        context.until_stopped(undo(context, args, store, lock, 0, None, report)).await?;
        report.purged = true;
    }
    Ok(())
}

/// What cannot be brought back afterwards.
const fn loss(args: &RollbackArgs) -> Option<&'static str> {
    match (args.discard, args.purge) {
        (true, true) => {
            Some("all that the new columns and tables hold, and reelshift's own tables,")
        }
        (true, false) => Some("all that the new columns and tables hold"),
        (false, true) => Some("reelshift's own tables with the history of all runs"),
        (false, false) => None,
    }
}

async fn locked(
    context: &Context,
    args: &RollbackArgs,
    store: &SharedStore,
    lock: &mut dyn MigrationLock,
    ledger: bool,
    report: &mut Report,
) -> Result<()> {
    let legacy = args.to == RollbackTarget::Legacy;
    let last = boundary(store.steps(), args.to);
    let to_undo = schema::undoable(&**store, last).await?;
    if !to_undo.is_empty() && !ledger {
        return Err(Refused(
            "reelshift's own tables are not complete: run `reelshift apply expand` first, then roll back".to_owned(),
        )
        .into());
    }
    if to_undo.is_empty() {
        // Also where no step is left to undo, a rollback takes readers back.
        if ledger {
            report.flags_disabled = disable_flags(store, args.to).await?;
        }
    } else {
        refuse::while_used(store, &to_undo, &args.despite).await?;
        let trial = store.trial(Extent::WayBack { last }).await?;
        refuse::unless_it_can_end(&trial, &args.allow_copy)?;
        approve_stalls(context, args, store, &to_undo, &trial).await?;
        // Where expand is not whole nobody can work, and part of what tells is gone.
        let expanded = legacy && schema::require_expanded(&**store).await.is_ok();
        if expanded {
            refuse::while_working(store).await?;
        }
        if legacy {
            report.archive = keep::keep(context, args, store).await?;
        }
        if expanded {
            // From here on nobody starts; somebody may have while the archive was written.
            refuse::while_working(store).await?;
        }
        report.flags_disabled = disable_flags(store, args.to).await?;
        if expanded {
            // Nor was anybody just starting when it was looked at before.
            refuse::while_working(store).await?;
        }
        if legacy {
            store.move_rollback(RollbackState::Undoing).await?;
        }
        undo(context, args, store, lock, last, Some(&trial), report).await?;
    }
    if !legacy {
        return Ok(());
    }
    if let Some(before) = store.schema_before().await? {
        report.differences = Some(differences(&before, &store.schema_now().await?));
    }
    if ledger {
        store.move_rollback(RollbackState::Done).await?;
    }
    Ok(())
}

/// Asks about every table that the application would be kept from for long, while nothing is
/// undone yet.
async fn approve_stalls(
    context: &Context,
    args: &RollbackArgs,
    store: &SharedStore,
    to_undo: &[&Step],
    trial: &Trial,
) -> Result<()> {
    let line = WaitingLine::new(context);
    let approve_stall =
        |expected| gates::approve_stall(context, &args.gate, args.yes, &line, expected);
    let options =
        Options { trial: Some(trial), approve_stall: &approve_stall, ..args.gate.options() };
    let steps = to_undo.iter().copied();
    Ok(gate::approve_stalls(&**store, steps, Direction::Down, &options).await?)
}

async fn undo(
    context: &Context,
    args: &RollbackArgs,
    store: &SharedStore,
    lock: &mut dyn MigrationLock,
    last: u32,
    trial: Option<&Trial>,
    report: &mut Report,
) -> Result<()> {
    let line = WaitingLine::new(context);
    let tell = |step: &Step, outcome| {
        line.clear();
        if !context.json {
            let word = match outcome {
                UndoOutcome::Undone => "undone".green().to_string(),
                UndoOutcome::FoundUndone => "found undone".yellow().to_string(),
            };
            crate::look::say!("{:04} {:<46} {word}", step.number, step.name);
        }
        report.undone.push(Undone { number: step.number, name: step.name.clone(), outcome });
    };
    let waiting = |waiting: Waiting<'_>| line.show(waiting);
    let gates = Gates::default();
    let gate = |report: &GateReport| gates.add(report);
    let options = Options {
        trial,
        allow_copy: &args.allow_copy,
        waiting: &waiting,
        gate: &gate,
        ..args.gate.options()
    };
    let undone = schema::undo(&**store, lock, last, &options, tell, tokio::time::sleep).await;
    line.clear();
    report.gates.extend(gates.into_reports());
    undone.map_err(|error| stopped::error(error, args))
}

/// The number of the last step that stays.
fn boundary(steps: &[Step], target: RollbackTarget) -> u32 {
    let group = match target {
        RollbackTarget::Legacy => StepGroup::Ledger,
        // Backfill and rollout have no steps of their own.
        RollbackTarget::Expand | RollbackTarget::Backfill | RollbackTarget::Rollout => {
            StepGroup::Expand
        }
        RollbackTarget::Index => StepGroup::Index,
    };
    steps.iter().filter(|step| step.group <= group).map(|step| step.number).max().unwrap_or(0)
}

fn ledger_is_whole(steps: &[Step], journal: &[JournalEntry]) -> bool {
    let done = |step: &Step| journal.iter().any(|entry| entry.number == step.number && entry.done);
    steps.iter().filter(|step| step.group == StepGroup::Ledger).all(done)
}

/// The application's rollback comes before the database's: readers go back to the legacy
/// columns while the new ones are still there.
async fn disable_flags(store: &SharedStore, target: RollbackTarget) -> Result<usize> {
    if matches!(target, RollbackTarget::Rollout | RollbackTarget::Index) {
        return Ok(0);
    }
    let stored = store.flags().await?.unwrap_or_default();
    let settings: Vec<FlagSetting> = stored
        .into_iter()
        .filter(|stored| {
            stored.rollout.is_on() && reelshift_plan::Flag::EMERGENCY.contains(&stored.flag)
        })
        .map(|stored| FlagSetting {
            flag: stored.flag,
            enabled: false,
            percent: None,
            expected: None,
        })
        .collect();
    if !settings.is_empty() {
        store
            .set_flags(FlagAction::EmergencyDisable, &settings, Some("a rollback"), &who())
            .await?;
        tokio::time::sleep(FLAGS_SEEN).await;
    }
    Ok(settings.len())
}

fn conclude(context: &Context, args: &RollbackArgs, report: &Report) -> Result<Outcome> {
    if context.json {
        context.print_json(report)?;
    } else {
        print(args, report);
    }
    let found = report.differences.as_deref().unwrap_or_default();
    if found.is_empty() {
        return Ok(Outcome::Done);
    }
    let named: Vec<_> = found
        .iter()
        .map(|found| format!("{} {} ({})", found.kind, found.name, word(found)))
        .collect();
    let kept = if args.purge && !report.purged {
        "; reelshift's own tables were kept, `rollback --purge --discard` drops them all the same"
    } else {
        ""
    };
    Err(Failed(format!(
        "everything was undone, but the schema is not as before expand: {}{kept}",
        named.join(", ")
    ))
    .into())
}

fn word(found: &SchemaDifference) -> &'static str {
    use reelshift_store::rollback::Change;
    match found.change {
        Change::Missing => "missing",
        Change::Added => "new since",
        Change::Changed => "changed",
    }
}

fn print(args: &RollbackArgs, report: &Report) {
    if report.undone.is_empty() {
        crate::look::say!("nothing to undo: no step beyond {} is there", args.to);
    } else {
        crate::look::say!("\n{}", format!("rolled back to {}.", args.to).green().bold());
    }
    gates::print(&report.gates);
    if report.flags_disabled > 0 {
        crate::look::say!(
            "{} switched off before that",
            look::plural(report.flags_disabled as u64, "feature flag was", "feature flags were")
        );
    }
    match &report.differences {
        Some(found) if found.is_empty() => {
            crate::look::say!("the schema is {} before expand", "exactly as".green());
        }
        Some(found) => {
            let mut table = look::table(&["kind", "name", "is"]);
            for found in found {
                table.add_row([found.kind.as_str(), found.name.as_str(), word(found)]);
            }
            crate::output::block(&table);
        }
        None => {}
    }
    if let Some(WrittenArchive { directory, manifest }) = &report.archive {
        crate::look::say!(
            "archive: {} rows, {} in {}. Bring it back after a new expand: reelshift restore {}",
            look::count(manifest.rows()),
            look::bytes(manifest.bytes()),
            directory.display(),
            directory.display()
        );
    }
}
