//! `cancel`: ends a run for good.

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_store::ids::{self, IdKind};
use serde_json::json;

use crate::args::CancelArgs;
use crate::context::{Context, by};
use crate::exit::Outcome;
use crate::style;

pub async fn run(context: &Context, args: &CancelArgs) -> Result<Outcome> {
    let store = context.expanded_store(2).await?;
    let run = ids::find(&*store, IdKind::Run, &args.run).await?;
    let by = by(args.reason.as_ref());
    let cancelled = reelshift_operate::cancel(&*store, &by, run).await?;
    let rest = reelshift_operate::cancel_rest(&*store, run).await?;
    let (batches, freed) = (cancelled.leased + rest.batches, rest.freed);
    if context.json {
        context.print_json(&json!({
            "run": cancelled.run,
            "batches_cancelled": batches,
            "quarantine_freed": freed,
        }))?;
        return Ok(Outcome::Done);
    }
    let run = &cancelled.run;
    crate::output::say!(
        "{} {} run {}: {} will not be done. What is done stays; the same enqueue makes a new run",
        "cancelled:".yellow().bold(),
        run.kind,
        run.id,
        style::plural(batches, "batch", "batches")
    );
    if freed > 0 {
        crate::output::say!(
            "{} of it no longer in quarantine: the next enqueue takes what it still needs",
            style::plural(freed, "item is", "items are")
        );
    }
    Ok(Outcome::Done)
}
