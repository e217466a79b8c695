//! The lists in which something can be selected: runs, workers, failures.

use reelshift_overview::{Overview, amount};
use reelshift_plan::{RunState, WorkerState};
use reelshift_store::failures::ErrorGroup;
use reelshift_store::report::{LedgerReport, RunReport};
use strum::VariantArray;
use uuid::Uuid;

use super::action::Action;
use crate::commands::status::workers;
use crate::style;
use crate::table::{Cell, Table};

/// Characters of a run's bar, on a narrow terminal and on others.
const BAR_WIDTHS: [usize; 2] = [6, 16];

/// A terminal of fewer columns is narrow.
const NARROW: u16 = 110;

#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, strum::IntoStaticStr)]
pub(super) enum Panel {
    Runs,
    Workers,
    Failures,
}

/// What a row stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RowKey {
    Run(Uuid),
    Worker(Uuid),
    /// An error type in a stage.
    Failure {
        stage: String,
        error_type: String,
    },
}

/// A key, what it does to the row that is selected, and in one word.
pub(super) struct Key {
    pub letter: char,
    pub word: &'static str,
    pub action: Action,
}

impl Panel {
    /// The panel `steps` further, round and round.
    pub(super) fn further(self, steps: usize) -> Self {
        let place = Self::VARIANTS.iter().position(|panel| *panel == self).unwrap_or_default();
        Self::VARIANTS[(place + steps) % Self::VARIANTS.len()]
    }

    /// What its rows stand for, in their order.
    pub(super) fn keys(self, overview: &Overview) -> Vec<RowKey> {
        let Some(report) = &overview.report else { return Vec::new() };
        match self {
            Self::Runs => report.runs.iter().map(|run| RowKey::Run(run.run.id)).collect(),
            Self::Workers => {
                report.workers.iter().map(|worker| RowKey::Worker(worker.id)).collect()
            }
            Self::Failures => {
                let failure = |group: &ErrorGroup| RowKey::Failure {
                    stage: group.processing_stage.clone(),
                    error_type: group.error_type.clone(),
                };
                report.errors.iter().map(failure).collect()
            }
        }
    }

    /// Its rows, as they are shown where there are so many columns.
    pub(super) fn table(self, report: &LedgerReport, columns: u16) -> Table {
        match self {
            Self::Runs => runs(&report.runs, BAR_WIDTHS[usize::from(columns >= NARROW)]),
            Self::Workers => workers::table(report),
            Self::Failures => failures(report),
        }
    }
}

impl RowKey {
    /// What can be done to it now.
    pub(super) fn actions(&self, overview: &Overview) -> Vec<Key> {
        let key = |letter, word, action| Key { letter, word, action };
        let runs = overview.report.iter().flat_map(|report| &report.runs);
        match self {
            Self::Run(id) => {
                let mut keys = Vec::new();
                let Some(report) = runs.into_iter().find(|report| report.run.id == *id) else {
                    return keys;
                };
                let state = report.run.state;
                if state.is_active() {
                    keys.push(key('p', "pause run", Action::PauseRun(*id)));
                } else if state == RunState::Paused {
                    keys.push(key('p', "resume run", Action::ResumeRun(*id)));
                }
                if report.failed_open > 0 || report.quarantined > 0 {
                    keys.push(key('r', "rerun failed", Action::RerunRun(*id)));
                }
                if !state.has_ended() {
                    keys.push(key('c', "cancel run", Action::CancelRun(*id)));
                }
                keys
            }
            Self::Worker(id) => {
                let live = overview.report.iter().flat_map(|report| &report.workers);
                let live = live
                    .filter(|worker| worker.state == WorkerState::Live)
                    .any(|worker| worker.id == *id);
                let drain = key('d', "drain worker", Action::Drain(*id));
                live.then_some(drain).into_iter().collect()
            }
            Self::Failure { stage, error_type } => {
                let (error_type, stage) = (error_type.clone(), stage.parse().ok());
                vec![key('r', "rerun", Action::RerunFailure { error_type, stage })]
            }
        }
    }
}

fn runs(runs: &[RunReport], bar: usize) -> Table {
    let mut table =
        style::table(&["run", "kind", "state", "", "done", "batches", "failed", "aside", "amount"]);
    for report in runs {
        let run = &report.run;
        let (done, total) = report.progress();
        let batches = report.batches;
        let open = batches.pending + batches.leased;
        table.add_row([
            Cell::new(style::tail(run.id)),
            Cell::new(run.kind),
            Cell::new(style::state(run.state)),
            Cell::new(style::bar(done, total, bar)),
            Cell::figure(style::percent(done, total)),
            Cell::figure(format!(
                "{} of {}",
                style::count(batches.done),
                style::count(batches.done + open)
            )),
            style::number(report.failed_open),
            style::number(report.quarantined),
            Cell::new(amount(report)),
        ]);
    }
    table
}

fn failures(report: &LedgerReport) -> Table {
    let mut table =
        style::table(&["type", "stage", "errors", "recovered", "last (UTC)", "for example"]);
    for group in &report.errors {
        table.add_row([
            Cell::new(&group.error_type),
            Cell::new(&group.processing_stage),
            style::number(group.count),
            style::number(group.recovered),
            Cell::new(style::clock(group.last_at, report.at)),
            Cell::new(&group.sample),
        ]);
    }
    table
}
