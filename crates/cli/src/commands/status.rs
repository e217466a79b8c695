//! `status [--watch]`: progress, rates, what is left, workers, failures; one snapshot
//! behind the terminal and the JSON.

mod monitor;
mod throttle;

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Result;
use comfy_table::Cell;
use owo_colors::OwoColorize;
use reelshift_plan::{JobKind, RunState, eta};
use reelshift_store::controls::{Control, PAUSE};
use reelshift_store::report::monitor::rate;
use reelshift_store::report::{RunReport, Snapshot, WorkerReport};
use reelshift_store::schema::{JournalEntry, Step, StepGroup};

use crate::args::StatusArgs;
use crate::commands::errors::group_table;
use crate::commands::flags;
use crate::context::Context;
use crate::exit::Outcome;
use crate::look;

/// The newest runs that are shown, beside those that need somebody.
pub const RUNS: u32 = 10;

pub async fn run(context: &Context, args: &StatusArgs) -> Result<Outcome> {
    let store = context.store().await?;
    let redraws = args.watch && !context.json && std::io::stdout().is_terminal();
    let flags = flags::cache(&store);
    loop {
        let journal = store.journal().await?;
        if !expanded(store.steps(), &journal) {
            store.check_legacy().await?;
            if context.json {
                context.print_json(&serde_json::json!({ "expanded": false, "steps": journal }))?;
            } else {
                crate::look::say!("{}", phases(store.steps(), &journal, &[]));
                crate::look::say!("Next: reelshift apply expand");
            }
            return Ok(Outcome::Done);
        }
        let snapshot = reelshift_rollout::snapshot(&*store, &flags, RUNS).await?;
        if context.json && args.watch {
            crate::look::say!("{}", serde_json::to_string(&snapshot)?);
        } else if context.json {
            context.print_json(&snapshot)?;
        } else {
            // Home and clear, as `watch` does: the screen shows one snapshot.
            let clear = if redraws { "\x1b[H\x1b[2J" } else { "" };
            crate::look::say!("{clear}{}", phases(store.steps(), &journal, &snapshot.runs));
            crate::look::say!("{}", render(&snapshot).trim_end());
        }
        if !args.watch {
            return Ok(outcome(&snapshot));
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(args.interval)) => {}
            () = context.stop.cancelled() => return Ok(outcome(&snapshot)),
        }
    }
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

fn expanded(steps: &[Step], journal: &[JournalEntry]) -> bool {
    steps
        .iter()
        .filter(|step| matches!(step.group, StepGroup::Ledger | StepGroup::Expand))
        .all(|step| journal.iter().any(|entry| entry.number == step.number && entry.done))
}

/// `expand ok > BACKFILL > hash`: what is behind and what is under way.
fn phases(steps: &[Step], journal: &[JournalEntry], runs: &[RunReport]) -> String {
    let expand = if expanded(steps, journal) {
        format!("expand {}", "ok".green())
    } else if journal.is_empty() {
        "EXPAND not started".bold().to_string()
    } else {
        "EXPAND begun".yellow().bold().to_string()
    };
    // A run that was cancelled says nothing of what was done before it.
    let newest = |kind: JobKind| {
        let of_kind = || runs.iter().filter(move |run| run.run.kind == kind);
        of_kind().find(|run| run.run.state != RunState::Cancelled).or(of_kind().next())
    };
    let kind = |kind: JobKind| match newest(kind) {
        None => format!("{kind} {}", "not started".dimmed()),
        Some(run) if run.run.state == RunState::Done => format!("{kind} {}", "ok".green()),
        Some(run) => {
            format!("{} {}", kind.to_string().to_uppercase().bold(), look::state(run.run.state))
        }
    };
    format!("{expand} > {} > {}", kind(JobKind::Backfill), kind(JobKind::Hash))
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
