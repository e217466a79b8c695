//! `rollback`: what the new columns and tables hold goes into an archive, then each step
//! is undone in reverse, then the schema is compared with that of before expand.

mod keep;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_archive::Manifest;
use reelshift_plan::{FlagAction, RunState};
use reelshift_store::SharedStore;
use reelshift_store::flags::FlagSetting;
use reelshift_store::patience::Options;
use reelshift_store::rollback::{RollbackState, SchemaDifference, differences};
use reelshift_store::schema::{self, JournalEntry, MigrationLock, Step, StepGroup, UndoOutcome};
use serde::Serialize;

use crate::args::{RollbackArgs, RollbackTarget};
use crate::context::{Context, who};
use crate::exit::{Failed, Outcome, Refused, Usage};
use crate::look;

/// A worker that was seen within this is taken for alive: several lease timeouts.
const ALIVE_SECONDS: f64 = 30.0;

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
struct Kept {
    directory: PathBuf,
    manifest: Manifest,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    archive: Option<Kept>,
    flags_disabled: usize,
    undone: Vec<Undone>,
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
    let store = context.store().await?;
    store.check_legacy().await?;
    let mut lock = store.lock_migration().await?;
    let done = locked(context, args, &store, &mut *lock).await;
    let released = lock.release().await;
    let report = done?;
    released?;
    conclude(context, args, &report)
}

async fn locked(
    context: &Context,
    args: &RollbackArgs,
    store: &SharedStore,
    lock: &mut dyn MigrationLock,
) -> Result<Report> {
    let legacy = args.to == RollbackTarget::Legacy;
    let last = boundary(store.steps(), args.to);
    let mut report = Report::default();
    let journal = store.journal().await?;
    let to_undo = schema::undoable(&**store, last).await?.len();
    let ledger = ledger_is_whole(store.steps(), &journal);
    if to_undo > 0 && !ledger {
        return Err(Refused(
            "reelshift's own tables are not complete: run `reelshift apply expand` first, then roll back".to_owned(),
        )
        .into());
    }
    if to_undo > 0 {
        if legacy {
            // Where expand is not whole nobody can work, and part of what tells is gone.
            let expanded = schema::require_expanded(&**store).await.is_ok();
            if expanded {
                refuse_while_working(store).await?;
            }
            report.archive = keep::keep(context, args, store).await?;
            if expanded {
                // A worker may have started while the archive was written.
                refuse_while_working(store).await?;
            }
        }
        report.flags_disabled = disable_flags(store, args.to).await?;
        if legacy {
            store.move_rollback(RollbackState::Undoing).await?;
        }
        undo(context, store, lock, last, &mut report).await?;
    }
    if !legacy {
        return Ok(report);
    }
    if let Some(before) = store.schema_before().await? {
        report.differences = Some(differences(&before, &store.schema_now().await?));
    }
    if ledger {
        store.move_rollback(RollbackState::Done).await?;
    }
    let equal = report.differences.as_ref().is_none_or(Vec::is_empty);
    if args.purge && (equal || args.discard) {
        undo(context, store, lock, 0, &mut report).await?;
        report.purged = true;
    }
    Ok(report)
}

async fn undo(
    context: &Context,
    store: &SharedStore,
    lock: &mut dyn MigrationLock,
    last: u32,
    report: &mut Report,
) -> Result<()> {
    let tell = |step: &Step, outcome| {
        if !context.json {
            let word = match outcome {
                UndoOutcome::Undone => "undone".green().to_string(),
                UndoOutcome::FoundUndone => "found undone".yellow().to_string(),
            };
            crate::look::say!("{:04} {:<46} {word}", step.number, step.name);
        }
        report.undone.push(Undone { number: step.number, name: step.name.clone(), outcome });
    };
    let waiting = |waiting: reelshift_store::patience::Waiting<'_>| {
        if let Some(holder) = waiting.holders.first() {
            tracing::debug!(step = waiting.step.name, %holder, "waiting for a lock");
        }
    };
    let options = Options { waiting: &waiting, ..Options::default() };
    Ok(schema::undo(&**store, lock, last, &options, tell, tokio::time::sleep).await?)
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

/// Nobody may be writing what is about to be dropped.
async fn refuse_while_working(store: &SharedStore) -> Result<()> {
    let refused = |why: String| Err(Refused(why).into());
    if let Some(run) = store.active_runs(None).await?.first() {
        return refused(format!(
            "{} run {} is {}: let it finish (reelshift work --until-idle), then roll back",
            run.kind, run.id, run.state
        ));
    }
    let snapshot = store.snapshot(1).await?;
    let alive = |state: &str, seen: f64| state == "live" && seen < ALIVE_SECONDS;
    if let Some(worker) =
        snapshot.workers.iter().find(|worker| alive(&worker.state, worker.seen_seconds_ago))
    {
        return refused(format!(
            "worker {} (process {} on {}) is live: stop it (SIGTERM drains it), then roll back",
            worker.id, worker.pid, worker.host
        ));
    }
    if store.has_open_work().await? {
        let paused = snapshot.runs.iter().find(|report| report.run.state == RunState::Paused);
        let which = paused.map_or_else(String::new, |report| format!(" of run {}", report.run.id));
        return refused(format!(
            "a batch{which} is still leased: let a worker finish it (reelshift work --until-idle), then roll back"
        ));
    }
    Ok(())
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
            crate::look::say!("{table}");
        }
        None => {}
    }
    if let Some(Kept { directory, manifest }) = &report.archive {
        crate::look::say!(
            "archive: {} rows, {} in {}. Bring it back after a new expand: reelshift restore {}",
            look::count(manifest.rows()),
            look::bytes(manifest.bytes()),
            directory.display(),
            directory.display()
        );
    }
}
