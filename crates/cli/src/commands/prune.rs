//! `prune`: removes runs that ended long ago, with their batches, notifications that were sent
//! or have expired, and old samples.

use std::time::Duration;

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_store::SharedStore;
use reelshift_store::history::{Prunable, Pruned};
use serde_json::json;

use crate::args::PruneArgs;
use crate::context::{Context, by};
use crate::exit::{Interrupted, Outcome};
use crate::style::{self, plural};

pub async fn run(context: &Context, args: &PruneArgs) -> Result<Outcome> {
    let counted = context.until_stopped(count(context, args.older_than)).await?;
    let (store, Prunable { removable, kept_for_quarantine }, [mut notifications, mut samples]) =
        counted;
    let pruned = if args.dry_run {
        removable
    } else {
        let bar = context.draws().then(|| {
            style::progress(
                rows(removable),
                "pruning",
                "{prefix} [{bar:40}] {pos} of {len} rows  {rate}",
            )
        });
        let report = |some: Pruned| {
            if let Some(bar) = &bar {
                bar.inc(rows(some));
            }
        };
        let (older_than, stop) = (args.older_than, &context.stop);
        let removed =
            reelshift_operate::prune(&*store, &by(None), older_than, stop, report).await?;
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        if !removed.complete {
            return Err(Interrupted::GOES_ON.into());
        }
        (notifications, samples) = (removed.notifications, removed.samples);
        removed.pruned
    };
    if context.json {
        let mut removed = serde_json::to_value(pruned)?;
        removed["notifications"] = notifications.into();
        removed["samples"] = samples.into();
        context.print_json(&json!({
            "dry_run": args.dry_run,
            "removed": removed,
            "kept_for_quarantine": kept_for_quarantine,
        }))?;
        return Ok(Outcome::Done);
    }
    let what = format!(
        "{} with {}, {}, {}, {}, {}, {}",
        plural(pruned.runs, "run", "runs"),
        plural(pruned.batches, "batch", "batches"),
        plural(pruned.quarantined, "resolved quarantine entry", "resolved quarantine entries"),
        plural(pruned.workers, "worker that is gone", "workers that are gone"),
        plural(pruned.differences, "difference of a validation", "differences of validations"),
        plural(notifications, "notification", "notifications"),
        plural(samples, "sample of the charts", "samples of the charts"),
    );
    if args.dry_run {
        crate::output::say!("would remove: {what}. Nothing was changed");
    } else {
        crate::output::say!("{} {what}", "removed:".green().bold());
    }
    if kept_for_quarantine > 0 {
        crate::output::say!(
            "{} in quarantine and are kept. Next: reelshift rerun --quarantined",
            plural(kept_for_quarantine, "run has items", "runs have items")
        );
    }
    Ok(Outcome::Done)
}

/// All rows of `some`.
const fn rows(some: Pruned) -> u64 {
    some.runs + some.batches + some.quarantined + some.workers + some.differences
}

/// What could be removed: rows of the ledger, and how many notifications and samples.
async fn count(
    context: &Context,
    older_than: Duration,
) -> Result<(SharedStore, Prunable, [u64; 2])> {
    let store = context.expanded_store(2).await?;
    let prunable = store.prunable(older_than).await?;
    let notifications = store.prunable_notifications(older_than).await?;
    let samples = store.prunable_samples(older_than).await?;
    Ok((store, prunable, [notifications, samples]))
}
