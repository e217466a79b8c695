//! What stopping now would mean: what has to end first, how long that takes at most, and how
//! far the migration can be rolled back.

use reelshift_plan::{JobKind, Phase, WorkerState};
use reelshift_store::report::LedgerReport;
use serde::Serialize;

use super::phases::{PhaseReport, Progress};

/// Every worker follows a command within this: it reads the controls about once a second.
const REACTION_SECONDS: f64 = 2.0;

/// A file that is being hashed may be read to its end for this long; then it is returned
/// with a checkpoint.
const FILE_SECONDS: f64 = 0.5;

/// A chunk, where no worker has reported its chunk time yet: the longest target.
const CHUNK_SECONDS: f64 = 1.0;

/// What stopping now would mean.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Stopping {
    /// Batches that end their chunk or file and are returned to the queue.
    pub draining: u64,
    /// Until the last of them is returned, at most.
    pub longest_seconds: f64,
    /// The last phase that left something behind; a rollback undoes it first.
    pub last_phase: Option<Phase>,
    /// How far back the migration can be taken: every phase keeps what was there before.
    pub back_to: &'static str,
}

impl Stopping {
    pub(crate) fn compute(report: Option<&LedgerReport>, phases: &[PhaseReport]) -> Self {
        let leased = |kind: JobKind| {
            let runs = report.map(|report| &report.runs[..]).unwrap_or_default();
            let of_kind = runs.iter().filter(move |run| run.run.kind == kind);
            of_kind.map(|run| run.batches.leased).sum::<u64>()
        };
        let rows = leased(JobKind::Backfill) + leased(JobKind::Validate);
        let files = leased(JobKind::Hash);
        let chunk = report
            .iter()
            .flat_map(|report| &report.workers)
            .filter(|worker| worker.state == WorkerState::Live)
            .filter_map(|worker| worker.activity.chunk_seconds)
            .reduce(f64::max)
            .unwrap_or(CHUNK_SECONDS);
        let longest = match (rows, files) {
            (0, 0) => 0.0,
            (_, 0) => REACTION_SECONDS + chunk,
            _ => REACTION_SECONDS + FILE_SECONDS.max(chunk),
        };
        let begun = phases.iter().filter(|phase| phase.progress != Progress::NotStarted);
        Self {
            draining: rows + files,
            longest_seconds: longest,
            last_phase: begun.map(|phase| phase.phase).next_back(),
            back_to: "legacy",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_anything_there_is_nothing_to_take_back() {
        let phases: Vec<PhaseReport> = Phase::ALL
            .iter()
            .copied()
            .map(|phase| PhaseReport { phase, progress: Progress::NotStarted, note: None })
            .collect();
        let stopping = Stopping::compute(None, &phases);
        assert_eq!((stopping.draining, stopping.last_phase), (0, None));
        assert!(stopping.longest_seconds.abs() < f64::EPSILON);
    }
}
