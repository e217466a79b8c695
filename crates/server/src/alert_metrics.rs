//! The state of the fleet as metrics, from the overview that this process samples anyway.

use std::time::{Duration, Instant};

use reelshift_overview::{Overview, VerdictKind};
use reelshift_plan::throttle::{Reading, Signal};
use reelshift_plan::{Flag, JobKind, RunState, WorkerState};
use reelshift_store::Result;
use reelshift_store::controls::BREAKER;
use reelshift_store::report::{LedgerReport, RunReport, WorkerReport};
use reelshift_telemetry::metrics::{self, Alerts, OneOf};
use uuid::Uuid;

use crate::app::App;

/// Between two reports: as often as metrics are scraped.
const INTERVAL: Duration = Duration::from_secs(5);

/// Reports the fleet, and remembers what need not be read again.
#[derive(Debug, Default)]
pub(crate) struct AlertMetrics {
    reported: Option<Instant>,
    validation: Option<Validation>,
}

/// What a run of validation had found when it had come this far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Validation {
    run: Uuid,
    rows: u64,
    differences: u64,
}

impl AlertMetrics {
    /// Reports `overview`; without one, that the state of the fleet is not known.
    pub(crate) async fn report(&mut self, app: &App, overview: Option<&Overview>) {
        if !metrics::enabled() {
            return;
        }
        let Some(overview) = overview else {
            metrics::alerts(None);
            return;
        };
        if self.reported.is_some_and(|at| at.elapsed() < INTERVAL) {
            return;
        }
        self.reported = Some(Instant::now());
        match self.read(app, overview).await {
            Ok(fleet) => metrics::alerts(Some(fleet)),
            Err(error) => {
                tracing::debug!(%error, "the fleet's metrics could not be read");
                metrics::alerts(None);
            }
        }
    }

    async fn read(&mut self, app: &App, overview: &Overview) -> Result<Alerts> {
        let (validation_differences, notifications) = match &overview.report {
            Some(report) => (self.differences(app, report).await?, due_notifications(app).await?),
            None => (None, None),
        };
        Ok(Alerts { validation_differences, notifications, ..counted(overview) })
    }

    /// What the newest validation found, however far it has come.
    async fn differences(&mut self, app: &App, report: &LedgerReport) -> Result<Option<u64>> {
        let Some(newest) = report.runs.iter().find(|run| run.run.kind == JobKind::Validate) else {
            return Ok(None);
        };
        let (run, rows) = (newest.run.id, newest.rows_done);
        let known = self.validation.filter(|known| known.run == run && known.rows == rows);
        let validation = match known {
            Some(known) => known,
            None => {
                let checks = app.store.run_checks(run).await?;
                let differences = checks.iter().map(|check| check.differences).sum();
                Validation { run, rows, differences }
            }
        };
        self.validation = Some(validation);
        Ok(Some(validation.differences))
    }
}

/// Nothing is delivered while the flag is off, so that nothing is late.
async fn due_notifications(app: &App) -> Result<Option<(u64, f64)>> {
    if !app.flags.current().await?.is_on(Flag::RealtimeNotifications) {
        return Ok(None);
    }
    let due = app.store.due_notifications().await?;
    Ok(Some((due.count, due.oldest_seconds)))
}

/// What the overview itself counts.
fn counted(overview: &Overview) -> Alerts {
    let report = overview.report.as_ref();
    let runs = report.map(|report| &report.runs[..]).unwrap_or_default();
    let sum = |of: fn(&RunReport) -> u64| runs.iter().map(of).sum::<u64>();
    let paused = |by_breaker: bool| {
        let by = |run: &&RunReport| {
            run.run.state == RunState::Paused
                && (run.run.decided_by.as_deref() == Some(BREAKER)) == by_breaker
        };
        runs.iter().filter(by).count() as u64
    };
    let workers = report.map(|report| &report.workers[..]).unwrap_or_default();
    let count = |state: WorkerState, of: fn(&WorkerReport) -> bool| {
        (state.as_str(), workers.iter().filter(|worker| of(worker)).count() as u64)
    };
    Alerts {
        verdict: OneOf { name: Some(overview.verdict.kind.name()), all: &VerdictKind::NAMES },
        workers: vec![
            count(WorkerState::Live, WorkerReport::beats),
            count(WorkerState::Lost, WorkerReport::is_lost),
            count(WorkerState::Left, |worker| worker.state == WorkerState::Left),
        ],
        paused_runs: vec![("operator", paused(false)), ("breaker", paused(true))],
        open_batches: sum(|run| {
            if run.run.state.is_active() { run.batches.pending + run.batches.leased } else { 0 }
        }),
        failed_batches: sum(|run| run.failed_open),
        quarantined: sum(|run| run.quarantined),
        pressures: report
            .and_then(|report| report.throttle.as_ref())
            .map(|throttle| pressures(&throttle.readings))
            .unwrap_or_default(),
        validation_differences: None,
        notifications: None,
    }
}

/// Each signal that has a value, the worst where several hosts have it.
fn pressures(readings: &[Reading]) -> Vec<(&'static str, f64)> {
    let of = |label: &'static str| {
        let values = readings
            .iter()
            .filter(|reading| reading.signal.label() == label && reading.value.is_some());
        values.map(Reading::pressure).max_by(f64::total_cmp).map(|worst| (label, worst))
    };
    Signal::LABELS.into_iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use reelshift_overview::sample::{overview, report, run};

    use super::*;

    #[test]
    fn an_overview_is_counted() {
        let mut paused = run(JobKind::Hash, RunState::Paused);
        paused.run.decided_by = Some(BREAKER.to_owned());
        let mut report = report();
        report.runs.push(paused);
        let fleet = counted(&overview(report));
        assert_eq!(fleet.verdict.name, Some("throttled"));
        assert_eq!(fleet.workers, [("live", 1), ("lost", 1), ("left", 0)]);
        assert_eq!(fleet.paused_runs, [("operator", 0), ("breaker", 1)]);
        assert_eq!(fleet.open_batches, 2_515, "a paused run has none that could be done");
        assert_eq!((fleet.failed_batches, fleet.quarantined), (2, 6));
        let pressures = [("threads_running", 0.75), ("replica_lag", 7.1 / 5.0)];
        assert_eq!(fleet.pressures, pressures);
    }
}
