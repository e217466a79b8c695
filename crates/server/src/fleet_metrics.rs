//! The state of the fleet as metrics, from the overview that this process samples anyway: to be
//! scraped from one place, whichever workers come and go.

use std::time::{Duration, Instant};

use chrono::DateTime;
use reelshift_overview::Overview;
use reelshift_plan::VerdictKind;
use reelshift_plan::throttle::{Reading, Signal};
use reelshift_plan::{Flag, JobKind, RunState, WorkerState};
use reelshift_store::Result;
use reelshift_store::controls::BREAKER;
use reelshift_store::report::{LedgerReport, RunReport};
use reelshift_telemetry::metrics::OneOf;
use reelshift_telemetry::metrics::fleet::{self, Fleet, OfKind};
use uuid::Uuid;

use crate::app::App;

/// Between two reports: as often as metrics are scraped.
const INTERVAL: Duration = Duration::from_secs(5);

/// Reports the fleet, and remembers what need not be read again.
#[derive(Debug, Default)]
pub(crate) struct FleetMetrics {
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

impl FleetMetrics {
    /// Reports `overview`; without one, that the state of the fleet is not known.
    pub(crate) async fn report(&mut self, app: &App, overview: Option<&Overview>) {
        let Some(overview) = overview else {
            self.reported = None;
            fleet::report(None);
            return;
        };
        if self.reported.is_some_and(|at| at.elapsed() < INTERVAL) {
            return;
        }
        self.reported = Some(Instant::now());
        match self.read(app, overview).await {
            Ok(fleet) => fleet::report(Some(fleet)),
            Err(error) => {
                tracing::debug!(%error, "the fleet's metrics could not be read");
                fleet::report(None);
            }
        }
    }

    async fn read(&mut self, app: &App, overview: &Overview) -> Result<Fleet> {
        let (differences, notifications) = match &overview.report {
            Some(report) => (self.differences(app, report).await?, due_notifications(app).await?),
            None => (None, None),
        };
        Ok(Fleet { differences, notifications, ..count(overview) })
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
fn count(overview: &Overview) -> Fleet {
    let report = overview.report.as_ref();
    let runs = report.map(|report| &report.runs[..]).unwrap_or_default();
    let workers = report.map(|report| &report.workers[..]).unwrap_or_default();
    let throttle = report.and_then(|report| report.throttle.as_ref());
    let workers_that_are = |state: WorkerState| {
        (state.into_str(), workers.iter().filter(|worker| worker.state == state).count() as u64)
    };
    let paused = |by_breaker: bool| {
        let by = |run: &&RunReport| {
            run.run.state == RunState::Paused
                && (run.run.decided_by.as_deref() == Some(BREAKER)) == by_breaker
        };
        runs.iter().filter(by).count() as u64
    };
    let active = runs.iter().filter(|run| run.run.state.is_active());
    Fleet {
        verdict: OneOf { name: Some(overview.verdict.kind.into_str()), all: &VerdictKind::NAMES },
        workers: [
            workers_that_are(WorkerState::Live),
            workers_that_are(WorkerState::Lost),
            workers_that_are(WorkerState::Left),
        ],
        kinds: JobKind::ALL.iter().map(|&kind| of_kind(kind, runs)).collect(),
        open_batches: active.map(|run| run.batches.pending + run.batches.leased).sum(),
        paused: overview.paused(),
        paused_runs: [("operator", paused(false)), ("breaker", paused(true))],
        rows_per_second: overview.pace.rows_per_second,
        bytes_per_second: overview.pace.bytes_per_second,
        throttle_share: throttle.map(|throttle| throttle.share),
        pressures: throttle.map(|throttle| pressures(&throttle.readings)).unwrap_or_default(),
        latest_seconds: overview.pace.estimate.map(|estimate| estimate.latest_seconds),
        differences: None,
        notifications: None,
        at: overview.at().map(|at| (at - DateTime::UNIX_EPOCH).as_seconds_f64()),
    }
}

fn of_kind(kind: JobKind, runs: &[RunReport]) -> OfKind {
    let runs: Vec<&RunReport> = runs.iter().filter(|run| run.run.kind == kind).collect();
    let sum = |of: fn(&RunReport) -> u64| runs.iter().map(|run| of(run)).sum();
    OfKind {
        kind: kind.into_str(),
        active_runs: runs.iter().filter(|run| run.run.state.is_active()).count() as u64,
        batches: [
            ("pending", sum(|run| run.batches.pending)),
            ("leased", sum(|run| run.batches.leased)),
            ("done", sum(|run| run.batches.done)),
            ("failed", sum(|run| run.batches.failed)),
            ("cancelled", sum(|run| run.batches.cancelled)),
        ],
        failed: sum(|run| run.failed_open),
        quarantined: sum(|run| run.quarantined),
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
        let fleet = count(&overview(report));
        assert_eq!(fleet.verdict.name, Some("throttled"));
        assert_eq!(fleet.workers, [("live", 1), ("lost", 1), ("left", 0)]);
        assert_eq!(fleet.paused_runs, [("operator", 0), ("breaker", 1)]);
        assert_eq!(fleet.open_batches, 2_515, "a paused run has none that could be done");
        assert_eq!(fleet.pressures, [("threads_running", 0.75), ("replica_lag", 7.1 / 5.0)]);
        let backfill = &fleet.kinds[0];
        assert_eq!((backfill.kind, backfill.active_runs), ("backfill", 1));
        assert!(backfill.batches.contains(&("leased", 12)));
        let of_kinds = |of: fn(&OfKind) -> u64| fleet.kinds.iter().map(of).sum::<u64>();
        assert_eq!((backfill.failed, backfill.quarantined), (1, 3));
        assert_eq!((of_kinds(|of| of.failed), of_kinds(|of| of.quarantined)), (2, 6));
    }
}
