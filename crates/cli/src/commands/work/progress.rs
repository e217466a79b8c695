//! The line that a terminal shows while a worker is at work.

use std::time::Duration;

use indicatif::ProgressBar;
use reelshift_plan::{BatchState, WorkerState};
use reelshift_store::SharedStore;
use reelshift_store::report::LedgerReport;
use uuid::Uuid;

use crate::style::{self, bytes, float_bytes, float_count, percent, plural};

/// The interval of a worker's heartbeat.
const EVERY: Duration = Duration::from_secs(2);
/// How many of the newest runs are read; active runs are read as well.
const RUNS: u32 = 1;

/// A line on a terminal, gone when this is dropped.
struct Line(ProgressBar);

impl Drop for Line {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Does `work`, which is the worker's with this id, beside its line.
pub(super) async fn beside<T>(store: SharedStore, id: Uuid, work: impl Future<Output = T>) -> T {
    let line = Line(style::progress(0, "", "{spinner} {wide_msg}"));
    line.0.enable_steady_tick(Duration::from_millis(200));
    line.0.set_message("joining the fleet");
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(EVERY) => {}
        }
        // The worker goes on by itself while the database does not answer.
        let report = tokio::select! {
            done = &mut work => return done,
            report = store.ledger_report(RUNS) => report,
        };
        line.0.set_message(match report {
            Ok(report) => text(&report, id),
            Err(error) => format!("no figures: {error}"),
        });
    }
}

/// `backfill 58.0 %   here 310 rows/s   fleet 1 worker, 12 leased, 2,503 pending`
fn text(report: &LedgerReport, id: Uuid) -> String {
    let active = || report.runs.iter().filter(|run| run.run.state.is_active());
    let mut parts: Vec<String> = active()
        .map(|run| {
            let (done, total) = run.progress();
            format!("{} {}", run.run.kind, percent(done, total))
        })
        .collect();
    if parts.is_empty() {
        parts.push("nothing to do".to_owned());
    }
    if let Some(worker) = report.workers.iter().find(|worker| worker.id == id) {
        let activity = &worker.activity;
        let rates = format!(
            "here {} rows/s, {}/s, {} in all",
            float_count(activity.rows_per_second),
            float_bytes(activity.bytes_per_second),
            bytes(activity.bytes_done),
        );
        parts.push(rates);
    }
    let live = report.workers.iter().filter(|worker| worker.state == WorkerState::Live).count();
    let batches = |of: fn(&reelshift_store::report::BatchCounts) -> u64| {
        style::count(active().map(|run| of(&run.batches)).sum())
    };
    parts.push(format!(
        "fleet {}, {} {}, {} {}",
        plural(live as u64, "worker", "workers"),
        batches(|batches| batches.leased),
        BatchState::Leased,
        batches(|batches| batches.pending),
        BatchState::Pending,
    ));
    parts.join("   ")
}

#[cfg(test)]
mod tests {
    use reelshift_overview::sample;

    use super::*;

    #[test]
    fn it_says_how_far_the_runs_are_and_what_is_done_here() {
        let report = sample::report();
        let line = text(&report, report.workers[0].id);
        assert_eq!(
            line,
            "backfill 58.0 %   here 310 rows/s, 0 B/s, 0 B in all   \
             fleet 1 worker, 12 leased, 2,503 pending"
        );
        let idle = LedgerReport { runs: Vec::new(), workers: Vec::new(), ..report };
        assert_eq!(
            text(&idle, Uuid::nil()),
            "nothing to do   fleet 0 workers, 0 leased, 0 pending"
        );
    }
}
