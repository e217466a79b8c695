//! What one report does not say: since when the verdict holds, whether anything moves, and how
//! fast it has been.

use chrono::{DateTime, TimeDelta, Utc};
use reelshift_plan::VerdictKind;
use reelshift_store::report::LedgerReport;
use reelshift_store::{Result, Sample, Store};

use super::history::{MAX_POINTS, REMEMBERED};
use super::verdict::STALLED_AFTER_SECONDS;
use super::{Estimate, History, Pace, Verdict};

/// Observes the reports of a ledger, one after the other.
#[derive(Debug, Default)]
pub struct Observer {
    history: History,
    /// Whether what the ledger keeps of the last hour was read.
    knows_the_past: bool,
    /// The work done when it last changed, and when that was.
    progress: Option<(u64, DateTime<Utc>)>,
    /// Since when nothing was done when this looked for the first time.
    still_since: Option<DateTime<Utc>>,
    /// The previous verdict, and since when it holds.
    verdict: Option<(VerdictKind, DateTime<Utc>)>,
}

/// While work is open a sample is kept every few seconds, of a large ledger once a minute: after
/// more than that nobody knows what was between.
const RECENT: TimeDelta = TimeDelta::seconds(90);

impl Observer {
    /// The samples so far.
    #[must_use]
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// Reads what the ledger keeps of the hour before `now`, once.
    ///
    /// # Errors
    /// As the store.
    pub async fn remember(&mut self, store: &dyn Store, now: DateTime<Utc>) -> Result<()> {
        if !self.knows_the_past {
            for sample in store.samples(now - REMEMBERED, MAX_POINTS).await? {
                // A clock that was set back leaves samples of times to come.
                if sample.at < now {
                    self.history.push(sample);
                }
            }
            self.knows_the_past = true;
            self.recall(now);
        }
        Ok(())
    }

    /// Takes the verdict, and since when it holds, from the samples of other processes. The first
    /// look of a process then agrees with those that look all the time.
    fn recall(&mut self, now: DateTime<Utc>) {
        let mut streak: Option<Sample> = None;
        for sample in self.history.points().rev() {
            let after = streak.as_ref().map_or(now, |streak| streak.at);
            let is_next = after - sample.at <= RECENT;
            if !is_next || streak.as_ref().is_some_and(|streak| streak.verdict != sample.verdict) {
                break;
            }
            streak = Some(*sample);
        }
        let Some(Sample { verdict: kind, at, .. }) = streak else { return };
        // What is older than all samples began before them.
        if self.history.points().next().is_some_and(|oldest| oldest.at < at) {
            self.verdict = Some((kind, at));
        }
        if kind == VerdictKind::Stalled {
            self.still_since = Some(at - TimeDelta::seconds(STALLED_AFTER_SECONDS));
        }
    }

    /// The verdict on `report`, which becomes the newest sample.
    pub fn observe(&mut self, report: &LedgerReport) -> Verdict {
        let verdict = self.judge(report);
        self.history.push(Sample::new(report, verdict.kind));
        verdict
    }

    /// The verdict, with what earlier samples know of its age.
    fn judge(&mut self, report: &LedgerReport) -> Verdict {
        let done = report.runs.iter().map(|run| {
            run.rows_done + run.bytes_done + run.batches.done + run.batches.failed + run.errors
        });
        let done = done.sum();
        if self.progress.is_none_or(|(before, _)| before != done) {
            self.progress = Some((done, self.still_since.take().unwrap_or(report.at)));
        }
        let mut verdict = Verdict::compute(report, self.progress.map(|(_, at)| at));
        let since = match self.verdict {
            Some((kind, since)) if kind == verdict.kind => since,
            Some(_) => report.at,
            None => verdict.since.unwrap_or(report.at),
        };
        self.verdict = Some((verdict.kind, since));
        // A run runs since it was made, but not since it was held back last.
        let known = verdict.since.filter(|_| verdict.kind != VerdictKind::Running);
        verdict.since = known.or(Some(since));
        verdict
    }

    /// Whether the last verdict leaves the fleet at work.
    fn moves(&self) -> bool {
        let kind = self.verdict.map(|(kind, _)| kind);
        !matches!(kind, Some(VerdictKind::Paused | VerdictKind::Stalled | VerdictKind::Dead))
    }

    /// The pace at `report`, which was observed last.
    pub(crate) fn pace(&self, report: &LedgerReport) -> Pace {
        let now = Sample::new(report, VerdictKind::Running);
        let (since, rows, bytes) = match self.history.mean() {
            Some((since, rows, bytes)) => (Some(since), rows, bytes),
            None => (None, 0.0, 0.0),
        };
        Pace {
            rows_per_second: now.rows_per_second,
            bytes_per_second: now.bytes_per_second,
            mean_rows_per_second: rows,
            mean_bytes_per_second: bytes,
            since,
            estimate: Estimate::compute(report, &self.history).filter(|_| self.moves()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{at, report};
    use super::*;

    /// Whoever looks for the first time at a fleet without a brake, after these samples.
    fn first_look(samples: &[(i64, VerdictKind)]) -> Verdict {
        let report = LedgerReport { throttle: None, ..report() };
        let mut observer = Observer::default();
        for (seconds_ago, kind) in samples {
            let of_then =
                LedgerReport { at: report.at - TimeDelta::seconds(*seconds_ago), ..report.clone() };
            observer.history.push(Sample::new(&of_then, *kind));
        }
        observer.recall(report.at);
        observer.observe(&report)
    }

    #[test]
    fn a_first_look_says_what_those_say_who_look_all_the_time() {
        let now = report().at;
        let ago = |seconds| Some(now - TimeDelta::seconds(seconds));
        let (running, paused, stalled) =
            (VerdictKind::Running, VerdictKind::Paused, VerdictKind::Stalled);
        let resumed = first_look(&[(200, running), (150, paused), (90, running), (5, running)]);
        assert_eq!((resumed.kind, resumed.since), (running, ago(90)));
        let still = first_look(&[(120, running), (60, stalled), (5, stalled)]);
        assert_eq!((still.kind, still.since), (stalled, ago(60 + STALLED_AFTER_SECONDS)));
        let longer = first_look(&[(90, running), (5, running)]);
        assert_eq!(longer.since, Some(at("01:00:00")), "before the oldest sample");
        // Nobody looked meanwhile.
        let long_ago = first_look(&[(900, stalled), (600, stalled)]);
        assert_eq!((long_ago.kind, long_ago.since), (running, Some(at("01:00:00"))));
    }
}
