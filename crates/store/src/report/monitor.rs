//! The specification's monitor of a migration, from what the report has read anyway: the
//! ledger of the runs that it shows, never the platform's tables.

use chrono::{DateTime, Utc};
use reelshift_plan::{JobKind, RunState, WorkerState, eta};
use serde::Serialize;

use super::{RunReport, WorkerReport};
use crate::controls::{Control, PAUSE};

/// The specification's figures, over the runs of one report.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Monitor {
    /// Since the first of these runs was enqueued, until the last ended or until now.
    pub elapsed_seconds: f64,
    /// Rows that backfills filled in or brought into agreement.
    pub videos_migrated: u64,
    /// Attempts that failed, and items that were set aside.
    pub errors_encountered: u64,
    /// Status rows that batches made; the bridge's triggers make the others.
    pub processing_status_created: u64,
    /// Rows of `realtime_notification_queue`, whoever queued them: the fleet queues none.
    /// Counted up to [`Monitor::MAX_COUNTED_NOTIFICATIONS`].
    pub notifications_queued: u64,
    /// Whether there are more than were counted.
    pub notifications_queued_or_more: bool,
    /// The share of errors in all that ended, well or not: errors among errors and items
    /// done, of the kind of job that has the most of them.
    pub error_rate: f64,
    /// That kind, whose items are rows or files; `None` without errors.
    pub error_rate_of: Option<JobKind>,
    /// Seconds until the active runs are through, as fast as the live workers are now;
    /// `None` where nothing is active, nothing moves or the fleet is paused.
    pub estimated_completion_seconds: Option<f64>,
}

impl Monitor {
    /// Rows of the notification queue that are counted, so that a look costs the same
    /// however long the queue is.
    pub const MAX_COUNTED_NOTIFICATIONS: u32 = 10_000;

    /// The figures at `at`, with what was counted of the notification queue.
    #[must_use]
    pub fn of(
        at: DateTime<Utc>,
        runs: &[RunReport],
        workers: &[WorkerReport],
        controls: &[Control],
        notifications: u64,
    ) -> Self {
        let paused = controls.iter().any(|control| control.name == PAUSE);
        let begun = runs.iter().map(|report| report.run.created_at).min();
        let ended = runs.iter().map(|report| report.run.finished_at.unwrap_or(at)).max();
        let elapsed = begun.zip(ended).and_then(|(begun, ended)| (ended - begun).to_std().ok());
        let backfills = runs.iter().filter(|report| report.run.kind == JobKind::Backfill);
        let videos_migrated = backfills.map(|report| report.rows_done).sum();
        let errors_encountered = runs.iter().map(|report| report.errors).sum();
        let kinds = JobKind::ALL.iter().map(|&kind| (kind, error_rate(kind, runs)));
        let worst = kinds.filter(|(_, rate)| *rate > 0.0);
        let worst = worst.max_by(|(_, one), (_, other)| one.total_cmp(other));
        let most = u64::from(Self::MAX_COUNTED_NOTIFICATIONS);
        Self {
            elapsed_seconds: elapsed.unwrap_or_default().as_secs_f64(),
            videos_migrated,
            errors_encountered,
            processing_status_created: runs.iter().map(|report| report.status_rows_created).sum(),
            notifications_queued: notifications.min(most),
            notifications_queued_or_more: notifications > most,
            error_rate: worst.map_or(0.0, |(_, rate)| rate),
            error_rate_of: worst.map(|(kind, _)| kind),
            estimated_completion_seconds: estimate(runs, workers).filter(|_| !paused),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio that is shown with few digits")]
fn error_rate(kind: JobKind, runs: &[RunReport]) -> f64 {
    let of_kind = runs.iter().filter(|report| report.run.kind == kind);
    let (errors, done) = of_kind
        .fold((0, 0), |(errors, done), report| (errors + report.errors, done + report.rows_done));
    errors as f64 / (errors + done).max(1) as f64
}

impl RunReport {
    /// Done and total in the unit that the run's time goes by: rows, or bytes of files.
    /// What was planned is an estimate (rows that another sweep counted too, sizes that
    /// the rows claim); what is done when the run is done is the whole. Where more bytes are
    /// done than the rows claim, those that are left have files of the size of the others.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        let (done, planned) = match self.run.kind {
            JobKind::Backfill | JobKind::Validate => (self.rows_done, self.run.rows_total),
            JobKind::Hash => {
                let (done, planned) = (self.bytes_done, self.run.bytes_total);
                let ended = self.rows_done + self.quarantined;
                let left = self.run.rows_total.saturating_sub(ended);
                let mean = done / self.rows_done.max(1);
                (done, if done < planned { planned } else { done + left * mean })
            }
        };
        let complete = matches!(self.run.state, RunState::Sweeping | RunState::Done);
        (done, if complete { done } else { planned.max(done) })
    }
}

/// The rate of `kind`, of all live workers together: rows or bytes in a second.
#[must_use]
pub fn rate(kind: JobKind, workers: &[WorkerReport]) -> f64 {
    let live = workers.iter().filter(|worker| worker.state == WorkerState::Live);
    // A sum of nothing is minus zero.
    let rate: f64 = live
        .map(|worker| match kind {
            JobKind::Backfill | JobKind::Validate => worker.activity.rows_per_second,
            JobKind::Hash => worker.activity.bytes_per_second,
        })
        .sum();
    rate + 0.0
}

/// The kinds go on beside each other: the slowest decides.
fn estimate(runs: &[RunReport], workers: &[WorkerReport]) -> Option<f64> {
    let mut longest = None;
    for &kind in JobKind::ALL {
        let active =
            runs.iter().filter(|report| report.run.kind == kind && report.run.state.is_active());
        let left = active.map(|report| {
            let (done, total) = report.progress();
            total - done
        });
        let Some(left) = left.reduce(|one, other| one + other) else { continue };
        let seconds = eta::remaining(left, rate(kind, workers))?.as_secs_f64();
        longest = Some(longest.map_or(seconds, |longest: f64| longest.max(seconds)));
    }
    longest
}
