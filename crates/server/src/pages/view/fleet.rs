//! Workers, and what became of those that fell silent.

use reelshift_overview::figures::{count, float_bytes, float_count, plural, seconds, tail};
use reelshift_overview::start_worker;
use reelshift_plan::{BatchState, WorkerState};
use reelshift_store::report::WorkerReport;
use uuid::Uuid;

use super::View;

/// A lease lasts for as long as its worker beats within this.
const LEASE_SECONDS: f64 = 8.0;

/// A worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WorkerView<'a>(pub(in crate::pages) &'a WorkerReport);

/// A lease that was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LostView {
    pub worker: String,
    pub batch: Uuid,
    pub name: String,
    pub at: String,
    pub heir: String,
    pub state: BatchState,
    pub refused: String,
}

impl View {
    /// The live first, then those that are gone, the newest first.
    pub(crate) fn workers(&self) -> Vec<WorkerView<'_>> {
        let reports = self.overview().report.iter().flat_map(|report| &report.workers);
        let mut workers: Vec<_> = reports.map(WorkerView).collect();
        workers.sort_by_key(|worker| (worker.0.state, std::cmp::Reverse(worker.0.started_at)));
        workers
    }

    /// What is said where nobody works.
    pub(crate) fn no_workers(&self) -> String {
        let runs = self.overview().report.iter().flat_map(|report| &report.runs);
        let runs: Vec<_> = runs.filter(|run| run.run.state.is_active()).collect();
        let waiting = runs.iter().map(|run| run.batches.pending + run.batches.leased).sum();
        let start = if self.overview().expanded { "Start one" } else { "After expand, start one" };
        let waiting = plural(waiting, "batch waits", "batches wait");
        format!("0 workers, {waiting}. {start}: {}", start_worker(&runs))
    }

    pub(crate) fn lost_leases(&self) -> Vec<LostView> {
        let Some(report) = &self.overview().report else { return Vec::new() };
        let of = |id: Uuid| report.workers.iter().find(|worker| worker.id == id);
        let lost = report.lost_leases.iter().map(|lease| LostView {
            worker: tail(lease.worker),
            batch: lease.batch,
            name: tail(lease.batch),
            at: self.ago(lease.lost_at),
            heir: lease.taken_over_by.map_or_else(|| "nobody yet".to_owned(), tail),
            state: lease.state,
            refused: of(lease.worker).map_or_else(
                || "unknown".to_owned(),
                |worker| count(worker.activity.writes_refused),
            ),
        });
        lost.collect()
    }
}

impl WorkerView<'_> {
    pub(crate) fn is_live(&self) -> bool {
        self.0.state == WorkerState::Live
    }

    pub(crate) const fn id(&self) -> Uuid {
        self.0.id
    }

    pub(crate) fn name(&self) -> String {
        tail(self.0.id)
    }

    pub(crate) const fn state(&self) -> &'static str {
        self.0.state.into_str()
    }

    pub(crate) fn tone(&self) -> &'static str {
        match self.0.state {
            WorkerState::Live => "good",
            WorkerState::Lost => "bad",
            WorkerState::Left => "off",
        }
    }

    pub(crate) fn host(&self) -> String {
        format!("{}:{}", self.0.host, self.0.pid)
    }

    pub(crate) fn version(&self) -> &str {
        &self.0.version
    }

    /// What it does, with ids as short as everywhere.
    pub(crate) fn doing(&self) -> String {
        let doing = &self.0.activity.doing;
        if !self.is_live() || doing.is_empty() {
            return "-".to_owned();
        }
        let short = |word: &str| word.parse().map_or_else(|_| word.to_owned(), tail);
        doing.split(' ').map(short).collect::<Vec<_>>().join(" ")
    }

    /// The batch that it does.
    pub(crate) fn batch(&self) -> Option<Uuid> {
        let live = self.is_live();
        self.0.activity.doing.split(' ').find_map(|word| word.parse().ok()).filter(|_| live)
    }

    pub(crate) fn leases(&self) -> String {
        count(self.0.leases)
    }

    pub(crate) fn rows_rate(&self) -> String {
        self.while_live(float_count(self.0.activity.rows_per_second))
    }

    pub(crate) fn bytes_rate(&self) -> String {
        self.while_live(float_bytes(self.0.activity.bytes_per_second))
    }

    fn while_live(&self, text: String) -> String {
        if self.is_live() { text } else { "-".to_owned() }
    }

    /// `310 rows/s, 0 B/s`
    pub(crate) fn rates(&self) -> String {
        if self.is_live() {
            format!("{} rows/s, {}/s", self.rows_rate(), self.bytes_rate())
        } else {
            format!("seen {}", self.seen())
        }
    }

    pub(crate) fn seen(&self) -> String {
        format!("{} ago", seconds(self.0.seen_seconds_ago))
    }

    /// Until when its leases hold.
    pub(crate) fn lease(&self) -> String {
        let left = LEASE_SECONDS - self.0.seen_seconds_ago;
        match self.0.state {
            WorkerState::Live if left > 0.0 => format!("for {} more", seconds(left.ceil())),
            WorkerState::Live => "expired: about to be taken over".to_owned(),
            WorkerState::Lost if self.0.leases > 0 => {
                "expired: the next worker goes on with its batches".to_owned()
            }
            WorkerState::Lost => "void: its late writes are refused".to_owned(),
            WorkerState::Left => "given back".to_owned(),
        }
    }
}
