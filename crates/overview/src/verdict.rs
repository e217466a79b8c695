//! The verdict: one word and one sentence for the state of the migration, why, since when,
//! and what to do.

#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};
use reelshift_plan::{JobKind, RunState, VerdictKind, WorkerState};
use reelshift_store::report::{LedgerReport, RunReport, ThrottleReport, WorkerReport, monitor};
use reelshift_store::rollback::OpenRollback;
use serde::Serialize;

use crate::figures::{bytes, count, float_bytes, float_count, plural, seconds, tail, time};

/// What starts a worker for `runs`.
#[must_use]
pub fn start_worker(runs: &[&RunReport]) -> &'static str {
    if runs.iter().any(|run| run.run.kind == JobKind::Hash) {
        "reelshift work --media-root PATH"
    } else {
        "reelshift work"
    }
}

/// Work is open and nothing of it has been done for this long: longer than any chunk, any
/// backoff's first steps, and the 8 s in which a lost worker's batches come back.
pub(crate) const STALLED_AFTER_SECONDS: i64 = 45;

/// A time that is so far ahead of the clock that gave it is no matter of rounding.
const CLOCK_STEP_SECONDS: f64 = 5.0;

/// The verdict on a migration at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Verdict {
    pub kind: VerdictKind,
    /// What goes on, as a sentence.
    pub sentence: String,
    /// Why, where it is not as it should be.
    pub reason: Option<String>,
    /// Since when at the latest: exact where the database knows it, otherwise since it was
    /// first seen.
    pub since: Option<DateTime<Utc>>,
    /// The command that helps.
    pub next: Option<String>,
}

impl Verdict {
    fn new(kind: VerdictKind, sentence: String) -> Self {
        Self { kind, sentence, reason: None, since: None, next: None }
    }

    fn because(self, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }

    fn since(self, since: Option<DateTime<Utc>>) -> Self {
        Self { since, ..self }
    }

    fn then(self, next: impl Into<String>) -> Self {
        Self { next: Some(next.into()), ..self }
    }

    /// Before the tables are there.
    pub(crate) fn not_started(begun: bool) -> Self {
        let sentence = if begun {
            "The first phase, expand, was begun and is not complete."
        } else {
            "The migration has not begun: its tables and columns are not there."
        };
        Self::new(VerdictKind::NotStarted, sentence.to_owned()).then("reelshift apply expand")
    }

    /// While a rollback is open.
    pub(crate) fn rolling_back(open: &OpenRollback) -> Self {
        Self::new(VerdictKind::RollingBack, format!("A rollback has begun: {}.", open.ways_on()))
            .since(Some(open.started_at))
            .then(open.command())
    }

    /// Over what a report counts. `progress_at` is when something was last seen done.
    pub(crate) fn compute(report: &LedgerReport, progress_at: Option<DateTime<Utc>>) -> Self {
        let active: Vec<_> = report.runs.iter().filter(|run| run.run.state.is_active()).collect();
        if let Some(pause) = report.pause() {
            let reason = pause.reason.as_deref().unwrap_or("no reason was given");
            return Self::new(
                VerdictKind::Paused,
                match pause.ends_at {
                    Some(end) => format!(
                        "The whole fleet is paused by {} until {} UTC.",
                        pause.changed_by,
                        time(end)
                    ),
                    None => format!("The whole fleet is paused by {}.", pause.changed_by),
                },
            )
            .because(reason)
            .since(Some(pause.changed_at))
            .then("reelshift resume");
        }
        if active.is_empty() {
            Self::at_rest(report)
        } else {
            Self::at_work(report, &active, progress_at).naming_the_clock(report)
        }
    }

    /// Says that the database's clock was set back, where it was: what was due by the times
    /// that it gave before waits until they have come.
    fn naming_the_clock(self, report: &LedgerReport) -> Self {
        let runs =
            report.runs.iter().flat_map(|run| [Some(run.run.created_at), run.run.decided_at]);
        let workers = report.workers.iter().map(|worker| Some(worker.started_at));
        let controls = report.controls.iter().map(|control| Some(control.changed_at));
        let newest = runs.chain(workers).chain(controls).flatten().max();
        let ahead = newest.map_or(0.0, |newest| (newest - report.at).as_seconds_f64());
        if ahead < CLOCK_STEP_SECONDS {
            return self;
        }
        let clock = format!(
            "the database's clock was set back: it gave a time {} ahead of now, and what was due by \
             such times waits for them",
            seconds(ahead)
        );
        let reason = match &self.reason {
            Some(reason) => format!("{reason}; {clock}"),
            None => clock,
        };
        self.because(reason)
    }

    fn at_work(
        report: &LedgerReport,
        active: &[&RunReport],
        progress_at: Option<DateTime<Utc>>,
    ) -> Self {
        let live =
            report.workers.iter().filter(|worker| worker.state == WorkerState::Live).count() as u64;
        let batches = |of: fn(&RunReport) -> u64| active.iter().map(|run| of(run)).sum::<u64>();
        let (pending, leased) =
            (batches(|run| run.batches.pending), batches(|run| run.batches.leased));
        let planning = active.iter().all(|run| run.run.state == RunState::Planning);
        if live == 0 && (pending + leased > 0 || !planning) {
            let sentence = format!(
                "Nobody works: 0 live workers, {}.",
                plural(pending + leased, "batch waits", "batches wait")
            );
            let last = report
                .workers
                .iter()
                .min_by(|a, b| a.seen_seconds_ago.total_cmp(&b.seen_seconds_ago));
            let why = match last.map(|worker| worker.state) {
                None => "no worker was there in the last ten minutes",
                Some(WorkerState::Left) => "the last worker has left the fleet",
                Some(_) => "no worker has beaten for longer than a lease lasts",
            };
            let gone_at = last.and_then(|worker| seen_at(report, worker));
            let since = gone_at.and_then(|at| Some(at).max(open_since(active)));
            let start = start_worker(active);
            return Self::new(VerdictKind::Dead, sentence).because(why).since(since).then(start);
        }
        // Hashing, which is no load of the database, is held by a full stop only.
        let chunked = active.iter().any(|run| run.run.kind != JobKind::Hash);
        let holds = |throttle: &&ThrottleReport| {
            throttle.level.is_throttled() && (chunked || throttle.at_once == 0)
        };
        if let Some(throttle) = report.throttle.as_ref().filter(holds) {
            let sentence = if throttle.at_once == 0 {
                "The fleet's brake lets nothing run.".to_owned()
            } else {
                format!("The fleet's brake leaves {} of its capacity.", share(throttle.share))
            };
            return Self::new(VerdictKind::Throttled, sentence)
                .because(throttle.reason.clone().unwrap_or_default())
                .since(throttle.since);
        }
        let still = progress_at
            .max(open_since(active))
            .filter(|at| (report.at - *at).num_seconds() >= STALLED_AFTER_SECONDS)
            .filter(|_| progress_at.is_some());
        if let Some(since) = still.filter(|_| pending + leased > 0) {
            let sentence = format!(
                "{} live and nothing was done: {} leased, {} pending.",
                plural(live, "worker is", "workers are"),
                count(leased),
                count(pending)
            );
            let stalled = Self::new(VerdictKind::Stalled, sentence).since(Some(since));
            let why = if leased == 0 && !chunked {
                "see what failed last; a worker without --media-root takes no files"
            } else {
                "see what failed last, and what the workers say they are doing"
            };
            return stalled.because(why).then("reelshift errors");
        }
        Self::new(VerdictKind::Running, working(report, active, live, leased))
            .since(active.iter().map(|run| run.run.created_at).min())
    }

    fn at_rest(report: &LedgerReport) -> Self {
        if let Some(run) = report.runs.iter().find(|run| run.run.state == RunState::Paused) {
            let by = run.run.decided_by.as_deref().unwrap_or("nobody known");
            let sentence =
                format!("The {} run is paused by {by}, and no other works.", run.run.kind);
            return Self::new(VerdictKind::Paused, sentence)
                .because(run.run.reason.clone().unwrap_or_else(|| "no reason was given".to_owned()))
                .since(run.run.decided_at)
                .then(format!("reelshift resume --run {}", tail(run.run.id)));
        }
        if let Some(first) = report.unreadable.first() {
            let rows = plural(report.unreadable.len() as u64, "row", "rows");
            let sentence =
                format!("Nothing else is open, but {rows} of the ledger cannot be read.");
            return Self::new(VerdictKind::Attention, sentence)
                .because(format!("a newer version wrote them, or somebody's hand: {first}"))
                .then("reelshift status");
        }
        if report.runs.is_empty() {
            return Self::new(VerdictKind::Idle, "Nothing has been enqueued.".to_owned())
                .then("reelshift enqueue backfill");
        }
        let ended = report.runs.iter().filter_map(|run| run.run.finished_at).max();
        let failed: u64 = report.runs.iter().map(|run| run.failed_open).sum();
        let aside: u64 = report.runs.iter().map(|run| run.quarantined).sum();
        if failed + aside > 0 {
            let failed = (failed > 0)
                .then(|| format!("{} failed", plural(failed, "batch has", "batches have")));
            let aside =
                (aside > 0).then(|| format!("{} set aside", plural(aside, "item is", "items are")));
            let left: Vec<String> = failed.into_iter().chain(aside).collect();
            let sentence = format!("Nothing is open, but {}.", left.join(" and "));
            return Self::new(VerdictKind::Attention, sentence)
                .because("remove the causes, then rerun")
                .since(ended)
                .then("reelshift rerun");
        }
        let runs = plural(report.runs.len() as u64, "run", "runs");
        let accepted: u64 = report.runs.iter().map(|run| run.accepted).sum();
        let except = match accepted {
            0 => String::new(),
            _ => format!(", but for {}", plural(accepted, "accepted item", "accepted items")),
        };
        let is_cancelled = |run: &&RunReport| run.run.state == RunState::Cancelled;
        let cancelled = match report.runs.iter().filter(is_cancelled).count() {
            0 => String::new(),
            count => format!(", {count} of them cancelled"),
        };
        let sentence = format!("Everything that was enqueued is done: {runs}{cancelled}{except}.");
        Self::new(VerdictKind::Done, sentence).since(ended)
    }
}

/// When the first of these runs was enqueued, or was taken up again: before that there was nothing
/// to be done.
fn open_since(active: &[&RunReport]) -> Option<DateTime<Utc>> {
    let since = |run: &&RunReport| run.run.decided_at.max(Some(run.run.created_at));
    active.iter().filter_map(since).min()
}

/// When a worker was there for the last time.
fn seen_at(report: &LedgerReport, worker: &WorkerReport) -> Option<DateTime<Utc>> {
    #[expect(clippy::cast_possible_truncation, reason = "minutes, in milliseconds")]
    let ago = chrono::TimeDelta::milliseconds((worker.seen_seconds_ago * 1_000.0) as i64);
    report.at.checked_sub_signed(ago)
}

fn share(value: f64) -> String {
    format!("{:.0} %", value * 100.0)
}

fn working(report: &LedgerReport, active: &[&RunReport], live: u64, leased: u64) -> String {
    let mut rates = Vec::new();
    for &kind in JobKind::ALL {
        if active.iter().any(|run| run.run.kind == kind) {
            let rate = monitor::rate(kind, &report.workers);
            rates.push(match kind {
                JobKind::Backfill => format!("{} rows/s", float_count(rate)),
                JobKind::Hash => format!("{}/s hashed", float_bytes(rate)),
                JobKind::Validate => format!("{} rows/s compared", float_count(rate)),
            });
        }
    }
    let planning = active.iter().any(|run| run.run.state == RunState::Planning);
    let tail = if planning { "; planning goes on" } else { "" };
    format!(
        "{} on {}: {}{tail}.",
        plural(live, "worker", "workers"),
        plural(leased, "batch", "batches"),
        rates.join(", ")
    )
}

/// What a run has done of what, in the unit that its time goes by.
#[must_use]
pub fn amount(run: &RunReport) -> String {
    let (done, total) = run.progress();
    let about = match run.run.state {
        RunState::Planning => "of at least",
        RunState::Sweeping | RunState::Done => "of",
        _ => "of about",
    };
    match run.run.kind {
        JobKind::Backfill | JobKind::Validate => {
            format!("{} {about} {} rows", count(done), count(total))
        }
        JobKind::Hash => format!(
            "{} {about} {}, {} of {} files",
            bytes(done),
            bytes(total),
            count(run.rows_done),
            count(run.run.rows_total)
        ),
    }
}
