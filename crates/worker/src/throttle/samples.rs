//! Samples of the migration, which the worker that samples for the throttle takes for all:
//! beside the throttle's own, which must not wait for it, since it counts the ledger of the runs
//! that `status` shows.

use std::time::{Duration, Instant};

use reelshift_overview::{Observer, RUNS_SHOWN};
use reelshift_plan::VerdictKind;
use reelshift_store::report::{LedgerReport, Monitor};
use reelshift_store::{Result, SharedStore};
use reelshift_telemetry::metrics;

/// From one sample to the next.
const INTERVAL: Duration = Duration::from_secs(5);

/// Sampling takes at most one in this many seconds, as long as that is a sample a minute.
const REST_PER_SAMPLE: u32 = 20;

/// What was slow because the database was away is no reason to miss what follows.
const MAX_REST: Duration = Duration::from_mins(1);

/// Keeps a sample every few seconds while something is open, and one whenever the state of the
/// migration changes. It also updates the metrics of the specification's monitor, where
/// metrics are exported.
pub(super) async fn keep(store: SharedStore) {
    let mut observer = Observer::default();
    let mut kept: Option<VerdictKind> = None;
    loop {
        let began = Instant::now();
        let mut rest = INTERVAL;
        match store.ledger_report(RUNS_SHOWN).await {
            Ok(report) => {
                if metrics::enabled() {
                    metrics::monitor(Some(monitor(&report.monitor)));
                }
                if let Err(error) = keep_one(&store, &mut observer, &mut kept, &report).await {
                    tracing::debug!(%error, "a sample was not kept");
                }
                rest = (began.elapsed() * REST_PER_SAMPLE).clamp(INTERVAL, MAX_REST);
            }
            Err(error) => tracing::debug!(%error, "the runs were not counted"),
        }
        tokio::time::sleep(rest).await;
    }
}

async fn keep_one(
    store: &SharedStore,
    observer: &mut Observer,
    kept: &mut Option<VerdictKind>,
    report: &LedgerReport,
) -> Result<()> {
    let verdict = observer.observe(report).kind;
    let open = report.runs.iter().any(|run| run.run.state.is_active());
    if !open && *kept == Some(verdict) {
        return Ok(());
    }
    if let Some(sample) = observer.history().points().next_back() {
        store.keep_sample(sample).await?;
        *kept = Some(verdict);
    }
    Ok(())
}

const fn monitor(monitor: &Monitor) -> metrics::Monitor {
    metrics::Monitor {
        videos_migrated: monitor.videos_migrated,
        errors: monitor.errors_encountered,
        status_rows: monitor.processing_status_created,
        notifications: monitor.notifications_queued,
        error_rate: monitor.error_rate,
        left: monitor.estimated_completion_seconds,
    }
}
