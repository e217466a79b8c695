//! How far one run is, how fast it goes, and when it will be done.

use reelshift_plan::{JobKind, WorkerState, eta};
use reelshift_store::controls::PAUSE;
use reelshift_store::report::{LedgerReport, RunReport, monitor};
use serde::Serialize;
use uuid::Uuid;

use super::History;
use super::history::{Estimate, mean_rate};
use crate::figures::share;

/// What the time of a run goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum ProgressUnit {
    Rows,
    /// Of files.
    Bytes,
}

impl From<JobKind> for ProgressUnit {
    fn from(kind: JobKind) -> Self {
        match kind {
            JobKind::Backfill | JobKind::Validate => Self::Rows,
            JobKind::Hash => Self::Bytes,
        }
    }
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunProgress {
    pub run: Uuid,
    pub unit: ProgressUnit,
    pub done: u64,
    /// An estimate until the run is done.
    pub total: u64,
    /// Of `total`, with one decimal, rounded down: 100 is the whole.
    pub percent: f64,
    /// Over all of the run's time.
    pub mean_per_second: f64,
    /// Now. `None` where the run is not active, or where another one of the same unit is: what
    /// each of them gets is not measured.
    pub per_second: Option<f64>,
    /// When it will be done; `None` where it is not active or nothing has moved.
    pub estimate: Option<Estimate>,
}

impl RunProgress {
    /// Of `run`, beside what `report` shows.
    #[must_use]
    pub fn compute(run: &RunReport, report: &LedgerReport, history: &History) -> Self {
        let unit = ProgressUnit::from(run.run.kind);
        let (done, total) = run.progress();
        let active = run.run.state.is_active();
        let others = report.runs.iter().any(|other| {
            other.run.id != run.run.id
                && other.run.state.is_active()
                && ProgressUnit::from(other.run.kind) == unit
        });
        let alone = active && !others;
        let mean_per_second = mean_rate(run);
        let mut rates =
            if alone { history.unthrottled(run.run.kind, report.at) } else { Vec::new() };
        rates.push(mean_per_second);
        let is_paused = report.controls.iter().any(|control| control.name == PAUSE);
        let works = report.workers.iter().any(|worker| worker.state == WorkerState::Live);
        let range = eta::range(total - done, &rates).filter(|_| active && works && !is_paused);
        Self {
            run: run.run.id,
            unit,
            done,
            total,
            percent: percent_of(run),
            mean_per_second,
            per_second: alone.then(|| monitor::rate(run.run.kind, &report.workers)),
            estimate: range.and_then(|(soonest, latest)| {
                Estimate::from_now(report.at, soonest.as_secs_f64(), latest.as_secs_f64())
            }),
        }
    }
}

/// How much of a run is done, in percent with one decimal, rounded down. It goes by files where
/// no row has a file size.
#[must_use]
pub fn percent_of(run: &RunReport) -> f64 {
    match run.progress() {
        (0, 0) => share(run.rows_done, run.run.rows_total),
        (done, total) => share(done, total),
    }
}

#[cfg(test)]
mod tests {
    use reelshift_plan::RunState;

    use super::super::sample::{history, report, run};
    use super::*;

    #[test]
    fn a_run_that_is_alone_has_the_fleets_rate() {
        let ledger = report();
        let progress = RunProgress::compute(&ledger.runs[0], &ledger, &history());
        assert_eq!((progress.done, progress.total), (6_970_000, 12_000_000));
        assert!((progress.percent - 58.0).abs() < 0.05, "{progress:?}");
        assert_eq!(progress.per_second, Some(310.0));
        assert!(progress.estimate.is_some());
    }

    #[test]
    fn beside_another_of_its_unit_only_the_mean_is_known() {
        let mut validation = run(JobKind::Validate, RunState::Running);
        validation.run.id = Uuid::nil();
        let runs = vec![run(JobKind::Backfill, RunState::Running), validation];
        let ledger = LedgerReport { runs, ..report() };
        let progress = RunProgress::compute(&ledger.runs[0], &ledger, &history());
        assert_eq!(progress.per_second, None);
        assert!((progress.mean_per_second - 879.3).abs() < 0.1, "{progress:?}");
        assert!(progress.estimate.is_some(), "by its own mean");
    }

    #[test]
    fn files_of_unknown_size_are_not_done() {
        let mut hash = run(JobKind::Hash, RunState::Running);
        (hash.run.bytes_total, hash.bytes_done) = (0, 0);
        (hash.run.rows_total, hash.rows_done, hash.quarantined) = (600, 0, 0);
        assert!(percent_of(&hash) < 0.1);
        // A third of the files is read, and none of them was expected to have a byte.
        (hash.rows_done, hash.bytes_done) = (200, 1_000);
        assert_eq!(hash.progress(), (1_000, 3_000));
        assert!((percent_of(&hash) - 33.3).abs() < 0.01);
        // What was set aside is not left.
        hash.quarantined = 100;
        assert_eq!(hash.progress(), (1_000, 2_500));
    }

    #[test]
    fn a_run_that_has_ended_has_no_estimate() {
        let done = run(JobKind::Backfill, RunState::Done);
        let ledger = LedgerReport { runs: vec![done], ..report() };
        let progress = RunProgress::compute(&ledger.runs[0], &ledger, &history());
        assert!((progress.percent - 100.0).abs() < f64::EPSILON);
        assert_eq!((progress.per_second, progress.estimate), (None, None));
    }
}
