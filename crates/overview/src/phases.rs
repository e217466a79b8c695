//! The specification's five phases, and how far each is.

use reelshift_plan::{Flag, JobKind, Phase, RunState};
use reelshift_store::flags::StoredFlag;
use reelshift_store::report::RunReport;
use reelshift_store::schema::{JournalEntry, Step, StepGroup};
use serde::Serialize;

use crate::figures::percent;

/// How far a phase is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = PhaseProgress))]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    NotStarted,
    Underway,
    Done,
}

impl Progress {
    /// For people, and as the pages' class.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotStarted => "not started",
            Self::Underway => "under way",
            Self::Done => "done",
        }
    }

    #[must_use]
    pub const fn class(self) -> &'static str {
        match self {
            Self::NotStarted => "todo",
            Self::Underway => "now",
            Self::Done => "done",
        }
    }
}

/// One phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PhaseReport {
    pub phase: Phase,
    pub progress: Progress,
    /// `58.1 %`, `3 of 16 steps`.
    pub note: Option<String>,
}

/// A schema step with what the journal says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StepReport {
    pub number: u32,
    pub name: String,
    pub group: StepGroup,
    pub progress: Progress,
    pub started_at: Option<chrono::DateTime<chrono::Utc>>,
    pub finished_at: Option<chrono::DateTime<chrono::Utc>>,
}

/// The shipped steps as the journal has them.
pub(crate) fn steps(shipped: &[Step], journal: &[JournalEntry]) -> Vec<StepReport> {
    shipped
        .iter()
        .map(|step| {
            let entry = journal.iter().find(|entry| entry.number == step.number);
            StepReport {
                number: step.number,
                name: step.name.clone(),
                group: step.group,
                progress: match entry {
                    None => Progress::NotStarted,
                    Some(entry) if entry.done => Progress::Done,
                    Some(_) => Progress::Underway,
                },
                started_at: entry.map(|entry| entry.started_at),
                finished_at: entry.and_then(|entry| entry.finished_at),
            }
        })
        .collect()
}

/// Whether the ledger's tables and the first phase are there.
pub(crate) fn expanded(steps: &[StepReport]) -> bool {
    steps
        .iter()
        .filter(|step| matches!(step.group, StepGroup::Ledger | StepGroup::Expand))
        .all(|step| step.progress == Progress::Done)
}

/// The phases in order.
pub(crate) fn phases(
    steps: &[StepReport],
    runs: &[RunReport],
    flags: &[StoredFlag],
) -> Vec<PhaseReport> {
    Phase::ALL
        .iter()
        .copied()
        .map(|phase| {
            let (progress, note) = match phase {
                // Reelshift's own tables stay when a rollback is through.
                Phase::Expand => progress_of_steps(steps, StepGroup::Expand),
                Phase::Backfill => progress_of_runs(runs),
                Phase::Rollout => progress_of_flag(flags),
                Phase::Index => progress_of_steps(steps, StepGroup::Index),
                Phase::Automate => progress_of_steps(steps, StepGroup::Automate),
            };
            PhaseReport { phase, progress, note }
        })
        .collect()
}

fn progress_of_steps(steps: &[StepReport], group: StepGroup) -> (Progress, Option<String>) {
    let of_phase = || steps.iter().filter(|step| step.group == group);
    let begun = of_phase().filter(|step| step.progress != Progress::NotStarted).count();
    let done = of_phase().filter(|step| step.progress == Progress::Done).count();
    let all = of_phase().count();
    match (begun, done) {
        (0, _) => (Progress::NotStarted, None),
        (_, done) if done == all => (Progress::Done, None),
        (_, done) => (Progress::Underway, Some(format!("{done} of {all} steps"))),
    }
}

/// The newest backfill decides: its last sweep proved that every row agrees. One that was
/// cancelled says nothing of what was done before it.
fn progress_of_runs(runs: &[RunReport]) -> (Progress, Option<String>) {
    let backfills = || runs.iter().filter(|run| run.run.kind == JobKind::Backfill);
    let newest = backfills().find(|run| run.run.state != RunState::Cancelled);
    let Some(run) = newest.or_else(|| backfills().next()) else {
        return (Progress::NotStarted, None);
    };
    if run.run.state == RunState::Done {
        let counts = [(run.quarantined, "set aside"), (run.accepted, "accepted")];
        let counts: Vec<_> = counts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        return (Progress::Done, (!counts.is_empty()).then(|| counts.join(", ")));
    }
    let (done, total) = run.progress();
    let note = match run.run.state {
        RunState::Running | RunState::Planning => percent(done, total),
        state => state.to_string(),
    };
    (Progress::Underway, Some(note))
}

fn progress_of_flag(flags: &[StoredFlag]) -> (Progress, Option<String>) {
    let flag = flags.iter().find(|stored| stored.flag == Flag::EnhancedVideoProcessing);
    match flag.map(|stored| stored.rollout) {
        Some(rollout) if rollout.is_on() && rollout.percent == 100 => (Progress::Done, None),
        Some(rollout) if rollout.is_on() => {
            (Progress::Underway, Some(format!("{} % of videos", rollout.percent)))
        }
        _ => (Progress::NotStarted, None),
    }
}

#[cfg(test)]
mod tests {
    use reelshift_plan::Rollout;

    use super::*;

    fn step(number: u32, group: StepGroup, progress: Progress) -> StepReport {
        let name = format!("step_{number}");
        StepReport { number, name, group, progress, started_at: None, finished_at: None }
    }

    fn flag(enabled: bool, percent: u8) -> StoredFlag {
        StoredFlag {
            flag: Flag::EnhancedVideoProcessing,
            rollout: Rollout { enabled, percent },
            updated_by: "ops".to_owned(),
            updated_at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_phase_is_done_with_its_last_step() {
        let mut steps = vec![
            step(1, StepGroup::Ledger, Progress::Done),
            step(101, StepGroup::Expand, Progress::Done),
            step(102, StepGroup::Expand, Progress::Underway),
            step(201, StepGroup::Index, Progress::NotStarted),
        ];
        let expand = |steps: &[StepReport]| phases(steps, &[], &[])[0].clone();
        let own = phases(&steps[..1], &[], &[])[0].progress;
        assert_eq!(own, Progress::NotStarted, "its own tables are none of the phase");
        assert_eq!(expand(&steps).note.as_deref(), Some("1 of 2 steps"));
        assert!(!expanded(&steps));
        steps[2].progress = Progress::Done;
        assert_eq!(expand(&steps).progress, Progress::Done);
        assert!(expanded(&steps), "indexes are another phase");
        assert_eq!(phases(&steps, &[], &[])[3].progress, Progress::NotStarted);
    }

    #[test]
    fn the_rollout_is_as_far_as_its_flag() {
        let rollout = |flags: &[StoredFlag]| phases(&[], &[], flags)[2].clone();
        assert_eq!(rollout(&[]).progress, Progress::NotStarted);
        assert_eq!(rollout(&[flag(false, 50)]).progress, Progress::NotStarted);
        assert_eq!(rollout(&[flag(true, 0)]).progress, Progress::NotStarted);
        assert_eq!(rollout(&[flag(true, 50)]).note.as_deref(), Some("50 % of videos"));
        assert_eq!(rollout(&[flag(true, 100)]).progress, Progress::Done);
    }
}
