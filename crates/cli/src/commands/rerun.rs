//! `rerun`: failed batches and quarantined items again.

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_store::ledger::RerunSelection;

use crate::args::RerunArgs;
use crate::context::Context;
use crate::exit::Outcome;
use crate::look::plural;

pub async fn run(context: &Context, args: &RerunArgs) -> Result<Outcome> {
    let store = context.expanded_store(4).await?;
    let selection = RerunSelection {
        run: args.run,
        batch: args.batch,
        error_type: args.error_type.clone(),
        quarantined_only: args.quarantined,
        dry_run: args.dry_run,
    };
    let rerun = store.rerun(&selection).await?;
    if context.json {
        context.print_json(&rerun)?;
        return Ok(Outcome::Done);
    }
    if rerun.batches == 0 && rerun.items == 0 {
        crate::look::say!("nothing to enqueue again: no failed work matches");
        return Ok(Outcome::Done);
    }
    let what = format!(
        "{} and {} in {}",
        plural(rerun.batches, "failed batch", "failed batches"),
        plural(rerun.items, "quarantined item", "quarantined items"),
        plural(rerun.item_batches, "batch", "batches"),
    );
    if args.dry_run {
        crate::look::say!("would enqueue again: {what}. Nothing was changed");
    } else {
        crate::look::say!("{} {what}. Next: reelshift work", "enqueued again:".green().bold());
    }
    Ok(Outcome::Done)
}
