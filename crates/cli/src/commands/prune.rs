//! `prune`: removes runs that ended long ago, with their batches, and notifications that
//! were sent or have expired.

use std::time::{Duration, Instant};

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_store::SharedStore;
use reelshift_store::history::{Prunable, Pruned};
use serde_json::json;

use crate::args::PruneArgs;
use crate::context::Context;
use crate::exit::Outcome;
use crate::look::{self, plural};

/// Rows removed in one short transaction.
const CHUNK: u32 = 500;
/// The least pause between two, beside as long as the last one took: the fleet and the
/// application come first.
const PAUSE: Duration = Duration::from_millis(5);

pub async fn run(context: &Context, args: &PruneArgs) -> Result<Outcome> {
    let store = context.expanded_store(2).await?;
    let Prunable { removable, kept_for_quarantine } = store.prunable(args.older_than).await?;
    let mut notifications = store.prunable_notifications(args.older_than).await?;
    let pruned = if args.dry_run {
        removable
    } else {
        let bar = context.draws().then(|| {
            let rows =
                removable.batches + removable.runs + removable.quarantined + removable.workers;
            look::progress(rows, "pruning", "{prefix} [{bar:40}] {pos} of {len} rows  {rate}")
        });
        let mut pruned = Pruned::default();
        loop {
            let began = Instant::now();
            let some = store.prune(args.older_than, CHUNK).await?;
            if some.is_empty() {
                break;
            }
            pruned.add(some);
            if let Some(bar) = &bar {
                bar.inc(some.batches + some.runs + some.quarantined + some.workers);
            }
            tokio::time::sleep(began.elapsed().max(PAUSE)).await;
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        notifications = prune_notifications(&store, args.older_than).await?;
        pruned
    };
    if context.json {
        let mut removed = serde_json::to_value(pruned)?;
        removed["notifications"] = notifications.into();
        context.print_json(&json!({
            "dry_run": args.dry_run,
            "removed": removed,
            "kept_for_quarantine": kept_for_quarantine,
        }))?;
        return Ok(Outcome::Done);
    }
    let what = format!(
        "{} with {}, {}, {}, {}",
        plural(pruned.runs, "run", "runs"),
        plural(pruned.batches, "batch", "batches"),
        plural(pruned.quarantined, "resolved quarantine entry", "resolved quarantine entries"),
        plural(pruned.workers, "worker that is gone", "workers that are gone"),
        plural(notifications, "notification", "notifications"),
    );
    if args.dry_run {
        crate::look::say!("would remove: {what}. Nothing was changed");
    } else {
        crate::look::say!("{} {what}", "removed:".green().bold());
    }
    if kept_for_quarantine > 0 {
        crate::look::say!(
            "{} kept: items of theirs are in quarantine. Next: reelshift rerun --quarantined",
            plural(kept_for_quarantine, "run is", "runs are")
        );
    }
    Ok(Outcome::Done)
}

async fn prune_notifications(store: &SharedStore, older_than: Duration) -> Result<u64> {
    let mut pruned = 0;
    loop {
        let began = Instant::now();
        let some = store.prune_notifications(older_than, CHUNK).await?;
        if some == 0 {
            return Ok(pruned);
        }
        pruned += some;
        tokio::time::sleep(began.elapsed().max(PAUSE)).await;
    }
}
