//! `apply PHASE`: the phase's schema steps.

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_operate::{Applied, AppliedStep, Apply};
use reelshift_plan::{JobKind, RunState};
use reelshift_store::gate::GateReport;
use reelshift_store::patience::{Options, Waiting};
use reelshift_store::schema::{Step, StepGroup, StepOutcome};
use reelshift_store::{SharedStore, Store};
use serde::Serialize;

use super::wait::is_applied;
use crate::args::{AppliedPhase, ApplyArgs};
use crate::confirm;
use crate::context::{Context, by};
use crate::exit::{Interrupted, Outcome, Usage};
use crate::gates::{self, Gates};
use crate::waiting::WaitingLine;

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    steps: Vec<AppliedStep>,
    /// The tables that were kept from the application, and for how long.
    gates: Vec<GateReport>,
}

pub async fn run(context: &Context, args: &ApplyArgs) -> Result<Outcome> {
    let (phase, next) = match args.phase {
        AppliedPhase::Expand => (StepGroup::Expand, "reelshift enqueue backfill"),
        AppliedPhase::Index => (StepGroup::Index, "reelshift apply automate"),
        AppliedPhase::Automate => (StepGroup::Automate, "reelshift validate"),
    };
    if args.abandon_rollback && phase != StepGroup::Expand {
        return Err(Usage("--abandon-rollback goes with apply expand".to_owned()).into());
    }
    let (store, backfill) = context.until_stopped(open(context, args, phase)).await?;
    let next = match backfill {
        _ if phase == StepGroup::Expand => next,
        Some(RunState::Done) if phase == StepGroup::Index => {
            let automated = is_applied(&store, StepGroup::Automate).await?;
            if automated { "reelshift validate" } else { next }
        }
        Some(RunState::Done) => next,
        Some(RunState::Paused | RunState::Failed) => "reelshift status",
        Some(_) => "reelshift work",
        None => "reelshift enqueue backfill",
    };
    confirm::copying(context, &args.allow_copy, args.yes, &store)?;
    let line = WaitingLine::new(context);
    let waiting = |waiting: Waiting<'_>| line.show(waiting);
    let gates = Gates::default();
    let gate = |report: &GateReport| gates.add(report);
    let announce = |sentence: &str| {
        line.clear();
        crate::output::note!("{} {sentence}", "note:".yellow().bold());
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
    let report = |step: &Step, outcome| {
        line.clear();
        if !context.json {
            let word = match outcome {
                StepOutcome::Applied => "applied".green().to_string(),
                StepOutcome::AlreadyDone => "done before".dimmed().to_string(),
                StepOutcome::Recognised => "found in place".yellow().to_string(),
            };
            crate::output::say!("{:04} {:<46} {word}", step.number, step.name);
        }
        applied.push(AppliedStep::new(step, outcome));
    };
    let request = Apply {
        phase,
        abandon_rollback: args.abandon_rollback,
        initial_flags: crate::commands::flags::environment(),
        options,
    };
    let done = reelshift_operate::apply(&*store, &by(None), request, &context.stop, report).await;
    line.clear();
    let Applied { new, abandoned, complete } = done?;
    if !complete {
        return Err(Interrupted::GOES_ON.into());
    }
    let gates = gates.into_reports();
    if context.json {
        context.print_json(&Report { steps: applied, gates })?;
        return Ok(Outcome::Done);
    }
    gates::print(&gates);
    let phase = phase.into_str();
    let archive = abandoned.as_ref().filter(|open| open.undoing);
    if let Some(directory) = archive.and_then(|open| open.directory.as_deref()) {
        crate::output::say!(
            "\n{} What the rollback archived is still to come back. Next: reelshift restore {directory}",
            format!("{phase} is complete.").green().bold()
        );
    } else if new == 0 {
        crate::output::say!("\n{phase} was complete: nothing to do");
    } else {
        crate::output::say!("\n{} Next: {next}", format!("{phase} is complete.").green().bold());
    }
    Ok(Outcome::Done)
}

/// The database, if the phase may be applied to it, and how far a backfill of it is.
async fn open(
    context: &Context,
    args: &ApplyArgs,
    phase: StepGroup,
) -> Result<(SharedStore, Option<RunState>)> {
    if args.phase == AppliedPhase::Expand {
        return Ok((context.store().await?, None));
    }
    let store = context.writing_store(4).await?;
    let backfill = backfill(&*store).await?;
    if backfill != Some(RunState::Done) {
        crate::output::note!(
            "{} no backfill of this database is done, and {} makes one slower: the order is \
             {ORDER}",
            "note:".yellow().bold(),
            phase.into_str(),
        );
    }
    Ok((store, backfill))
}

/// Runs that are looked at for a finished backfill: one before them was long ago.
const RECENT_RUNS: u32 = 200;

/// The phases, for who is ahead of them.
pub(super) const ORDER: &str = "expand, backfill, rollout, index, automate";

/// The state of the newest backfill that was not cancelled, or done if one is. Index and automate
/// work before its end too, but each row that it writes then costs more; and a flag shows what is
/// not filled in yet.
pub(super) async fn backfill(store: &dyn Store) -> Result<Option<RunState>> {
    let snapshot = store.ledger_report(RECENT_RUNS).await?;
    let backfills = snapshot.runs.iter().filter(|report| report.run.kind == JobKind::Backfill);
    let states: Vec<_> = backfills.map(|report| report.run.state).collect();
    let is_done = states.contains(&RunState::Done).then_some(RunState::Done);
    Ok(is_done.or_else(|| states.into_iter().find(|state| *state != RunState::Cancelled)))
}
