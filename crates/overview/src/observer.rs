//! What one report does not say: since when the verdict holds, whether anything moves, and how
//! fast it has been.

use chrono::{DateTime, Utc};
use reelshift_plan::VerdictKind;
use reelshift_store::report::LedgerReport;
use reelshift_store::{Result, Sample, Store};

use super::history::{MAX_POINTS, REMEMBERED};
use super::{Estimate, History, Pace, Verdict};

/// Observes the reports of a ledger, one after the other.
#[derive(Debug, Default)]
pub struct Observer {
    history: History,
    /// Whether what the ledger keeps of the last hour was read.
    knows_the_past: bool,
    /// The work done when it last changed, and when that was.
    progress: Option<(u64, DateTime<Utc>)>,
    /// The previous verdict, and since when it holds.
    verdict: Option<(VerdictKind, DateTime<Utc>)>,
}

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
        }
        Ok(())
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
            self.progress = Some((done, report.at));
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
