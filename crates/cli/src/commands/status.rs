//! `status [--watch]`: progress, rates, what is left, workers, failures. One snapshot
//! ([`reelshift_server::snapshot`], the dashboard's) is behind the terminal and the JSON.

mod monitor;
mod screen;
mod throttle;

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_plan::{JobKind, RunState, WorkerState, eta};
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
use crate::table::{Cell, Table};

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
            Some(report) => {
                for line in render(report) {
                    crate::look::say!("{line}");
                }
            }
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
            crate::output::json(&serde_json::to_string(&looked)?);
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
    if !snapshot.unreadable.is_empty() || snapshot.runs.iter().any(undone) {
        Outcome::Partial
    } else {
        Outcome::Done
    }
}

/// The snapshot for people.
fn render(snapshot: &Snapshot) -> Vec<String> {
    let mut lines = Vec::new();
    let idle = snapshot.workers.iter().all(|worker| worker.state != WorkerState::Live);
    lines.push(format!("{}   {} UTC", snapshot.server.dimmed(), look::time(snapshot.at)));
    lines.push(String::new());
    if let Some(load) = snapshot.load {
        let connections = look::plural(load.active_connections, "connection", "connections");
        let line = format!(
            "{connections} at work   queries {:.1} s on average, {} s at most",
            load.avg_query_seconds, load.max_query_seconds
        );
        lines.push(line);
    }
    for control in &snapshot.controls {
        lines.push(control_line(control));
    }
    if let Some(report) = &snapshot.throttle {
        lines.push(throttle::line(report));
    }
    if !snapshot.runs.is_empty() {
        lines.push(monitor::line(&snapshot.monitor));
    }
    if snapshot.runs.is_empty() {
        lines.push("no runs yet. Next: reelshift enqueue backfill".to_owned());
    }
    for run in &snapshot.runs {
        lines.extend(run_lines(run, snapshot));
    }
    for row in &snapshot.unreadable {
        lines.push(format!("{} {row}", "UNREADABLE".red().bold()));
    }
    if snapshot.runs_left_out > 0 {
        let older = look::plural(snapshot.runs_left_out, "older run", "older runs");
        lines.push(format!("and {older} that did not end well, or have not ended"));
    }
    if snapshot.runs.iter().any(|run| run.run.state.is_active()) && idle {
        lines.push(format!("{} batches wait. Next: reelshift work", "0 workers:".yellow().bold()));
    }
    if !snapshot.workers.is_empty() {
        lines.push(String::new());
        lines.extend(worker_table(&snapshot.workers).lines(0));
    }
    if !snapshot.errors.is_empty() {
        lines.push(String::new());
        lines.extend(group_table(&snapshot.errors).lines(0));
        lines.push("Look closer: reelshift errors".to_owned());
    }
    lines
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

fn run_lines(report: &RunReport, snapshot: &Snapshot) -> Vec<String> {
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
        JobKind::Backfill | JobKind::Validate => {
            format!("{} {of} {} rows", look::count(done), look::count(total))
        }
        JobKind::Hash => format!(
            "{} {of} {}, {} {of} {} files",
            look::bytes(done),
            look::bytes(total),
            look::count(report.rows_done),
            look::count(run.rows_total)
        ),
    };
    let trusted = match report.checksums_trusted {
        0 => String::new(),
        files => format!(", {} of them by stored checksums", look::count(files)),
    };
    let bar = look::bar(done, total, 24);
    let share = look::percent(done, total);
    let mut lines = vec![text, format!("{bar} {share}  {amount}{trusted}")];
    if run.state.is_active() {
        lines.push(pace(report, snapshot, total.saturating_sub(done)));
        if run.rows_waiting > 0 {
            let rows = look::plural(run.rows_waiting, "row", "rows");
            let again = match (run.state, run.sweep_at) {
                (RunState::Sweeping, Some(at)) => {
                    format!(", looks again at {} UTC", look::time(at))
                }
                _ => String::new(),
            };
            let waits = "waits".yellow();
            lines.push(format!("{waits} for {rows} that the application holds{again}"));
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
    let mut text = "batches".to_owned();
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
    lines.extend([text, String::new()]);
    lines
}

fn pace(report: &RunReport, snapshot: &Snapshot, left: u64) -> String {
    let elapsed =
        look::duration(Duration::try_from_secs_f64(report.elapsed_seconds).unwrap_or_default());
    if snapshot.pause().is_some() {
        return format!("paused with the fleet   enqueued {elapsed} ago");
    }
    let rate = rate(report.run.kind, &snapshot.workers);
    let shown = match report.run.kind {
        JobKind::Backfill | JobKind::Validate => format!("{} rows/s", look::float_count(rate)),
        JobKind::Hash => format!("{}/s", look::float_bytes(rate)),
    };
    let eta = eta::remaining(left, rate).map_or("no estimate yet".to_owned(), look::duration);
    format!("rate {shown}   left {eta}   running for {elapsed}")
}

fn worker_table(workers: &[WorkerReport]) -> Table {
    let mut table =
        look::table(&["worker", "host", "state", "leases", "rows/s", "bytes/s", "beat", "doing"]);
    for worker in workers {
        let state = match worker.state {
            WorkerState::Live => worker.state.green().to_string(),
            WorkerState::Lost => worker.state.red().bold().to_string(),
            WorkerState::Left => worker.state.dimmed().to_string(),
        };
        let alive = worker.state == WorkerState::Live;
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
