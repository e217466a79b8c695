//! What stopping now would mean: what has to end first, how long that takes at the longest,
//! and what can still be taken back.

use reelshift_plan::{JobKind, Phase, WorkerState};
use reelshift_store::report::Snapshot as Report;
use serde::Serialize;

use super::phases::{PhaseReport, Progress};

/// Every worker goes by a command within this: it reads the controls about once a second.
const HEARD_SECONDS: f64 = 2.0;

/// A file that is being hashed may be read to its end for this long; then it is given back
/// with a checkpoint.
const FILES_SECONDS: f64 = 0.5;

/// A chunk, where nobody has said yet how long theirs take: the longest that is aimed at.
const CHUNK_SECONDS: f64 = 1.0;

/// What stopping now would mean.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stopping {
    /// Batches that end their chunk or file and go back.
    pub draining: u64,
    /// Until the last of them has, at the longest.
    pub longest_seconds: f64,
    /// The last phase that left something behind; it is what is taken back first.
    pub last_phase: Option<Phase>,
    /// How far back the migration can be taken: every phase keeps what was there before.
    pub back_to: &'static str,
}

impl Stopping {
    pub(crate) fn of(report: Option<&Report>, phases: &[PhaseReport]) -> Self {
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
            (_, 0) => HEARD_SECONDS + chunk,
            _ => HEARD_SECONDS + FILES_SECONDS.max(chunk),
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
            .into_iter()
            .map(|phase| PhaseReport { phase, progress: Progress::NotStarted, note: None })
            .collect();
        let stopping = Stopping::of(None, &phases);
        assert_eq!((stopping.draining, stopping.last_phase), (0, None));
        assert!(stopping.longest_seconds.abs() < f64::EPSILON);
    }
}
