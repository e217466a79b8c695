//! From what the store says to what people ask. Bounded: it counts the ledger of the newest
//! runs, never a table of the platform.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use reelshift_rollout::FlagCache;
use reelshift_store::flags::{FlagChange, StoredFlag};
use reelshift_store::report::Snapshot as Report;
use reelshift_store::rollback::{self, OpenRollback};
use reelshift_store::schema::StepGroup;
use reelshift_store::{Result, SharedStore};

use super::phases::{self, StepReport};
use super::{
    Estimate, FlagReport, History, Kind, Limiting, Pace, Point, Snapshot, Stopping, Verdict,
};

/// The newest runs that are shown.
pub const RUNS: u32 = 10;

/// The newest changes of flags that are shown.
const FLAG_CHANGES: u32 = 20;

/// Whoever looks at a migration again and again, with what it remembers of earlier looks.
#[derive(Debug)]
pub struct Looker {
    store: SharedStore,
    flags: Arc<FlagCache>,
    history: History,
    /// What was done when something was last seen done, and when that was.
    done: Option<(u64, DateTime<Utc>)>,
    /// The verdict before, and since when it is that.
    verdict: Option<(Kind, DateTime<Utc>)>,
}

/// What one look reads.
#[derive(Debug, Default)]
struct Facts {
    steps: Vec<StepReport>,
    rollback: Option<OpenRollback>,
    report: Option<Report>,
    flags: Vec<StoredFlag>,
    flag_changes: Vec<FlagChange>,
}

impl Looker {
    #[must_use]
    pub fn new(store: SharedStore, flags: Arc<FlagCache>) -> Self {
        Self { store, flags, history: History::default(), done: None, verdict: None }
    }

    /// The looks so far.
    #[must_use]
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// Looks once.
    ///
    /// # Errors
    /// As the store; before expand, `Refused` where there are no videos to migrate.
    pub async fn look(&mut self) -> Result<Snapshot> {
        let facts = self.read().await?;
        Ok(self.compose(facts))
    }

    async fn read(&self) -> Result<Facts> {
        let store = &*self.store;
        let steps = phases::steps(store.steps(), &store.journal().await?);
        let rollback = rollback::open(store).await?;
        if !phases::expanded(&steps) {
            store.check_legacy().await?;
            return Ok(Facts { steps, rollback, ..Facts::default() });
        }
        Ok(Facts {
            steps,
            rollback,
            report: Some(reelshift_rollout::snapshot(store, &self.flags, RUNS).await?),
            flags: store.flags().await?.unwrap_or_default(),
            flag_changes: store.flag_changes(FLAG_CHANGES).await?,
        })
    }

    fn compose(&mut self, facts: Facts) -> Snapshot {
        let Facts { steps, rollback, report, flags, flag_changes } = facts;
        let runs = report.as_ref().map(|report| &report.runs[..]).unwrap_or_default();
        let phases = phases::phases(&steps, runs, &flags);
        let stopping = Stopping::of(report.as_ref(), &phases);
        let (verdict, pace) = match &report {
            None => {
                // A rollback leaves reelshift's own tables.
                let begun = steps
                    .iter()
                    .any(|step| step.started_at.is_some() && step.group != StepGroup::Ledger);
                (Verdict::not_started(begun), Pace::default())
            }
            Some(report) => {
                let verdict = self.judge(report);
                self.history.push(Point::of(report, verdict.kind));
                (verdict, self.pace(report))
            }
        };
        let verdict = rollback.as_ref().map_or(verdict, Verdict::rolling_back);
        let last_change = |stored: &StoredFlag| {
            flag_changes.iter().find(|change| change.flag == stored.flag).cloned()
        };
        let flags = flags
            .into_iter()
            .map(|stored| FlagReport { last_change: last_change(&stored), stored })
            .collect();
        Snapshot {
            expanded: report.is_some(),
            limiting: report.as_ref().and_then(Limiting::of),
            rollback,
            report,
            verdict,
            phases,
            steps,
            pace,
            stopping,
            flags,
            flag_changes,
        }
    }

    /// The verdict, with what earlier looks know of it.
    fn judge(&mut self, report: &Report) -> Verdict {
        let done = report.runs.iter().map(|run| {
            run.rows_done + run.bytes_done + run.batches.done + run.batches.failed + run.errors
        });
        let done = done.sum();
        if self.done.is_none_or(|(before, _)| before != done) {
            self.done = Some((done, report.at));
        }
        let mut verdict = Verdict::of(report, self.done.map(|(_, at)| at));
        let since = match self.verdict {
            Some((kind, since)) if kind == verdict.kind => since,
            Some(_) => report.at,
            None => verdict.since.unwrap_or(report.at),
        };
        self.verdict = Some((verdict.kind, since));
        // A run runs since it was made, but not since it was held back last.
        let known = verdict.since.filter(|_| verdict.kind != Kind::Running);
        verdict.since = known.or(Some(since));
        verdict
    }

    fn pace(&self, report: &Report) -> Pace {
        let now = Point::of(report, Kind::Running);
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
            estimate: Estimate::of(report, &self.history),
        }
    }
}
