//! `apply PHASE`: the phase's schema steps.

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_plan::{JobKind, RunState};
use reelshift_store::Store;
use reelshift_store::gate::GateReport;
use reelshift_store::patience::{Options, Waiting};
use reelshift_store::rollback::{self, OpenRollback, RollbackState};
use reelshift_store::schema::{self, StepGroup, StepOutcome};
use serde::Serialize;

use crate::args::{AppliedPhase, ApplyArgs};
use crate::confirm;
use crate::context::Context;
use crate::exit::{Outcome, Refused, Usage};
use crate::gates::{self, Gates};
use crate::waiting::WaitingLine;

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    steps: Vec<Applied>,
    /// The tables that were kept from the application, and for how long.
    gates: Vec<GateReport>,
}

#[derive(Debug, Serialize)]
struct Applied {
    number: u32,
    name: String,
    outcome: StepOutcome,
}

pub async fn run(context: &Context, args: &ApplyArgs) -> Result<Outcome> {
    let groups: &[StepGroup] = match args.phase {
        AppliedPhase::Expand => &[StepGroup::Ledger, StepGroup::Expand],
        AppliedPhase::Index => &[StepGroup::Index],
        AppliedPhase::Automate => &[StepGroup::Automate],
    };
    let store = match args.phase {
        AppliedPhase::Expand => context.store().await?,
        AppliedPhase::Index | AppliedPhase::Automate => context.writing_store(4).await?,
    };
    let (phase, next) = match args.phase {
        AppliedPhase::Expand => ("expand", "reelshift enqueue backfill"),
        AppliedPhase::Index => ("index", "reelshift apply automate"),
        AppliedPhase::Automate => ("automate", "reelshift validate"),
    };
    if args.phase != AppliedPhase::Expand {
        warn_before_backfill(&*store, phase).await?;
    }
    let abandoned = abandoned(args, &*store).await?;
    confirm::copying(context, &args.allow_copy, args.yes, &store)?;
    let line = WaitingLine::new(context);
    let waiting = |waiting: Waiting<'_>| line.show(waiting);
    let gates = Gates::default();
    let gate = |report: &GateReport| gates.add(report);
    let announce = |sentence: &str| {
        line.clear();
        crate::output::say_error!("{} {sentence}", "note:".yellow().bold());
    };
    let approve_stall =
        |expected| gates::approve_stall(context, &args.gate, args.yes, &line, expected);
    let options = Options {
        approve_stall: &approve_stall,
        allow_copy: &args.allow_copy,
        accept_statements: args.accept_statements,
        waiting: &waiting,
        gate: &gate,
        announce: &announce,
        ..args.gate.options()
    };
    let mut applied = Vec::new();
    let report = |step: &schema::Step, outcome| {
        line.clear();
        if !context.json {
            let word = match outcome {
                StepOutcome::Applied => "applied".green().to_string(),
                StepOutcome::AlreadyDone => "done before".dimmed().to_string(),
                StepOutcome::Recognised => "found in place".yellow().to_string(),
            };
            crate::look::say!("{:04} {:<46} {word}", step.number, step.name);
        }
        applied.push(Applied { number: step.number, name: step.name.clone(), outcome });
    };
    let done = schema::apply(&*store, groups, &options, report, tokio::time::sleep).await;
    line.clear();
    done?;
    if args.phase == AppliedPhase::Expand {
        crate::commands::flags::initialise(&*store).await?;
    }
    if let Some(open) = &abandoned {
        end(&*store, open).await?;
    }
    let gates = gates.into_reports();
    if context.json {
        context.print_json(&Report { steps: applied, gates })?;
        return Ok(Outcome::Done);
    }
    gates::print(&gates);
    let new = applied.iter().filter(|step| step.outcome != StepOutcome::AlreadyDone).count();
    let archive = abandoned.as_ref().filter(|open| open.undoing);
    if let Some(directory) = archive.and_then(|open| open.directory.as_deref()) {
        crate::look::say!(
            "\n{} What the rollback archived is still to come back. Next: reelshift restore {directory}",
            format!("{phase} is complete.").green().bold()
        );
    } else if new == 0 {
        crate::look::say!("\n{phase} was complete: nothing to do");
    } else {
        crate::look::say!("\n{} Next: {next}", format!("{phase} is complete.").green().bold());
    }
    Ok(Outcome::Done)
}

/// The rollback that this ends; refused where it was not asked for, since an expand makes
/// empty tables of what a rollback dropped.
async fn abandoned(args: &ApplyArgs, store: &dyn Store) -> Result<Option<OpenRollback>> {
    if args.phase != AppliedPhase::Expand {
        let asked = args.abandon_rollback;
        return if asked {
            Err(Usage("--abandon-rollback goes with apply expand".to_owned()).into())
        } else {
            Ok(None)
        };
    }
    let open = rollback::open(store).await?;
    match open {
        Some(open) if !args.abandon_rollback => Err(Refused(open.ways_on()).into()),
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
    Ok(ended?)
}

/// Runs that are looked at for a finished backfill: one before them was long ago.
const RECENT_RUNS: u32 = 200;

/// Index and automate come after the backfill; they work before it too, but each row that
/// it writes then costs more.
async fn warn_before_backfill(store: &dyn Store, phase: &str) -> Result<()> {
    let snapshot = store.snapshot(RECENT_RUNS).await?;
    let backfilled = snapshot
        .runs
        .iter()
        .any(|report| report.run.kind == JobKind::Backfill && report.run.state == RunState::Done);
    if !backfilled {
        crate::output::say_error!(
            "{} no backfill of this database is done, and {phase} makes one slower: the order is \
             expand, backfill, rollout, index, automate",
            "note:".yellow().bold(),
        );
    }
    Ok(())
}
