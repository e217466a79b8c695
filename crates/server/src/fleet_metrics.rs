//! The fleet's metrics, as the overview has them: to be scraped from one place, whichever
//! workers come and go.

use chrono::DateTime;
use reelshift_overview::{Overview, VerdictKind};
use reelshift_plan::{JobKind, WorkerState};
use reelshift_store::report::RunReport;
use reelshift_telemetry::metrics::fleet::{self, Fleet, OfKind};

/// Tells what `overview` counts from now on.
pub(crate) fn tell(overview: &Overview) {
    fleet::tell(count(overview));
}

fn count(overview: &Overview) -> Fleet {
    let runs = overview.report.iter().flat_map(|report| &report.runs);
    let of = |kind: JobKind| {
        let runs: Vec<&RunReport> = runs.clone().filter(|run| run.run.kind == kind).collect();
        let sum = |of: fn(&RunReport) -> u64| runs.iter().map(|run| of(run)).sum();
        let active = runs.iter().filter(|run| run.run.state.is_active()).count() as u64;
        OfKind {
            kind: kind.as_str(),
            active_runs: active,
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
    };
    let workers = |state: WorkerState| {
        let workers = overview.report.iter().flat_map(|report| &report.workers);
        workers.filter(|worker| worker.state == state).count() as u64
    };
    let throttle = overview.report.as_ref().and_then(|report| report.throttle.as_ref());
    Fleet {
        verdicts: VerdictKind::ALL
            .map(|kind| (kind.name(), kind == overview.verdict.kind))
            .to_vec(),
        workers: WorkerState::ALL.map(|state| (state.as_str(), workers(state))).to_vec(),
        kinds: JobKind::ALL.map(of).to_vec(),
        rows_per_second: overview.pace.rows_per_second,
        bytes_per_second: overview.pace.bytes_per_second,
        paused: overview.paused(),
        throttle_share: throttle.map(|throttle| throttle.share),
        latest_seconds: overview.pace.estimate.map(|estimate| estimate.latest_seconds),
        at: overview.at().map(|at| (at - DateTime::UNIX_EPOCH).as_seconds_f64()),
    }
}

#[cfg(test)]
mod tests {
    use reelshift_overview::sample;

    use super::*;

    #[test]
    fn the_sample_is_counted() {
        let fleet = count(&sample::overview(sample::report()));
        let told: Vec<_> = fleet.verdicts.iter().filter(|(_, is)| *is).collect();
        assert_eq!(told, [&("throttled", true)]);
        assert!(fleet.workers.contains(&("live", 1)) && fleet.workers.contains(&("lost", 1)));
        let backfill = &fleet.kinds[0];
        assert_eq!((backfill.kind, backfill.active_runs), ("backfill", 1));
        assert!(backfill.batches.contains(&("leased", 12)));
        assert_eq!((backfill.failed, backfill.quarantined), (1, 3));
    }
}
