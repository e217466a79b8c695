//! `restore DIR`: what a rollback archived comes back after a new expand, and what the
//! application has added since is filled in.

use std::sync::Arc;
use std::thread::available_parallelism;

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_archive::{Archive, Progress, RestoreReport};
use reelshift_operate::{Restore, usual_plan};
use reelshift_plan::{JobKind, RunState};
use reelshift_store::SharedStore;
use reelshift_store::ledger::Run;
use reelshift_worker::{Until, WorkerError, WorkerOptions};
use serde_json::json;

use crate::args::RestoreArgs;
use crate::commands::work::wait_for_room;
use crate::context::{Context, by, host};
use crate::exit::{Failed, Interrupted, Outcome};
use crate::style;
use crate::table::Cell;

pub async fn run(context: &Context, args: &RestoreArgs) -> Result<Outcome> {
    // Every file is read once before anything is changed.
    let archive = Archive::open(&args.directory)?;
    let concurrency = available_parallelism().map_or(1, usize::from);
    // For each chunk, and some for everything else, as a worker's.
    let connections = u32::try_from(concurrency).unwrap_or(u32::MAX).saturating_add(5);
    let store = context.until_stopped(context.writing_store(connections)).await?;
    let writers = concurrency.min(store.chunk_limits().max_at_once);
    let (pace, _following) = reelshift_worker::watch_allowance(
        store.clone(),
        context.signals(&args.replicas)?,
        u32::try_from(writers).unwrap_or(u32::MAX),
    )
    .await?;
    let bar = context.draws().then(|| {
        style::progress(
            0,
            "restoring",
            "{prefix} {msg} [{bar:24}] {human_pos} of {human_len} rows, {eta} left",
        )
    });
    let report = |progress: Progress| {
        if let Some(bar) = &bar {
            bar.set_message(progress.table.into_str());
            bar.set_length(progress.of);
            bar.set_position(progress.rows);
        }
    };
    let request = Restore {
        archive: &archive,
        directory: &args.directory,
        any_platform: args.other_platform,
        pace,
        writers,
    };
    let restored =
        reelshift_operate::restore(&*store, &by(None), request, &context.stop, report).await;
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    let reports = restored?.ok_or(Interrupted::GOES_ON)?;
    if !context.json {
        print(&reports);
    }
    let filled = fill_in(context, args, &store, concurrency).await?;
    if context.json {
        context.print_json(&json!({
            "archive": archive.manifest,
            "tables": reports,
            "filled_in": { "run": filled.id, "state": filled.state, "rows": filled.rows_total },
        }))?;
    }
    if filled.state != RunState::Done {
        return Err(Failed(format!(
            "the archive is restored, but filling in the videos that came since ended as {} (run {}): see \
             `reelshift errors`, then enqueue a backfill",
            filled.state, filled.id
        ))
        .into());
    }
    if !context.json {
        crate::output::say!(
            "{} filled in that came or changed since the rollback",
            style::plural(filled.rows_total, "video", "videos")
        );
        crate::output::say!("\n{} Next: reelshift validate", "restored.".green().bold());
    }
    Ok(Outcome::Done)
}

/// Backfills the videos that are in no archive, since the application has not stopped. This
/// process works at it until it is done, beside any other worker.
async fn fill_in(
    context: &Context,
    args: &RestoreArgs,
    store: &SharedStore,
    concurrency: usize,
) -> Result<Run> {
    let (kind, plan) = (JobKind::Backfill, usual_plan(JobKind::Backfill));
    let enqueued =
        reelshift_operate::enqueue(store, &by(None), kind, plan, &context.stop, |_| {}).await?;
    let run = enqueued.run;
    if !run.state.is_active() {
        return Ok(run);
    }
    let options = || -> Result<WorkerOptions> {
        Ok(WorkerOptions {
            id: context.process.instance,
            pulse: Arc::default(),
            concurrency,
            files: None,
            until: Until::Ended(run.id),
            times: args.lease.times(),
            signals: context.signals(&args.replicas)?,
            host: host(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    };
    let worked = loop {
        // The worker ends the token that it is given.
        let stop = context.stop.child_token();
        match reelshift_worker::run(store.clone(), options()?, stop).await {
            Err(WorkerError::NoRoom(why)) if wait_for_room(context, &why.to_string()).await => {
                // Others may have done it meanwhile.
                if let Some(ended) = store.run(run.id).await?.filter(|run| !run.state.is_active()) {
                    return Ok(ended);
                }
            }
            worked => break worked,
        }
    };
    worked?;
    Ok(store.run(run.id).await?.unwrap_or(run))
}

fn print(reports: &[RestoreReport]) {
    let mut table =
        style::table(&["table", "archived", "restored", "there already", "video deleted"]);
    for report in reports {
        let restored = &report.restored;
        table.add_row([
            Cell::new(report.table.into_str()),
            style::number(report.archived),
            style::number(restored.restored),
            style::number(restored.present),
            style::number(restored.deleted),
        ]);
    }
    crate::output::block(&table);
    let sum = |count: fn(&RestoreReport) -> u64| reports.iter().map(count).sum::<u64>();
    let kept = [
        (
            sum(|report| report.restored.kept_states),
            "whose state no longer agrees with the legacy columns",
        ),
        (sum(|report| report.restored.kept_hashes), "whose file has changed, not hashed any more"),
        (sum(|report| report.restored.kept_metadata), "whose name or path has changed"),
        (
            sum(|report| report.restored.kept_truths),
            "whose ground truth status no longer agrees with the legacy columns",
        ),
    ];
    for (count, which) in kept.into_iter().filter(|(count, _)| *count > 0) {
        crate::output::say!(
            "{} {which}: the legacy columns win",
            style::plural(count, "video", "videos").yellow()
        );
    }
}
