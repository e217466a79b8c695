//! `status [--watch]`: progress, rates, what is left, workers, failures. One snapshot
//! ([`reelshift_server::snapshot`], the dashboard's) is behind the terminal and the JSON.

mod monitor;
mod screen;
mod throttle;

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Result;
use comfy_table::Cell;
use owo_colors::OwoColorize;
use reelshift_plan::{JobKind, RunState, eta};
use reelshift_server::snapshot::{Looker, Snapshot as Looked};
use reelshift_store::controls::{Control, PAUSE};
use reelshift_store::report::monitor::rate;
use reelshift_store::report::{RunReport, Snapshot, WorkerReport};

use crate::args::StatusArgs;
use crate::commands::errors::group_table;
use crate::commands::flags;
use crate::context::Context;
use crate::exit::Outcome;
use crate::look;

/// The newest runs that are shown, beside those that need somebody.
pub const RUNS: u32 = reelshift_server::snapshot::RUNS;

pub async fn run(context: &Context, args: &StatusArgs) -> Result<Outcome> {
    let store = context.store().await?;
    let mut looker = Looker::new(store.clone(), flags::cache(&store));
    let looked = looker.look().await?;
    if args.watch && looked.expanded {
        let place = store.place();
        return watch(context, args, looker, looked, &place.namespace).await;
    }
    if context.json {
        context.print_json(&looked)?;
    } else {
        crate::look::say!("{}", screen::phases(&looked));
        if let Some(open) = &looked.rollback {
            crate::look::say!("{} {}", "ROLLBACK begun:".yellow().bold(), open.ways_on());
        }
        match &looked.report {
            Some(report) => crate::look::say!("{}", render(report).trim_end()),
            None if looked.rollback.is_some() => {}
            None => {
                crate::look::say!("Next: {}", looked.verdict.next.as_deref().unwrap_or_default());
            }
        }
    }
    Ok(ended(&looked))
}

/// Looks again and again until told to stop. What cannot be looked at is shown as it was
/// last, with its age.
async fn watch(
    context: &Context,
    args: &StatusArgs,
    mut looker: Looker,
    mut looked: Looked,
    place: &str,
) -> Result<Outcome> {
    let redraws = !context.json && std::io::stdout().is_terminal();
    let (mut taken, mut trouble) = (Instant::now(), None);
    loop {
        if context.json && trouble.is_none() {
            crate::look::say!("{}", serde_json::to_string(&looked)?);
        } else if redraws {
            let shown = screen::Shown {
                looked: &looked,
                place,
                age: taken.elapsed(),
                trouble: trouble.as_deref(),
            };
            crate::output::raw(screen::frame(&shown.lines()).as_bytes());
        } else if !context.json {
            crate::look::say!("{}", screen::line(&looked, taken.elapsed(), trouble.as_deref()));
        }
        if !crate::output::is_open() {
            return Ok(ended(&looked));
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(args.interval)) => {}
            () = context.stop.cancelled() => return Ok(ended(&looked)),
        }
        match looker.look().await {
            Ok(newer) => (looked, taken, trouble) = (newer, Instant::now(), None),
            Err(error) => trouble = Some(error.to_string()),
        }
    }
}

fn ended(looked: &Looked) -> Outcome {
    looked.report.as_ref().map_or(Outcome::Done, outcome)
}

/// Exit code 5 where something was left undone.
pub fn outcome(snapshot: &Snapshot) -> Outcome {
    let undone = |run: &RunReport| {
        run.quarantined > 0
            || run.failed_open > 0
            || matches!(run.run.state, RunState::Failed | RunState::Paused)
    };
    if snapshot.runs.iter().any(undone) { Outcome::Partial } else { Outcome::Done }
}

/// The snapshot for people.
fn render(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    let idle = snapshot.workers.iter().all(|worker| worker.state != "live");
    push(&mut text, &format!("{}   {} UTC\n", snapshot.server.dimmed(), look::time(snapshot.at)));
    if let Some(load) = snapshot.load {
        let connections = look::plural(load.active_connections, "connection", "connections");
        let line = format!(
            "{connections} at work   queries {:.1} s on average, {} s at most",
            load.avg_query_seconds, load.max_query_seconds
        );
        push(&mut text, &line);
    }
    for control in &snapshot.controls {
        push(&mut text, &control_line(control));
    }
    if let Some(report) = &snapshot.throttle {
        push(&mut text, &throttle::line(report));
    }
    if !snapshot.runs.is_empty() {
        push(&mut text, &monitor::line(&snapshot.monitor));
    }
    if snapshot.runs.is_empty() {
        push(&mut text, "no runs yet. Next: reelshift enqueue backfill");
    }
    for run in &snapshot.runs {
        push(&mut text, &run_lines(run, &snapshot.workers));
    }
    if snapshot.runs_left_out > 0 {
        let older = look::plural(snapshot.runs_left_out, "older run", "older runs");
        push(&mut text, &format!("and {older} that did not end well, or have not ended"));
    }
    if snapshot.runs.iter().any(|run| run.run.state.is_active()) && idle {
        push(
            &mut text,
            &format!("{} batches wait. Next: reelshift work", "0 workers:".yellow().bold()),
        );
    }
    if !snapshot.workers.is_empty() {
        push(&mut text, &format!("\n{}", worker_table(&snapshot.workers)));
    }
    if !snapshot.errors.is_empty() {
        push(&mut text, &format!("\n{}", group_table(&snapshot.errors)));
        push(&mut text, "Look closer: reelshift errors");
    }
    text
}

/// What an operator set, with who, when and why.
fn control_line(control: &Control) -> String {
    let what = if control.name == PAUSE {
        "PAUSED, the whole fleet".yellow().bold().to_string()
    } else {
        format!("tuned {}={}", control.name, control.value)
    };
    let why = control.reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
    format!("{what}{why} ({}, since {} UTC)", control.changed_by, look::time(control.changed_at))
}

fn push(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn run_lines(report: &RunReport, workers: &[WorkerReport]) -> String {
    let run = &report.run;
    let (done, total) = report.progress();
    let mut text = format!("{} {} {}", run.kind.bold(), run.id.dimmed(), look::state(run.state));
    if let Some(reason) = &run.reason {
        text.push_str(&format!(": {reason}"));
    }
    let held = matches!(run.state, RunState::Paused | RunState::Cancelled);
    if let (true, Some(by), Some(at)) = (held, &run.decided_by, run.decided_at) {
        text.push_str(&format!(" ({by}, since {} UTC)", look::time(at)));
    }
    let of = if run.state == RunState::Planning { "of at least" } else { "of" };
    let amount = match run.kind {
        JobKind::Backfill => format!("{} {of} {} rows", look::count(done), look::count(total)),
        JobKind::Hash => format!(
            "{} {of} {}, {} {of} {} files",
            look::bytes(done),
            look::bytes(total),
            look::count(report.rows_done),
            look::count(run.rows_total)
        ),
    };
    let line = format!("\n{} {}  {amount}", look::bar(done, total, 24), look::percent(done, total));
    text.push_str(&line);
    if run.state.is_active() {
        text.push_str(&format!("\n{}", pace(report, workers, total.saturating_sub(done))));
        if run.rows_waiting > 0 {
            let rows = look::plural(run.rows_waiting, "row", "rows");
            text.push_str(&format!("\n{} for {rows} that the application holds", "waits".yellow()));
            if let (RunState::Sweeping, Some(at)) = (run.state, run.sweep_at) {
                text.push_str(&format!(", looks again at {} UTC", look::time(at)));
            }
        }
    }
    let batches = report.batches;
    let counts = [
        ("done", batches.done),
        ("leased", batches.leased),
        ("pending", batches.pending),
        ("failed", batches.failed),
        ("cancelled", batches.cancelled),
    ];
    text.push_str("\nbatches");
    for (word, count) in counts.into_iter().filter(|(word, count)| *count > 0 || *word == "done") {
        let shown = format!("{word} {}", look::count(count));
        let shown = if word == "failed" { shown.red().to_string() } else { shown };
        // Writing to a String cannot fail.
        write!(text, "   {shown}").unwrap_or_default();
    }
    if report.quarantined > 0 {
        let items = look::plural(report.quarantined, "item", "items");
        text.push_str(&format!("   {}", format!("{items} in quarantine").yellow()));
    }
    text.push('\n');
    text
}

fn pace(report: &RunReport, workers: &[WorkerReport], left: u64) -> String {
    let rate = rate(report.run.kind, workers);
    let shown = match report.run.kind {
        JobKind::Backfill => format!("{} rows/s", look::float_count(rate)),
        JobKind::Hash => format!("{}/s", look::float_bytes(rate)),
    };
    let eta = eta::remaining(left, rate).map_or("no estimate yet".to_owned(), look::duration);
    let elapsed =
        look::duration(Duration::try_from_secs_f64(report.elapsed_seconds).unwrap_or_default());
    format!("rate {shown}   left {eta}   running for {elapsed}")
}

fn worker_table(workers: &[WorkerReport]) -> comfy_table::Table {
    let mut table =
        look::table(&["worker", "host", "state", "leases", "rows/s", "bytes/s", "beat", "doing"]);
    for worker in workers {
        let state = match worker.state.as_str() {
            "live" => worker.state.green().to_string(),
            "lost" => worker.state.red().bold().to_string(),
            _ => worker.state.dimmed().to_string(),
        };
        let alive = worker.state == "live";
        let beat = Duration::try_from_secs_f64(worker.seen_seconds_ago).unwrap_or_default();
        table.add_row([
            // The end of a UUIDv7 is its random part: the start is alike for all of a minute.
            Cell::new(worker.id.to_string().get(24..).unwrap_or_default()),
            Cell::new(format!("{}:{}", worker.host, worker.pid)),
            Cell::new(state),
            look::number(worker.leases),
            Cell::new(if alive {
                look::float_count(worker.activity.rows_per_second)
            } else {
                "-".into()
            }),
            Cell::new(if alive {
                look::float_bytes(worker.activity.bytes_per_second)
            } else {
                "-".into()
            }),
            Cell::new(look::duration(beat)),
            Cell::new(&worker.activity.doing),
        ]);
    }
    table
}
