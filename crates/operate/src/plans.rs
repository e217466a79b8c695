//! What a run would be made of, and what a phase would execute.

use std::ops::RangeInclusive;

use reelshift_plan::{Flag, JobKind, Phase, RunState};
use reelshift_store::ledger::{RunPlan, VideoFilter};
use reelshift_store::listings::RunSelection;
use reelshift_store::preflight::Statement;
use reelshift_store::schema::{Step, StepGroup};
use reelshift_store::{Result, Store, StoreError};
use serde::Serialize;

/// Videos in a batch of a backfill or a validation.
pub const BATCH_ROWS: RangeInclusive<i64> = 1..=1_000_000;
pub const DEFAULT_BACKFILL_ROWS: u32 = 2_000;
pub const DEFAULT_VALIDATION_ROWS: u32 = 10_000;
/// Bytes in a batch of a hash.
pub const DEFAULT_BATCH_BYTES: u64 = 1 << 30;
/// Files in a batch of a hash, at most.
pub const BATCH_FILES: RangeInclusive<i64> = 1..=10_000;
pub const DEFAULT_BATCH_FILES: u32 = 64;
/// Attempts that a batch gets before it is failed.
pub const MAX_ATTEMPTS: RangeInclusive<i64> = 1..=100;
pub const DEFAULT_MAX_ATTEMPTS: u32 = 5;

/// A run of `kind` over all videos, with batches of the usual size.
#[must_use]
pub fn usual_plan(kind: JobKind) -> RunPlan {
    RunPlan {
        filter: VideoFilter::default(),
        batch_rows: match kind {
            JobKind::Validate => DEFAULT_VALIDATION_ROWS,
            JobKind::Backfill | JobKind::Hash => DEFAULT_BACKFILL_ROWS,
        },
        batch_bytes: DEFAULT_BATCH_BYTES,
        batch_files: DEFAULT_BATCH_FILES,
        max_attempts: DEFAULT_MAX_ATTEMPTS,
        repair: false,
    }
}

/// Refuses sizes that no run can have.
///
/// # Errors
/// `Invalid`, with the value and what is possible.
pub fn check_plan(plan: &RunPlan) -> Result<()> {
    for (name, value, possible) in [
        ("batch_rows", plan.batch_rows, BATCH_ROWS),
        ("batch_files", plan.batch_files, BATCH_FILES),
        ("max_attempts", plan.max_attempts, MAX_ATTEMPTS),
    ] {
        if !possible.contains(&value.into()) {
            let (from, to) = possible.into_inner();
            return Err(StoreError::Invalid(format!("{name}={value}: give {from} to {to}")));
        }
    }
    if plan.batch_bytes == 0 || i64::try_from(plan.batch_bytes).is_err() {
        let value = plan.batch_bytes;
        let message = format!("batch_bytes={value}: give 1 to {}", i64::MAX);
        return Err(StoreError::Invalid(message));
    }
    Ok(())
}

/// The steps of a phase that are left.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PhaseSteps {
    pub phase: Phase,
    /// Whether it has steps, and all of them are done.
    pub done: bool,
    /// In the order in which they are executed.
    pub statements: Vec<PlannedStatement>,
}

/// A statement of a step.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlannedStatement {
    /// Of the step.
    pub number: u32,
    pub name: String,
    #[serde(flatten)]
    pub statement: Statement,
}

/// The schema steps of a phase; backfill and rollout have none.
const fn groups(phase: Phase) -> &'static [StepGroup] {
    match phase {
        Phase::Expand => &[StepGroup::Ledger, StepGroup::Expand],
        Phase::Backfill | Phase::Rollout => &[],
        Phase::Index => &[StepGroup::Index],
        Phase::Automate => &[StepGroup::Automate],
    }
}

/// The steps of a phase that are not done yet.
///
/// # Errors
/// As the store.
pub async fn steps_left(store: &dyn Store, phase: Phase) -> Result<Vec<&Step>> {
    let journal = store.journal().await?;
    let of_phase = store.steps().iter().filter(|step| groups(phase).contains(&step.group));
    Ok(of_phase.filter(|step| !step.is_done(&journal)).collect())
}

/// Whether nothing of a phase is left: its steps; a backfill and a run of hashes; or the flag that
/// shows the new columns.
async fn is_done(store: &dyn Store, phase: Phase, steps_left_of_it: usize) -> Result<bool> {
    let has_done = async |kind| {
        let done = RunSelection { kind: Some(kind), state: Some(RunState::Done) };
        Ok::<_, StoreError>(!store.runs(&done, None, 1).await?.is_empty())
    };
    match phase {
        Phase::Backfill if !steps_left(store, Phase::Expand).await?.is_empty() => Ok(false),
        Phase::Backfill => Ok(has_done(JobKind::Backfill).await? && has_done(JobKind::Hash).await?),
        Phase::Rollout => {
            let flags = store.flags().await?.unwrap_or_default();
            let shown = flags.iter().find(|stored| stored.flag == Flag::EnhancedVideoProcessing);
            Ok(shown.is_some_and(|flag| flag.rollout.is_on() && flag.rollout.percent == 100))
        }
        Phase::Expand | Phase::Index | Phase::Automate => Ok(steps_left_of_it == 0),
    }
}

/// What applying a phase would execute, with the algorithm and the lock of each statement.
///
/// # Errors
/// As the store.
pub async fn plan_phase(store: &dyn Store, phase: Phase) -> Result<PhaseSteps> {
    let steps = steps_left(store, phase).await?;
    let done = is_done(store, phase, steps.len()).await?;
    let mut statements = Vec::new();
    for step in steps {
        for statement in store.statements(step).await? {
            let (number, name) = (step.number, step.name.clone());
            statements.push(PlannedStatement { number, name, statement });
        }
    }
    Ok(PhaseSteps { phase, done, statements })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_no_run_can_have_are_refused() {
        let usual = usual_plan(JobKind::Backfill);
        assert!(check_plan(&usual).is_ok());
        let wrong = [
            RunPlan { batch_rows: 0, ..usual.clone() },
            RunPlan { batch_files: 10_001, ..usual.clone() },
            RunPlan { max_attempts: 101, ..usual.clone() },
            RunPlan { batch_bytes: 0, ..usual.clone() },
            RunPlan { batch_bytes: u64::MAX, ..usual },
        ];
        for plan in wrong {
            assert!(check_plan(&plan).is_err(), "{plan:?}");
        }
    }
}
