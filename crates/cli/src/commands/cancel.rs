//! `cancel`: ends a run for good.

use anyhow::Result;
use owo_colors::OwoColorize;
use serde_json::json;

use crate::args::CancelArgs;
use crate::context::{Context, who};
use crate::exit::Outcome;
use crate::look;

/// Batches cancelled, or items freed, in one short transaction.
const CHUNK: u32 = 1_000;

pub async fn run(context: &Context, args: &CancelArgs) -> Result<Outcome> {
    let store = context.expanded_store(2).await?;
    let cancelled = store.cancel_run(args.run, args.reason.as_deref(), &who()).await?;
    let mut batches = cancelled.leased;
    loop {
        // Interrupted here, the same command goes on; no worker claims them meanwhile.
        let some = store.cancel_pending(args.run, CHUNK).await?;
        if some == 0 {
            break;
        }
        batches += some;
    }
    let mut freed = 0;
    loop {
        let some = store.free_quarantine(args.run, CHUNK).await?;
        if some == 0 {
            break;
        }
        freed += some;
    }
    if context.json {
        context.print_json(&json!({
            "run": cancelled.run,
            "batches_cancelled": batches,
            "quarantine_freed": freed,
        }))?;
        return Ok(Outcome::Done);
    }
    let run = &cancelled.run;
    crate::look::say!(
        "{} {} run {}: {} will not be done. What is done stays; the same enqueue makes a new run",
        "cancelled:".yellow().bold(),
        run.kind,
        run.id,
        look::plural(batches, "batch", "batches")
    );
    if freed > 0 {
        crate::look::say!(
            "{} of it no longer in quarantine: the next enqueue takes what it still needs",
            look::plural(freed, "item is", "items are")
        );
    }
    Ok(Outcome::Done)
}
