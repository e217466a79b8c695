//! A run on a terminal.

use owo_colors::OwoColorize;
use reelshift_overview::amount;
use reelshift_plan::RunState;
use reelshift_store::report::{BatchCounts, RunReport};

use crate::style;

/// Characters of a run's bar.
const BAR_WIDTH: usize = 24;

pub(super) fn lines(report: &RunReport) -> Vec<String> {
    let run = &report.run;
    let (done, total) = report.progress();
    let mut title = format!("{} {} {}", run.kind.bold(), run.id.dimmed(), style::state(run.state));
    if let Some(reason) = &run.reason {
        title.push_str(&format!(": {reason}"));
    }
    let held = matches!(run.state, RunState::Paused | RunState::Cancelled);
    if let (true, Some(by), Some(at)) = (held, &run.decided_by, run.decided_at) {
        title.push_str(&format!(" ({by}, since {} UTC)", style::time(at)));
    }
    let trusted = match report.checksums_trusted {
        0 => String::new(),
        files => format!(", {} of them by stored checksums", style::count(files)),
    };
    let amount = format!(
        "{} {}   {}{trusted}",
        style::bar(done, total, BAR_WIDTH),
        style::percent(done, total),
        amount(report)
    );
    let mut lines = vec![String::new(), title, amount];
    if run.state.is_active() && run.rows_waiting > 0 {
        lines.push(waiting(report));
    }
    let elapsed = style::seconds(report.elapsed_seconds);
    let age = match run.finished_at {
        Some(_) => format!("took {elapsed}"),
        None => format!("enqueued {elapsed} ago"),
    };
    let mut counts = format!("batches{}   {age}", batches(report.batches));
    if report.quarantined > 0 {
        let items = style::plural(report.quarantined, "item", "items");
        counts.push_str(&format!("   {}", format!("{items} in quarantine").yellow()));
    }
    if report.accepted > 0 {
        counts.push_str(&format!("   {} accepted", report.accepted));
    }
    lines.push(counts);
    lines
}

/// Rows that the application holds, which a sweep takes up again.
fn waiting(report: &RunReport) -> String {
    let run = &report.run;
    let rows = style::plural(run.rows_waiting, "row", "rows");
    let again = match (run.state, run.sweep_at) {
        (RunState::Sweeping, Some(at)) => format!(", tries again at {} UTC", style::time(at)),
        _ => String::new(),
    };
    format!("{} for {rows} that the application holds{again}", "waits".yellow())
}

/// `   done 12   leased 3   pending 40`
fn batches(counts: BatchCounts) -> String {
    let states = [
        ("done", counts.done),
        ("leased", counts.leased),
        ("pending", counts.pending),
        ("failed", counts.failed),
        ("cancelled", counts.cancelled),
    ];
    let shown = states.into_iter().filter(|(word, count)| *count > 0 || *word == "done");
    let shown = shown.map(|(word, count)| {
        let text = format!("{word} {}", style::count(count));
        format!("   {}", if word == "failed" { text.red().to_string() } else { text })
    });
    shown.collect()
}
