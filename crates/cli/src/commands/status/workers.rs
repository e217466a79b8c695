//! The workers on a terminal.

use owo_colors::OwoColorize;
use reelshift_plan::WorkerState;
use reelshift_store::report::{LedgerReport, WorkerReport};

use crate::style;
use crate::table::{Cell, Table};

/// A table of the workers, where there are any.
pub(super) fn lines(report: &LedgerReport) -> Vec<String> {
    if report.workers.is_empty() {
        return Vec::new();
    }
    std::iter::once(String::new()).chain(table(report).lines(0)).collect()
}

/// A row for each worker.
pub(in crate::commands) fn table(report: &LedgerReport) -> Table {
    let mut table =
        style::table(&["worker", "host", "state", "leases", "rows/s", "bytes/s", "beat", "doing"]);
    for worker in &report.workers {
        let activity = &worker.activity;
        let live = worker.state == WorkerState::Live;
        let rate = |text: String| if live { text } else { "-".to_owned() };
        let state = match worker.state {
            WorkerState::Live => worker.state.green().to_string(),
            WorkerState::Lost => worker.state.red().bold().to_string(),
            WorkerState::Left => worker.state.dimmed().to_string(),
        };
        let doing = match worker.state {
            WorkerState::Lost => taken_over(report, worker),
            WorkerState::Live | WorkerState::Left => activity.doing.clone(),
        };
        table.add_row([
            Cell::new(style::tail(worker.id)),
            Cell::new(format!("{}:{}", worker.host, worker.pid)),
            Cell::new(state),
            style::number(worker.leases),
            Cell::figure(rate(style::float_count(activity.rows_per_second))),
            Cell::figure(rate(style::float_bytes(activity.bytes_per_second))),
            Cell::new(style::seconds(worker.seen_seconds_ago)),
            Cell::new(doing),
        ]);
    }
    table
}

/// `3 batches taken over by 0123456789ab; its late writes are refused`
fn taken_over(report: &LedgerReport, worker: &WorkerReport) -> String {
    let lost: Vec<_> =
        report.lost_leases.iter().filter(|lease| lease.worker == worker.id).collect();
    let mut heirs: Vec<_> =
        lost.iter().filter_map(|lease| lease.taken_over_by).map(style::tail).collect();
    heirs.sort_unstable();
    heirs.dedup();
    if worker.leases > 0 {
        let batches = style::plural(worker.leases, "batch", "batches");
        return format!("fell silent with {batches}: the next worker goes on with them");
    }
    if lost.is_empty() {
        return "fell silent".to_owned();
    }
    let batches = style::plural(lost.len() as u64, "batch", "batches");
    let by = if heirs.is_empty() {
        "by nobody yet".to_owned()
    } else {
        format!("by {}", heirs.join(", "))
    };
    format!("{batches} taken over {by}; its late writes are refused")
}
