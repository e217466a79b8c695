//! `resume`: the whole fleet, or one run, after a pause.

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_operate::By;
use reelshift_plan::RunState;
use reelshift_store::SharedStore;
use reelshift_store::controls::PAUSE;
use reelshift_store::ids::{self, IdKind};
use serde_json::json;

use crate::args::ResumeArgs;
use crate::commands::status;
use crate::context::{Context, by};
use crate::exit::Outcome;

pub async fn run(context: &Context, args: &ResumeArgs) -> Result<Outcome> {
    let store = context.writing_store(2).await?;
    let by = by(args.reason.as_ref());
    let run = ids::find_given(&*store, IdKind::Run, args.run.as_ref()).await?;
    let Some(run) = run else { return fleet(context, &store, &by).await };
    let run = reelshift_operate::resume_run(&*store, &by, run).await?;
    let paused = store.controls().await?.iter().any(|control| control.name == PAUSE);
    if context.json {
        context.print_json(&json!({ "run": run, "fleet_paused": paused }))?;
        return Ok(Outcome::Done);
    }
    crate::output::say!("{} run {} is {} again", "resumed:".green().bold(), run.id, run.state);
    if paused {
        crate::output::say!("The whole fleet is paused. Next: reelshift resume");
    }
    Ok(Outcome::Done)
}

async fn fleet(context: &Context, store: &SharedStore, by: &By) -> Result<Outcome> {
    let changes = reelshift_operate::resume_fleet(&**store, by).await?;
    if context.json {
        context.print_json(&json!({ "changes": changes }))?;
        return Ok(Outcome::Done);
    }
    if changes.iter().any(|change| change.previous.is_some()) {
        crate::output::say!(
            "{} the fleet. Every worker goes on within 2 seconds",
            "resumed:".green().bold()
        );
    } else {
        crate::output::say!("the fleet was not paused");
    }
    for report in store.ledger_report(status::RUNS).await?.runs {
        if report.run.state == RunState::Paused {
            crate::output::say!(
                "{} run {} is paused, too. Next: reelshift resume --run {}",
                report.run.kind,
                report.run.id,
                report.run.id
            );
        }
    }
    Ok(Outcome::Done)
}
