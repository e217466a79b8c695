//! `rerun`: failed batches and quarantined items again.

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_operate::Reason;
use reelshift_plan::JobKind;
use reelshift_store::SharedStore;
use reelshift_store::ids::{self, IdKind};
use reelshift_store::ledger::{Rerun, RerunSelection};
use serde::Serialize;
use uuid::Uuid;

use crate::args::RerunArgs;
use crate::commands::errors::no_such_type;
use crate::context::{Context, by};
use crate::exit::Outcome;
use crate::style::{self, plural};
use crate::table::{Cell, Table};

/// The newest runs that a dry run shows one by one; the sum is over all.
const RUNS: u32 = 100;

/// The message when no failed work matches a selection.
pub const NOTHING: &str = "nothing to enqueue again: no failed work matches";

pub async fn run(context: &Context, args: &RerunArgs) -> Result<Outcome> {
    let store = context.writing_store(4).await?;
    let selection = RerunSelection {
        run: ids::find_given(&*store, IdKind::Run, args.run.as_ref()).await?,
        batch: ids::find_given(&*store, IdKind::Batch, args.batch.as_ref()).await?,
        error_type: args.error_type.clone(),
        error: None,
        stage: args.stage,
        since: args.since,
        quarantined_only: args.quarantined,
        dry_run: args.dry_run,
    };
    execute(context, &store, &selection, args.reason.as_ref()).await
}

/// Enqueues the selected work again, or only counts it, and prints the result.
pub async fn execute(
    context: &Context,
    store: &SharedStore,
    selection: &RerunSelection,
    reason: Option<&Reason>,
) -> Result<Outcome> {
    let dry_run = selection.dry_run;
    let shows_runs = dry_run || !context.json;
    let runs = if shows_runs { by_run(store, selection).await? } else { Vec::new() };
    let rerun = reelshift_operate::rerun(&**store, &by(reason), selection).await?;
    if context.json {
        let document = if dry_run {
            serde_json::json!({
                "batches": rerun.batches,
                "items": rerun.items,
                "item_batches": rerun.item_batches,
                "runs": runs,
            })
        } else {
            serde_json::json!(rerun)
        };
        context.print_json(&document)?;
        return Ok(Outcome::Done);
    }
    let Some(what) = amount(&rerun) else {
        crate::output::say!("{NOTHING}");
        if let Some(wanted) = &selection.error_type {
            let why = no_such_type(&**store, wanted).await?.unwrap_or_else(|| {
                format!(
                    "what is of the type {wanted} is enqueued again already, accepted, or not meant"
                )
            });
            crate::output::say!("{why}");
        }
        return Ok(Outcome::Done);
    };
    if dry_run {
        crate::output::block(table(&runs));
        crate::output::say!("would enqueue again: {what}. Nothing was changed");
    } else {
        let files = runs.iter().any(|run| run.kind == JobKind::Hash);
        let root = if files { " --media-root PATH" } else { "" };
        crate::output::say!(
            "{} {what}. Next: reelshift work{root}",
            "enqueued again:".green().bold()
        );
    }
    Ok(Outcome::Done)
}

/// `2 failed batches and 3 quarantined items in 1 batch`; `None` where there is none.
pub fn amount(rerun: &Rerun) -> Option<String> {
    (*rerun != Rerun::default()).then(|| {
        format!(
            "{} and {} in {}",
            plural(rerun.batches, "failed batch", "failed batches"),
            plural(rerun.items, "quarantined item", "quarantined items"),
            plural(rerun.item_batches, "batch", "batches"),
        )
    })
}

/// What a rerun would enqueue of one run.
#[derive(Debug, Serialize)]
struct OfRun {
    run: Uuid,
    kind: JobKind,
    #[serde(flatten)]
    rerun: Rerun,
}

/// What is selected of each run: a dry run of each.
async fn by_run(store: &SharedStore, selection: &RerunSelection) -> Result<Vec<OfRun>> {
    let mut runs = Vec::new();
    for report in store.ledger_report(RUNS).await?.runs {
        let (run, kind) = (report.run.id, report.run.kind);
        let other = selection.run.is_some_and(|id| id != run);
        if other || (report.quarantined == 0 && report.failed_open == 0) {
            continue;
        }
        let of_run = RerunSelection { run: Some(run), dry_run: true, ..selection.clone() };
        let rerun = reelshift_operate::rerun(&**store, &by(None), &of_run).await?;
        if rerun != Rerun::default() {
            runs.push(OfRun { run, kind, rerun });
        }
    }
    Ok(runs)
}

fn table(runs: &[OfRun]) -> Table {
    let mut table =
        style::table(&["run", "kind", "failed batches", "quarantined items", "in batches"]);
    for of_run in runs {
        table.add_row([
            Cell::new(of_run.run),
            Cell::new(of_run.kind),
            style::number(of_run.rerun.batches),
            style::number(of_run.rerun.items),
            style::number(of_run.rerun.item_batches),
        ]);
    }
    table
}
