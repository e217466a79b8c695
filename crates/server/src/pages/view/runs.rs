//! Runs as pages show them.

use reelshift_overview::figures::{count, plural, tail};
use reelshift_overview::{Progress, amount, percent_of};
use reelshift_plan::{JobKind, RunState};
use reelshift_store::report::RunReport;
use uuid::Uuid;

use super::View;
use crate::pages::chart::strip;
use crate::pages::moment::clock;

/// A run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunView<'a> {
    report: &'a RunReport,
    view: &'a View,
}

/// A condition for the next phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gate {
    /// Whether it is met.
    pub open: bool,
    pub text: String,
}

/// How urgent the state of a run is.
pub(crate) const fn tone(state: RunState) -> &'static str {
    match state {
        RunState::Planning | RunState::Running | RunState::Sweeping => "busy",
        RunState::Done => "good",
        RunState::Failed => "bad",
        RunState::Paused | RunState::Cancelled => "warn",
    }
}

impl View {
    /// The newest runs.
    pub(crate) fn runs(&self) -> Vec<RunView<'_>> {
        let reports = self.overview().report.iter().flat_map(|report| &report.runs);
        reports.map(|report| RunView { report, view: self }).collect()
    }

    /// Those that are open.
    pub(crate) fn active(&self) -> Vec<RunView<'_>> {
        let open = |run: &RunView<'_>| {
            run.report.run.state.is_active() || run.report.run.state == RunState::Paused
        };
        self.runs().into_iter().filter(open).collect()
    }

    /// The newest run with this id, if it is one of those that are counted.
    pub(crate) fn run(&self, id: Uuid) -> Option<RunView<'_>> {
        self.runs().into_iter().find(|run| run.id() == id)
    }

    /// What must be so before the next phases.
    pub(crate) fn gates(&self) -> Vec<Gate> {
        let overview = self.overview();
        let runs = overview.report.as_ref().map(|report| &report.runs[..]).unwrap_or_default();
        let done = |phase: usize| {
            overview.phases.get(phase).is_some_and(|phase| phase.progress == Progress::Done)
        };
        let gate = |open: bool, text: String| Gate { open, text };
        let failed: u64 = runs.iter().map(|run| run.failed_open).sum();
        let aside: u64 = runs.iter().map(|run| run.quarantined).sum();
        let idle = !runs.iter().any(|run| run.run.state.is_active());
        vec![
            gate(
                done(0),
                "expand is complete: columns, tables and the bridge are there".to_owned(),
            ),
            gate(
                done(1),
                "the backfill is done: a sweep over all rows found none out of agreement"
                    .to_owned(),
            ),
            gate(
                failed == 0,
                match failed {
                    0 => "no batch has failed".to_owned(),
                    _ => format!("{} failed: rerun", plural(failed, "batch has", "batches have")),
                },
            ),
            gate(
                aside == 0,
                match aside {
                    0 => "nothing is in quarantine".to_owned(),
                    _ => format!(
                        "{} in quarantine: mend the causes, then rerun",
                        plural(aside, "item is", "items are")
                    ),
                },
            ),
            gate(idle, "no run is open: an index build beside a backfill takes longer".to_owned()),
            gate(done(2), "enhanced status is rolled out to all videos".to_owned()),
            gate(done(3), "index is complete: reelshift apply index".to_owned()),
            gate(done(4), "automate is complete: reelshift apply automate".to_owned()),
        ]
    }

    /// What was verified, what differs, what is not checked.
    pub(crate) fn verified(&self) -> Vec<String> {
        let runs = self.runs();
        let Some(backfill) = runs.iter().find(|run| run.report.run.kind == JobKind::Backfill)
        else {
            let none = "No row was checked: there was no backfill.".to_owned();
            return [vec![none], self.validation.clone()].concat();
        };
        let report = backfill.report;
        let mut lines = Vec::new();
        if report.run.state == RunState::Done {
            lines.push(format!(
                "The last sweep{} read every row and found {} that do not agree.",
                report
                    .run
                    .finished_at
                    .map_or_else(String::new, |at| format!(", at {},", self.ago(at))),
                count(report.quarantined),
            ));
        } else {
            let (done, total) = report.progress();
            lines.push(format!("{} written in checked chunks.", plural(done, "row", "rows")));
            lines.push(format!(
                "About {} not checked yet: the sweep at the end reads every row.",
                count(total.saturating_sub(done))
            ));
        }
        if report.quarantined > 0 {
            lines.push(format!(
                "{} by what was set aside; the keys are under Failures.",
                plural(report.quarantined, "row differs", "rows differ")
            ));
        }
        lines.extend(self.validation.iter().cloned());
        lines
    }
}

impl RunView<'_> {
    pub(crate) const fn id(&self) -> Uuid {
        self.report.run.id
    }

    pub(crate) fn name(&self) -> String {
        tail(self.report.run.id)
    }

    pub(crate) const fn kind(&self) -> JobKind {
        self.report.run.kind
    }

    pub(crate) fn state(&self) -> String {
        match self.report.run.state {
            RunState::Sweeping => format!("sweeping, round {}", self.report.run.round),
            state => state.to_string(),
        }
    }

    pub(crate) const fn tone(&self) -> &'static str {
        tone(self.report.run.state)
    }

    pub(crate) fn reason(&self) -> Option<&str> {
        self.report.run.reason.as_deref()
    }

    pub(crate) fn amount(&self) -> String {
        amount(self.report)
    }

    pub(crate) fn percent(&self) -> String {
        format!("{:.1} %", percent_of(self.report))
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
    pub(crate) fn permille(&self) -> u32 {
        (percent_of(self.report) * 10.0) as u32
    }

    /// `12 done, 3 leased, 40 pending, 2 failed; 1 item set aside`
    pub(crate) fn batches(&self) -> String {
        let batches = self.report.batches;
        let parts = [
            (batches.done, "done"),
            (batches.leased, "leased"),
            (batches.pending, "pending"),
            (batches.failed, "failed"),
            (batches.cancelled, "cancelled"),
        ];
        let shown = parts.into_iter().filter(|(n, word)| *n > 0 || *word == "done");
        let mut text =
            shown.map(|(n, word)| format!("{} {word}", count(n))).collect::<Vec<_>>().join(", ");
        if self.report.quarantined > 0 {
            let items = plural(self.report.quarantined, "item", "items");
            text.push_str(&format!("; {items} set aside"));
        }
        text
    }

    /// The batches by state, drawn.
    pub(crate) fn strip(&self) -> String {
        let batches = self.report.batches;
        strip(
            &format!("Batches: {}", self.batches()),
            &[
                ("done", batches.done),
                ("failed", batches.failed),
                ("leased", batches.leased),
                ("cancelled", batches.cancelled),
                ("pending", batches.pending),
            ],
        )
    }

    pub(crate) fn begun(&self) -> String {
        let at = self.report.run.created_at;
        self.view.now().map_or_else(String::new, |now| clock(at, now))
    }

    pub(crate) fn by(&self) -> &str {
        &self.report.run.created_by
    }
}
