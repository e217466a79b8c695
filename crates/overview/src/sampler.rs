//! Reads the store and composes the overview. Bounded: it counts the ledger of the newest
//! runs, never a table of the platform.

use std::sync::Arc;

use reelshift_plan::{Flag, JobKind, RunState};
use reelshift_rollout::FlagCache;
use reelshift_store::flags::{FlagChange, StoredFlag};
use reelshift_store::report::{LedgerReport, RunReport};
use reelshift_store::rollback::{self, OpenRollback};
use reelshift_store::schema::StepGroup;
use reelshift_store::{Result, SharedStore};

use super::limiting::limiting_setting;
use super::phases::{self, StepReport};
use super::{
    FlagReport, History, Limiting, Observer, Overview, Pace, RunProgress, Stopping, Verdict,
};

/// The newest runs that an overview shows.
pub const RUNS_SHOWN: u32 = 10;

/// The newest changes of flags that an overview shows.
const FLAG_CHANGES_SHOWN: u32 = 20;

/// Samples a migration again and again, and remembers what the next sample needs.
#[derive(Debug)]
pub struct Sampler {
    store: SharedStore,
    flags: Arc<FlagCache>,
    observer: Observer,
}

/// What one sample reads.
#[derive(Debug, Default)]
struct Facts {
    steps: Vec<StepReport>,
    rollback: Option<OpenRollback>,
    report: Option<LedgerReport>,
    flags: Vec<StoredFlag>,
    flag_changes: Vec<FlagChange>,
}

impl Sampler {
    #[must_use]
    pub fn new(store: SharedStore, flags: Arc<FlagCache>) -> Self {
        Self { store, flags, observer: Observer::default() }
    }

    /// The samples so far.
    #[must_use]
    pub const fn history(&self) -> &History {
        self.observer.history()
    }

    /// Takes one sample.
    ///
    /// # Errors
    /// As the store; before expand, `Refused` where there are no videos to migrate.
    pub async fn sample(&mut self) -> Result<Overview> {
        let facts = self.read().await?;
        if let Some(report) = &facts.report {
            self.observer.remember(&*self.store, report.at).await?;
        }
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
            report: Some(self.report().await?),
            flags: store.flags().await?.unwrap_or_default(),
            flag_changes: store.flag_changes(FLAG_CHANGES_SHOWN).await?,
        })
    }

    /// The ledger's report, with the server's load while `performance_monitoring` is on (at
    /// any percentage above 0: load belongs to no video).
    async fn report(&self) -> Result<LedgerReport> {
        let mut report = self.store.ledger_report(RUNS_SHOWN).await?;
        if self.flags.current().await?.is_on(Flag::PerformanceMonitoring) {
            report.load = self.store.load().await?;
        }
        Ok(report)
    }

    fn compose(&mut self, facts: Facts) -> Overview {
        let Facts { steps, rollback, mut report, flags, flag_changes } = facts;
        let runs = report.as_ref().map(|report| &report.runs[..]).unwrap_or_default();
        let phases = phases::phases(&steps, runs, &flags);
        let stopping = Stopping::compute(report.as_ref(), &phases);
        // Phases go by the newest run, also by one that found everything done.
        if let Some(report) = &mut report {
            leave_out_empty_runs(&mut report.runs);
        }
        let (verdict, pace) = match &report {
            None => {
                // A rollback leaves reelshift's own tables.
                let begun = steps
                    .iter()
                    .any(|step| step.started_at.is_some() && step.group != StepGroup::Ledger);
                (Verdict::not_started(begun), Pace::default())
            }
            Some(report) => {
                let verdict = self.observer.observe(report);
                (verdict, self.observer.pace(report))
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
        let history = self.observer.history();
        let progress = report.iter().flat_map(|report| {
            report.runs.iter().map(move |run| RunProgress::compute(run, report, history))
        });
        let progress = progress.collect();
        Overview {
            expanded: report.is_some(),
            limiting: report.as_ref().and_then(Limiting::find),
            limiting_setting: report
                .as_ref()
                .and_then(|report| limiting_setting(report, pace.bytes_per_second)),
            rollback,
            report,
            verdict,
            phases,
            steps,
            pace,
            progress,
            stopping,
            flags,
            flag_changes,
        }
    }
}

/// Removes done runs without a batch, where another done run of their kind has batches.
fn leave_out_empty_runs(runs: &mut Vec<RunReport>) {
    let is_empty = |run: &RunReport| run.run.state == RunState::Done && run.run.batches_total == 0;
    let done: Vec<JobKind> = runs
        .iter()
        .filter(|run| run.run.state == RunState::Done && !is_empty(run))
        .map(|run| run.run.kind)
        .collect();
    runs.retain(|run| !is_empty(run) || !done.contains(&run.run.kind));
}
