//! `wait`: returns when a state is reached, for scripts.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_plan::RunState;
use reelshift_store::SharedStore;
use reelshift_store::controls::PAUSE;
use reelshift_store::ids::{self, IdKind};
use reelshift_store::ledger::Run;
use reelshift_store::listings::RunSelection;
use reelshift_store::schema::StepGroup;
use serde_json::json;
use uuid::Uuid;

use crate::args::waiting::{Goal, WaitArgs};
use crate::commands::status;
use crate::context::Context;
use crate::exit::{Failed, Outcome, Usage};
use crate::style;

/// Between two questions to the database.
const POLL_PAUSE: Duration = Duration::from_secs(1);

/// The newest runs that are asked for their state: an older one has ended.
const MAX_RUNS: u32 = 1_000;

pub async fn run(context: &Context, args: &WaitArgs) -> Result<Outcome> {
    let of_runs = matches!(args.goal, Goal::Done | Goal::Paused);
    if args.run.is_some() && !of_runs {
        return Err(Usage("--run goes with --for done and --for paused".to_owned()).into());
    }
    let store = if of_runs { context.reading_store(4).await? } else { context.store().await? };
    let run = ids::find_given(&*store, IdKind::Run, args.run.as_ref()).await?;
    let mut waited_for: BTreeSet<Uuid> = run.into_iter().collect();
    let reached = async {
        while !is_reached(&store, args.goal, run, &mut waited_for).await? {
            tokio::time::sleep(POLL_PAUSE).await;
        }
        Ok::<_, anyhow::Error>(())
    };
    match args.timeout {
        None => reached.await?,
        Some(timeout) => match tokio::time::timeout(timeout, reached).await {
            Ok(reached) => reached?,
            Err(_) => {
                return Err(Failed(format!(
                    "not reached within {}: `reelshift status` says how far it is",
                    humantime::format_duration(timeout)
                ))
                .into());
            }
        },
    }
    if args.goal == Goal::Done && waited_for.is_empty() {
        crate::output::note!("{} no run was open", "note:".yellow().bold());
    }
    if context.json {
        context.print_json(&json!({ "reached": args.goal, "runs": waited_for }))?;
    }
    match args.goal {
        Goal::Done => outcome(&store, run, &waited_for).await,
        Goal::Paused | Goal::Expand | Goal::Index | Goal::Automate => Ok(Outcome::Done),
    }
}

/// That of the runs that were waited for, or of all where none was open.
async fn outcome(
    store: &SharedStore,
    run: Option<Uuid>,
    waited_for: &BTreeSet<Uuid>,
) -> Result<Outcome> {
    for &id in waited_for {
        if state(store, id).await? == RunState::Cancelled {
            return Err(Failed(format!(
                "run {id} was cancelled: what was open of it has been left undone"
            ))
            .into());
        }
    }
    let mut report = store.ledger_report(status::RUNS).await?;
    if let (None, Some(first)) = (run, report.unreadable.first()) {
        let rows = style::plural(report.unreadable.len() as u64, "row", "rows");
        return Err(Failed(format!(
            "{rows} of the ledger cannot be read, so it is not known whether all is done: {first}"
        ))
        .into());
    }
    if let Some(run) = run {
        report.runs.retain(|report| report.run.id == run);
    }
    Ok(status::outcome(&report))
}

/// Adds the open runs to `waited_for`, where all of them are to end.
async fn is_reached(
    store: &SharedStore,
    goal: Goal,
    run: Option<Uuid>,
    waited_for: &mut BTreeSet<Uuid>,
) -> Result<bool> {
    match (goal, run) {
        (Goal::Done, Some(run)) => Ok(state(store, run).await?.has_ended()),
        (Goal::Paused, Some(run)) => match state(store, run).await? {
            RunState::Paused => Ok(true),
            ended if ended.has_ended() => {
                Err(Failed(format!("run {run} is {ended}: it will not be paused any more")).into())
            }
            _ => Ok(false),
        },
        (Goal::Done, None) => {
            let open = open_runs(store).await?;
            waited_for.extend(open.iter().map(|run| run.id));
            Ok(open.is_empty())
        }
        (Goal::Paused, None) => {
            let controls = store.controls().await?;
            let open = open_runs(store).await?;
            let all = open.iter().all(|run| run.state == RunState::Paused);
            Ok(controls.iter().any(|control| control.name == PAUSE) || (all && !open.is_empty()))
        }
        (Goal::Expand, _) => is_applied(store, StepGroup::Expand).await,
        (Goal::Index, _) => is_applied(store, StepGroup::Index).await,
        (Goal::Automate, _) => is_applied(store, StepGroup::Automate).await,
    }
}

/// The runs that have not ended.
async fn open_runs(store: &SharedStore) -> Result<Vec<Run>> {
    let mut runs = store.runs(&RunSelection::default(), None, MAX_RUNS).await?;
    runs.retain(|run| !run.state.has_ended());
    Ok(runs)
}

async fn state(store: &SharedStore, run: Uuid) -> Result<RunState> {
    let found = store.run(run).await?;
    Ok(found.ok_or_else(|| Usage(format!("there is no run {run}")))?.state)
}

pub(super) async fn is_applied(store: &SharedStore, group: StepGroup) -> Result<bool> {
    let journal = store.journal().await?;
    let mut steps = store.steps().iter().filter(|step| step.group == group);
    Ok(steps.all(|step| step.is_done(&journal)))
}
