//! The samples of the last hour: the basis of charts and of the estimate. A process begins with
//! those that the ledger keeps, and adds its own.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};
use reelshift_plan::{JobKind, VerdictKind, eta};
use reelshift_store::Sample;
use reelshift_store::report::{LedgerReport, RunReport};
use serde::Serialize;

/// An hour of samples a second apart, 300 kB.
pub(crate) const MAX_POINTS: u32 = 3_600;

/// The age of the oldest sample that is read from the ledger.
pub(crate) const REMEMBERED: TimeDelta = TimeDelta::hours(1);

/// Samples whose rates are averaged before they count for an estimate: a chunk that ends
/// just before or just after a sample is no change of pace.
const POINTS_PER_BUCKET: usize = 10;

/// The estimate uses the samples of this time.
const RECENT: TimeDelta = TimeDelta::minutes(30);

/// The samples of the last hour.
#[derive(Debug, Clone, Default)]
pub struct History(VecDeque<Sample>);

impl History {
    pub(crate) fn push(&mut self, point: Sample) {
        if self.0.len() >= MAX_POINTS as usize {
            self.0.pop_front();
        }
        self.0.push_back(point);
    }

    /// Oldest first.
    pub fn points(&self) -> impl DoubleEndedIterator<Item = &Sample> + ExactSizeIterator {
        self.0.iter()
    }

    /// The mean rates of rows and bytes over all that is remembered, and since when. A sample
    /// stands for the time since the one before it.
    pub(crate) fn mean(&self) -> Option<(DateTime<Utc>, f64, f64)> {
        let (first, last) = (self.0.front()?, self.0.back()?);
        let whole = (last.at - first.at).as_seconds_f64();
        if whole <= 0.0 {
            return Some((first.at, last.rows_per_second, last.bytes_per_second));
        }
        let (mut rows, mut bytes) = (0.0, 0.0);
        for (before, point) in self.0.iter().zip(self.0.iter().skip(1)) {
            let seconds = (point.at - before.at).as_seconds_f64();
            rows += point.rows_per_second * seconds;
            bytes += point.bytes_per_second * seconds;
        }
        Some((first.at, rows / whole, bytes / whole))
    }

    /// The recent rates of work of `kind` while nothing held it back.
    pub(crate) fn unthrottled(&self, kind: JobKind, now: DateTime<Utc>) -> Vec<f64> {
        let free: Vec<f64> = self
            .points()
            .filter(|point| point.verdict == VerdictKind::Running && now - point.at <= RECENT)
            .map(|point| point.rate(kind))
            .collect();
        let mean = |bucket: &[f64]| {
            bucket.iter().sum::<f64>() / f64::from(u32::try_from(bucket.len()).unwrap_or(1))
        };
        free.chunks(POINTS_PER_BUCKET).map(mean).collect()
    }
}

/// When the open work will be done.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Estimate {
    /// Seconds from now, without time in which the fleet is throttled or paused.
    pub soonest_seconds: f64,
    pub latest_seconds: f64,
    pub soonest: DateTime<Utc>,
    pub latest: DateTime<Utc>,
}

impl Estimate {
    /// Of the active runs: their kinds go on beside each other, so the slowest decides. `None`
    /// where nothing is open or nothing has moved yet.
    pub(crate) fn compute(report: &LedgerReport, history: &History) -> Option<Self> {
        let mut longest: Option<(f64, f64)> = None;
        for &kind in JobKind::ALL {
            let active: Vec<&RunReport> = report
                .runs
                .iter()
                .filter(|run| run.run.kind == kind && run.run.state.is_active())
                .collect();
            if active.is_empty() {
                continue;
            }
            let left =
                active.iter().map(|run| run.progress()).map(|(done, total)| total - done).sum();
            let mut rates = history.unthrottled(kind, report.at);
            rates.extend(active.iter().map(|run| mean_rate(run)));
            let (low, high) = eta::range(left, &rates)?;
            let (low, high) = (low.as_secs_f64(), high.as_secs_f64());
            longest = Some(longest.map_or((low, high), |(l, h)| (l.max(low), h.max(high))));
        }
        let (soonest, latest) = longest?;
        Self::from_now(report.at, soonest, latest)
    }

    /// So many seconds after `at`.
    pub(crate) fn from_now(at: DateTime<Utc>, soonest: f64, latest: f64) -> Option<Self> {
        Some(Self {
            soonest_seconds: soonest,
            latest_seconds: latest,
            soonest: after(at, soonest)?,
            latest: after(at, latest)?,
        })
    }
}

/// What a run did in a second, over all its time.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
pub(crate) fn mean_rate(run: &RunReport) -> f64 {
    run.progress().0 as f64 / run.elapsed_seconds.max(1.0)
}

fn after(at: DateTime<Utc>, seconds: f64) -> Option<DateTime<Utc>> {
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and is then refused")]
    at.checked_add_signed(TimeDelta::try_seconds(seconds as i64)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(second: i64, rows: f64, verdict: VerdictKind) -> Sample {
        Sample {
            at: DateTime::UNIX_EPOCH + TimeDelta::seconds(second),
            rows_per_second: rows,
            bytes_per_second: 0.0,
            chunk_seconds: None,
            application_seconds: None,
            application_without_seconds: None,
            verdict,
        }
    }

    #[test]
    fn throttled_time_does_not_count() {
        let mut history = History::default();
        for second in 0..20 {
            history.push(point(second, 100.0, VerdictKind::Running));
        }
        for second in 20..60 {
            history.push(point(second, 1.0, VerdictKind::Throttled));
        }
        let now = DateTime::UNIX_EPOCH + TimeDelta::seconds(60);
        assert_eq!(history.unthrottled(JobKind::Backfill, now), [100.0, 100.0]);
        let later = now + RECENT + TimeDelta::seconds(1);
        assert!(history.unthrottled(JobKind::Backfill, later).is_empty(), "the past is past");
        let (_, mean, _) = history.mean().expect("looks");
        assert!((mean - 1_940.0 / 59.0).abs() < 0.1, "the mean is of all time: {mean}");
    }

    #[test]
    fn samples_of_the_ledger_are_farther_apart() {
        let mut history = History::default();
        for (second, rows) in [(0, 7.0), (10, 100.0), (11, 10.0), (12, 10.0)] {
            history.push(point(second, rows, VerdictKind::Running));
        }
        let (since, rows, _) = history.mean().expect("points");
        assert_eq!((since, rows), (DateTime::UNIX_EPOCH, 85.0));
    }

    #[test]
    fn it_forgets_the_oldest() {
        let mut history = History::default();
        for second in 0..4_000 {
            history.push(point(second, 1.0, VerdictKind::Running));
        }
        assert_eq!(history.points().len(), MAX_POINTS as usize);
        let first = history.points().next().expect("a point");
        assert_eq!(first.at.timestamp(), 400);
    }
}
