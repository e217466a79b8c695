//! What of an overview is compared, and what a difference means.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use reelshift_overview::{Overview, Progress, amount};
use reelshift_plan::{RunState, WorkerState};
use reelshift_store::controls::BREAKER;
use reelshift_store::report::{RunReport, WorkerReport};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The events that there are.
pub const EVENTS: [&str; 7] = [
    "run_done",
    "run_failed",
    "run_paused_by_breaker",
    "worker_lost",
    "phase_applied",
    "rollback_started",
    "rolled_back",
];

/// How urgent an event is, in the words of PagerDuty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, strum::IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(const_into_str, serialize_all = "snake_case")]
pub(super) enum Severity {
    Info,
    Warning,
    Critical,
}

/// Something that happened to the fleet, as hooks get it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Event {
    /// The same for whoever tells it, however often.
    pub(super) id: Uuid,
    pub(super) event: &'static str,
    pub(super) severity: Severity,
    pub(super) summary: String,
    /// The run, the worker or the phase.
    pub(super) subject: String,
    pub(super) environment: Option<String>,
    /// When it was noticed, by the database's clock.
    pub(super) at: Option<DateTime<Utc>>,
}

/// What is known of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct RunSeen {
    state: RunState,
    /// When it ended or when somebody decided on it.
    at: Option<DateTime<Utc>>,
}

/// What was told last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Snapshot {
    at: Option<DateTime<Utc>>,
    runs: BTreeMap<Uuid, RunSeen>,
    /// Workers that fell silent in the last ten minutes.
    lost: BTreeSet<Uuid>,
    /// Phases whose steps are all there.
    applied: BTreeSet<String>,
    /// When the rollback that is not at its end began.
    rollback: Option<DateTime<Utc>>,
}

impl Snapshot {
    pub(super) fn new(overview: &Overview) -> Self {
        Self {
            at: overview.at(),
            runs: runs(overview).iter().map(|run| (run.run.id, seen(run))).collect(),
            lost: lost(overview).map(|worker| worker.id).collect(),
            applied: applied(overview).collect(),
            rollback: overview.rollback.as_ref().map(|open| open.started_at),
        }
    }

    /// Whether nothing but time has passed.
    pub(super) fn is_same(&self, now: &Self) -> bool {
        Self { at: now.at, ..self.clone() } == *now
    }

    /// What happened until `now`, which is that of `overview`.
    pub(super) fn changes(
        &self,
        now: &Self,
        overview: &Overview,
        environment: Option<&str>,
    ) -> Vec<Event> {
        let event = |event: &'static str, severity, subject: String, when: String, summary| Event {
            id: Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{event}:{subject}:{when}").as_bytes()),
            event,
            severity,
            summary,
            subject,
            environment: environment.map(str::to_owned),
            at: overview.at(),
        };
        let mut events = Vec::new();
        for run in runs(overview).iter().filter(|run| self.is_news(run)) {
            let (kind, id) = (run.run.kind, run.run.id);
            let why = run.run.reason.as_deref().unwrap_or("no reason was given");
            let (name, severity, summary) = match run.run.state {
                RunState::Done => {
                    let text = format!("The {kind} run {id} is done: {}.", amount(run));
                    ("run_done", Severity::Info, text)
                }
                RunState::Failed => {
                    let text = format!("The {kind} run {id} failed: {why}.");
                    ("run_failed", Severity::Critical, text)
                }
                _ => {
                    let text = format!("The {kind} run {id} paused itself: {why}.");
                    ("run_paused_by_breaker", Severity::Critical, text)
                }
            };
            let when = seen(run).at.map_or_else(String::new, |at| at.to_rfc3339());
            events.push(event(name, severity, id.to_string(), when, summary));
        }
        for worker in lost(overview).filter(|worker| !self.lost.contains(&worker.id)) {
            let summary = format!(
                "Worker {} on {} fell silent; its batches go on elsewhere.",
                worker.id, worker.host
            );
            let subject = worker.id.to_string();
            events.push(event("worker_lost", Severity::Warning, subject, String::new(), summary));
        }
        for phase in now.applied.difference(&self.applied) {
            let summary = format!("The phase {phase} is applied.");
            let when = last_step(overview).map_or_else(String::new, |at| at.to_rfc3339());
            events.push(event("phase_applied", Severity::Info, phase.clone(), when, summary));
        }
        let rollback = |name, severity, summary: &str| {
            let began = now.rollback.or(self.rollback).or(now.at);
            let when = began.map_or_else(String::new, |at| at.to_rfc3339());
            event(name, severity, "rollback".to_owned(), when, summary.to_owned())
        };
        let undone = !self.applied.is_subset(&now.applied);
        match (self.rollback, now.rollback) {
            (None, Some(_)) => {
                let summary = "A rollback has begun.";
                events.push(rollback("rollback_started", Severity::Warning, summary));
            }
            (Some(_), None) => {
                events.push(rollback("rolled_back", Severity::Info, "The rollback is at its end."));
            }
            // One that was over between two looks.
            (None, None) if undone => {
                let summary = "Phases were rolled back.";
                events.push(rollback("rolled_back", Severity::Info, summary));
            }
            _ => {}
        }
        events
    }

    /// Whether the state of a run is worth telling and was not told. A run that was not there
    /// is old, unless it came to this state since.
    fn is_news(&self, run: &RunReport) -> bool {
        let by_breaker = run.run.decided_by.as_deref() == Some(BREAKER);
        let told_of = match run.run.state {
            RunState::Done | RunState::Failed => true,
            RunState::Paused => by_breaker,
            _ => false,
        };
        told_of
            && match self.runs.get(&run.run.id) {
                Some(before) => *before != seen(run),
                None => seen(run).at >= self.at,
            }
    }
}

fn runs(overview: &Overview) -> &[RunReport] {
    overview.report.as_ref().map(|report| &report.runs[..]).unwrap_or_default()
}

const fn seen(run: &RunReport) -> RunSeen {
    let at = match run.run.state {
        RunState::Done | RunState::Failed => run.run.finished_at,
        _ => run.run.decided_at,
    };
    RunSeen { state: run.run.state, at }
}

fn lost(overview: &Overview) -> impl Iterator<Item = &WorkerReport> {
    let workers = overview.report.iter().flat_map(|report| &report.workers);
    workers.filter(|worker| worker.state == WorkerState::Lost)
}

/// Phases of schema steps; the others end with their runs, or with a flag.
fn applied(overview: &Overview) -> impl Iterator<Item = String> {
    use reelshift_plan::Phase;
    let done = overview.phases.iter().filter(|phase| {
        phase.progress == Progress::Done
            && matches!(phase.phase, Phase::Expand | Phase::Index | Phase::Automate)
    });
    done.map(|phase| phase.phase.into_str().to_owned())
}

fn last_step(overview: &Overview) -> Option<DateTime<Utc>> {
    overview.steps.iter().filter_map(|step| step.finished_at).max()
}

#[cfg(test)]
mod tests {
    use reelshift_overview::sample::{at, overview, report, run, worker};
    use reelshift_plan::JobKind;

    use super::*;

    fn told(before: &Overview, now: &Overview) -> Vec<(&'static str, Severity)> {
        let (before, snapshot) = (Snapshot::new(before), Snapshot::new(now));
        let events = before.changes(&snapshot, now, Some("test"));
        events.iter().map(|event| (event.event, event.severity)).collect()
    }

    #[test]
    fn nothing_new_is_no_event() {
        let now = overview(report());
        assert_eq!(told(&now, &now), []);
        assert!(Snapshot::new(&now).is_same(&Snapshot::new(&now)));
    }

    #[test]
    fn runs_that_end_or_pause_themselves_are_events() {
        let before = overview(report());
        let with = |state, by: &str| {
            let mut report = report();
            report.runs[0].run.state = state;
            report.runs[0].run.decided_by = Some(by.to_owned());
            report.runs[0].run.finished_at = Some(at("03:12:00"));
            overview(report)
        };
        for (state, by, expected) in [
            (RunState::Done, "ops", Some(("run_done", Severity::Info))),
            (RunState::Failed, "ops", Some(("run_failed", Severity::Critical))),
            (RunState::Paused, BREAKER, Some(("run_paused_by_breaker", Severity::Critical))),
            (RunState::Paused, "ops", None),
            (RunState::Cancelled, "ops", None),
        ] {
            let now = with(state, by);
            assert_eq!(told(&before, &now), Vec::from_iter(expected), "{state}");
            assert_eq!(told(&now, &now), [], "{state}");
        }
    }

    #[test]
    fn a_run_that_was_made_and_ended_between_two_looks_is_told_and_an_old_one_is_not() {
        let before = overview(report());
        for (finished, expected) in [("03:12:08", 1), ("03:12:06", 0)] {
            let mut report = report();
            let mut other = run(JobKind::Hash, RunState::Done);
            other.run.id = Uuid::from_u128(7);
            other.run.finished_at = Some(at(finished));
            report.runs.push(other);
            assert_eq!(told(&before, &overview(report)).len(), expected, "{finished}");
        }
    }

    #[test]
    fn a_worker_is_lost_once() {
        let before = overview(report());
        let mut report = report();
        report.workers.push(worker(6, WorkerState::Lost, 9.0));
        let now = overview(report);
        assert_eq!(told(&before, &now), [("worker_lost", Severity::Warning)]);
        assert_eq!(told(&now, &before), []);
    }

    #[test]
    fn an_event_has_one_id_whoever_tells_it() {
        let before = Snapshot::new(&overview(report()));
        let mut report = report();
        report.workers.push(worker(6, WorkerState::Lost, 9.0));
        let now = overview(report);
        let ids = || before.changes(&Snapshot::new(&now), &now, None)[0].id;
        assert_eq!(ids(), ids());
    }
}
