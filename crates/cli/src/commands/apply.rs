//! `apply PHASE`: the phase's schema steps.

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_store::schema::{self, StepGroup, StepOutcome};
use serde::Serialize;

use crate::args::{AppliedPhase, ApplyArgs};
use crate::context::Context;
use crate::exit::Outcome;

#[derive(Debug, Serialize)]
struct Applied {
    number: u32,
    name: String,
    outcome: StepOutcome,
}

pub async fn run(context: &Context, args: &ApplyArgs) -> Result<Outcome> {
    let groups: &[StepGroup] = match args.phase {
        AppliedPhase::Expand => &[StepGroup::Ledger, StepGroup::Expand],
    };
    let store = context.store().await?;
    let mut applied = Vec::new();
    let report = |step: &schema::Step, outcome| {
        if !context.json {
            let word = match outcome {
                StepOutcome::Applied => "applied".green().to_string(),
                StepOutcome::AlreadyDone => "done before".dimmed().to_string(),
                StepOutcome::Recognised => "found in place".yellow().to_string(),
            };
            anstream::println!("{:04} {:<46} {word}", step.number, step.name);
        }
        applied.push(Applied { number: step.number, name: step.name.clone(), outcome });
    };
    schema::apply(&*store, groups, report, tokio::time::sleep).await?;
    if context.json {
        context.print_json(&applied)?;
        return Ok(Outcome::Done);
    }
    let new = applied.iter().filter(|step| step.outcome != StepOutcome::AlreadyDone).count();
    if new == 0 {
        anstream::println!("\nexpand was complete: nothing to do");
    } else {
        anstream::println!("\n{} Next: reelshift enqueue backfill", "expand is complete.".green().bold());
    }
    Ok(Outcome::Done)
}
