//! `enqueue backfill`, `enqueue hash` and `enqueue validate`: plan a run and write its batches.

mod watch;

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_operate::usual_plan;
use reelshift_plan::{JobKind, RunState};
use reelshift_producer::{Enqueued, Planned, Progress};
use reelshift_store::controls::PAUSE;
use reelshift_store::ledger::RunPlan;
use serde_json::json;

use crate::args::{
    EnqueueArgs, EnqueueBackfill, EnqueueCommon, EnqueueHash, EnqueueKind, EnqueueValidate,
};
use crate::context::{Context, by};
use crate::exit::{Interrupted, Outcome, Usage};
use crate::filter::filter;
use crate::style;

pub async fn run(context: &Context, args: &EnqueueArgs) -> Result<Outcome> {
    let (kind, plan, pace) = match &args.kind {
        EnqueueKind::Backfill(args) => (JobKind::Backfill, backfill_plan(args)?, &args.common.pace),
        EnqueueKind::Hash(args) => (JobKind::Hash, hash_plan(args)?, &args.common.pace),
        EnqueueKind::Validate(args) => (JobKind::Validate, validation_plan(args), &args.pace),
    };
    if let Some(root) = context.media_root.as_deref().filter(|_| kind == JobKind::Hash) {
        reelshift_media::MediaRoot::at(root, None, reelshift_media::RootOptions::default()).await?;
    }
    let store = context.writing_store(4).await?;
    if pace.watch {
        return watch::run(context, store, kind, plan, pace.every).await;
    }
    let bar = context.draws().then(|| {
        let bar = style::progress(0, "planning", "{prefix} {spinner} {msg} in {elapsed}");
        bar.enable_steady_tick(std::time::Duration::from_millis(100));
        bar
    });
    let report = |progress: &Progress| {
        if let Some(bar) = &bar {
            bar.set_message(describe(kind, progress));
        }
    };
    let enqueued =
        reelshift_operate::enqueue(&store, &by(None), kind, plan, &context.stop, report).await?;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    if context.json {
        context.print_json(&json!({
            "run": enqueued.run,
            "created": enqueued.created,
            "batches_added": enqueued.added.batches,
            "rows_added": enqueued.added.rows,
            "bytes_added": enqueued.added.bytes,
        }))?;
    } else {
        crate::output::say!("{}", sentence(&enqueued));
        if store.controls().await?.iter().any(|control| control.name == PAUSE) {
            crate::output::say!("The fleet is paused: nothing is done before reelshift resume");
        }
    }
    if enqueued.planned == Some(Planned::Stopped) {
        return Err(
            Interrupted("any worker goes on with the planning, or the same command does").into()
        );
    }
    Ok(Outcome::Done)
}

pub fn backfill_plan(args: &EnqueueBackfill) -> Result<RunPlan> {
    let plan = plan(JobKind::Backfill, &args.common)?;
    Ok(RunPlan { batch_rows: args.batch_size, ..plan })
}

fn hash_plan(args: &EnqueueHash) -> Result<RunPlan> {
    if args.batch_bytes.as_u64() == 0 {
        return Err(Usage("--batch-bytes must be more than nothing".to_owned()).into());
    }
    let plan = plan(JobKind::Hash, &args.common)?;
    Ok(RunPlan { batch_bytes: args.batch_bytes.as_u64(), batch_files: args.batch_files, ..plan })
}

fn validation_plan(args: &EnqueueValidate) -> RunPlan {
    let (batch_rows, max_attempts) = (args.batch_size, args.pace.max_attempts);
    RunPlan { batch_rows, max_attempts, ..usual_plan(JobKind::Validate) }
}

fn plan(kind: JobKind, common: &EnqueueCommon) -> Result<RunPlan> {
    Ok(RunPlan {
        filter: filter(&common.conditions).map_err(Usage)?,
        max_attempts: common.pace.max_attempts,
        ..usual_plan(kind)
    })
}

fn describe(kind: JobKind, progress: &Progress) -> String {
    let batches = style::plural(progress.batches, "batch", "batches");
    match kind {
        JobKind::Backfill | JobKind::Validate => {
            format!("{batches}, {}", style::plural(progress.rows, "video", "videos"))
        }
        JobKind::Hash => format!(
            "{batches}, {}, {}",
            style::plural(progress.rows, "file", "files"),
            style::bytes(progress.bytes)
        ),
    }
}

/// What happened, and what to type next.
fn sentence(enqueued: &Enqueued) -> String {
    let run = &enqueued.run;
    let added = describe(run.kind, &enqueued.added);
    let next = match run.kind {
        JobKind::Backfill => "Next: reelshift work".to_owned(),
        JobKind::Hash => "Next: reelshift work --media-root PATH".to_owned(),
        JobKind::Validate => {
            format!("Next: reelshift work, then reelshift validate --run {}", run.id)
        }
    };
    match (&enqueued.planned, enqueued.created) {
        (Some(Planned::Complete(RunState::Done)), true) if enqueued.added.batches == 0 => {
            format!("nothing to do: no video needs {} (run {})", run.kind, run.id)
        }
        (Some(Planned::TakenOver), _)
            if matches!(run.state, RunState::Paused | RunState::Cancelled) =>
        {
            format!(
                "{} run {} was {} while it was planned; {added} until then",
                "stopped:".yellow().bold(),
                run.id,
                run.state
            )
        }
        (Some(_), true) => format!("{} {added}, run {}. {next}", "enqueued".green().bold(), run.id),
        (Some(_), false) => format!(
            "{} run {} had lost its planner: went on where it stopped and added {added}. {next}",
            "resumed:".green().bold(),
            run.id
        ),
        (None, true) => format!(
            "{} run {}: another planner is already at work on it. {next}",
            "enqueued".green().bold(),
            run.id
        ),
        (None, false) if run.state == RunState::Paused => format!(
            "{} run {} is over the same videos and is paused. Next: reelshift resume --run {}",
            "nothing added:".yellow().bold(),
            run.id,
            run.id
        ),
        (None, false) => format!(
            "{} run {} is over the same videos and is {} ({}). Follow it: reelshift status",
            "nothing added:".yellow().bold(),
            run.id,
            run.state,
            style::plural(run.batches_total, "batch", "batches")
        ),
    }
}
