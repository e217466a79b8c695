//! `enqueue … --watch`: new and changed videos, for as long as it runs.

use std::time::Duration;

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_plan::JobKind;
use reelshift_producer::watch::{Event, Watch};
use reelshift_store::SharedStore;
use reelshift_store::ledger::RunPlan;

use crate::context::{Context, by, who};
use crate::exit::Outcome;
use crate::style;

pub async fn run(
    context: &Context,
    store: SharedStore,
    kind: JobKind,
    plan: RunPlan,
    every: Duration,
) -> Result<Outcome> {
    let holder = format!("{} (process {})", who(), std::process::id());
    let watch = Watch { kind, plan, every, holder };
    let mut quiet = false;
    let report = |event: Event| {
        if context.json {
            // The events hold nothing that JSON cannot.
            let line = serde_json::to_string(&event).unwrap_or_default();
            crate::output::json(&line);
            return;
        }
        // A look that finds nothing is said once, not every minute.
        let nothing = event == Event::Nothing;
        if !(nothing && quiet) {
            crate::output::say!("{}", sentence(kind, &event));
        }
        quiet = nothing;
    };
    reelshift_operate::watch(&store, &by(None), &watch, &context.stop, report).await?;
    Ok(Outcome::Done)
}

fn sentence(kind: JobKind, event: &Event) -> String {
    match event {
        Event::StandingBy { holder } => format!(
            "{}: {} watches; this one takes over when that falls silent",
            "standing by".yellow(),
            holder.as_deref().unwrap_or("another")
        ),
        Event::Watching => format!("{} for videos that need {kind}", "watching".green().bold()),
        Event::Nothing => format!("no video needs {kind}"),
        Event::RolledOut => format!(
            "{}: the rollout is at 100 %, the fleet validates no longer",
            "done".green().bold()
        ),
        Event::Enqueued { run, batches, rows, bytes } => {
            let amount = match kind {
                JobKind::Backfill | JobKind::Validate => style::plural(*rows, "video", "videos"),
                JobKind::Hash => {
                    format!("{}, {}", style::plural(*rows, "file", "files"), style::bytes(*bytes))
                }
            };
            let batches = style::plural(*batches, "batch", "batches");
            format!("{} {amount} in {batches}, run {run}", "enqueued".green().bold())
        }
        Event::Active { run, state } => {
            format!("run {run} is over these videos and is {state}: looking again later")
        }
        Event::Trouble { message } => format!("{}: {message}", "looking again later".yellow()),
    }
}
