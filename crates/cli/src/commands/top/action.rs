//! The actions that keys start. Each also has a command, which is shown before it is confirmed.

use anyhow::Result;
use reelshift_operate::By;
use reelshift_plan::JobKind;
use reelshift_store::ledger::RerunSelection;
use reelshift_store::{SharedStore, Store};
use uuid::Uuid;

use crate::commands::rerun;
use crate::style;

/// Something that is done to the fleet, a run, a worker or what failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    PauseFleet,
    ResumeFleet,
    PauseRun(Uuid),
    ResumeRun(Uuid),
    CancelRun(Uuid),
    RerunRun(Uuid),
    /// What failed with this error type, in this stage where it is one of the fleet's.
    RerunFailure {
        error_type: String,
        stage: Option<JobKind>,
    },
    Drain(Uuid),
}

impl Action {
    /// The question that confirms it.
    pub(super) fn question(&self) -> String {
        match self {
            Self::PauseFleet => "Pause the whole fleet?".to_owned(),
            Self::ResumeFleet => "Let the fleet go on?".to_owned(),
            Self::PauseRun(run) => format!("Pause run {}?", style::tail(*run)),
            Self::ResumeRun(run) => format!("Let run {} go on?", style::tail(*run)),
            Self::CancelRun(run) => format!(
                "End run {} for good? What is done stays, nothing more is done",
                style::tail(*run)
            ),
            Self::RerunRun(run) => {
                format!("Enqueue what failed of run {} again?", style::tail(*run))
            }
            Self::RerunFailure { error_type, stage } => {
                let stage = stage.map_or_else(String::new, |stage| format!(" in {stage}"));
                format!("Enqueue what failed with {error_type}{stage} again?")
            }
            Self::Drain(worker) => format!(
                "Drain worker {}? It gives back what it has, and leaves",
                style::tail(*worker)
            ),
        }
    }

    /// The command line that does the same.
    pub(super) fn command(&self, reason: Option<&str>) -> String {
        let command = match self {
            Self::PauseFleet => "pause".to_owned(),
            Self::ResumeFleet => "resume".to_owned(),
            Self::PauseRun(run) => format!("pause --run {run}"),
            Self::ResumeRun(run) => format!("resume --run {run}"),
            Self::CancelRun(run) => format!("cancel {run}"),
            Self::RerunRun(run) => format!("rerun --run {run}"),
            Self::RerunFailure { error_type, stage } => {
                let stage = stage.map_or_else(String::new, |stage| format!(" --stage {stage}"));
                format!("rerun --type {}{stage}", shell_words::quote(error_type))
            }
            Self::Drain(worker) => format!("drain {worker}"),
        };
        let reason = reason.map(|why| format!(" --reason {}", shell_words::quote(why)));
        format!("reelshift {command}{}", reason.unwrap_or_default())
    }

    /// Performs it, and returns its result as a sentence.
    pub(super) async fn perform(self, store: &SharedStore, by: &By) -> Result<String> {
        let store: &dyn Store = &**store;
        store.check_writable().await?;
        let done = match self {
            Self::PauseFleet => {
                reelshift_operate::pause_fleet(store, by, None).await?;
                "paused: the fleet. Every worker gives its batches back within 2 seconds".to_owned()
            }
            Self::ResumeFleet => {
                reelshift_operate::resume_fleet(store, by).await?;
                "resumed: the fleet. Every worker goes on within 2 seconds".to_owned()
            }
            Self::PauseRun(run) => {
                reelshift_operate::pause_run(store, by, run).await?;
                format!("paused: run {}", style::tail(run))
            }
            Self::ResumeRun(run) => {
                let run = reelshift_operate::resume_run(store, by, run).await?;
                format!("resumed: run {} is {} again", style::tail(run.id), run.state)
            }
            Self::CancelRun(run) => {
                let cancelled = reelshift_operate::cancel(store, by, run).await?;
                let rest = reelshift_operate::cancel_rest(store, run).await?;
                let batches = cancelled.leased + rest.batches;
                let batches = style::plural(batches, "batch", "batches");
                format!("cancelled: run {}, {batches} will not be done", style::tail(run))
            }
            Self::RerunRun(run) => {
                let selection = RerunSelection { run: Some(run), ..RerunSelection::default() };
                again(store, by, &selection).await?
            }
            Self::RerunFailure { error_type, stage } => {
                let error_type = Some(error_type);
                let selection = RerunSelection { error_type, stage, ..RerunSelection::default() };
                again(store, by, &selection).await?
            }
            Self::Drain(worker) => {
                reelshift_operate::drain(store, by, worker).await?;
                format!("drained: worker {} leaves", style::tail(worker))
            }
        };
        Ok(done)
    }
}

async fn again(store: &dyn Store, by: &By, selection: &RerunSelection) -> Result<String> {
    let rerun = reelshift_operate::rerun(store, by, selection).await?;
    Ok(rerun::amount(&rerun)
        .map_or_else(|| rerun::NOTHING.to_owned(), |what| format!("enqueued again: {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_can_be_typed_as_it_is_shown() {
        let run = Uuid::from_u128(7);
        assert_eq!(
            Action::PauseRun(run).command(Some("it's late")),
            format!("reelshift pause --run {run} --reason 'it'\\''s late'")
        );
        assert_eq!(Action::PauseFleet.command(None), "reelshift pause");
        let failure = Action::RerunFailure {
            error_type: "file_missing".to_owned(),
            stage: Some(JobKind::Hash),
        };
        assert_eq!(failure.command(None), "reelshift rerun --type file_missing --stage hash");
    }
}
