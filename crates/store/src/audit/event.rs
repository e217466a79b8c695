//! The events of the audit, and the columns of `reelshift_audit` that hold them: both
//! directions are here and nowhere else.

use std::str::FromStr;

use reelshift_plan::{Flag, FlagAction, JobKind, Rollout, RunState};
use serde::Serialize;
use uuid::Uuid;

use super::{Subject, read_rollout, write_rollout};
use crate::ledger::RunPlan;

/// What somebody has done. Text that people read in the audit, such as `done`, is stored as it
/// is and cut to its column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "AuditColumns")]
pub enum AuditEvent {
    FlagChanged {
        flag: Flag,
        action: FlagAction,
        /// `None` where the flag had not been stored before.
        previous: Option<Rollout>,
        rollout: Rollout,
    },
    /// A setting of the fleet or its pause; `None` is the default.
    ControlChanged {
        name: String,
        previous: Option<String>,
        value: Option<String>,
    },
    /// A run was made, or, unless `created`, its planning was resumed by the same command.
    RunEnqueued {
        run: Uuid,
        kind: JobKind,
        filter: String,
        created: bool,
    },
    RunStateChanged {
        run: Uuid,
        previous: RunState,
        state: RunState,
    },
    /// Failed work of a run, which was in `state`, was enqueued again.
    RunRerun {
        run: Uuid,
        state: RunState,
        batches: u64,
    },
    /// Items in quarantine were accepted as they are.
    QuarantineAccepted {
        items: u64,
    },
    /// A worker was told to end its work and leave.
    WorkerDrained {
        worker: Uuid,
    },
    /// Steps of a phase were applied.
    PhaseApplied {
        phase: String,
        done: String,
    },
    /// Steps beyond the phase `to` were undone.
    RolledBack {
        to: String,
        done: String,
    },
    /// The archive in a directory was brought back.
    Restored {
        directory: String,
        done: String,
    },
    /// Runs and notifications that ended long ago were removed.
    Pruned {
        done: String,
    },
    NotificationQueued {
        event_type: String,
        id: String,
    },
    LoggedIn {
        session: String,
    },
    LoggedOut {
        session: String,
    },
    /// A token with a role was made.
    TokenMade {
        name: String,
        role: String,
    },
    /// What another version of reelshift has recorded.
    Unknown(AuditColumns),
}

/// An event as the table, the API and exports have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditColumns {
    pub subject: Subject,
    /// Of the flag, the control, the phase or the token; else the subject once more.
    pub name: String,
    /// What was done: `set`, `reset`, `state`, `rerun`, `enqueue`, `apply`, …
    pub action: String,
    pub run: Option<Uuid>,
    /// `None` where there was nothing, or the default.
    pub previous: Option<String>,
    pub value: Option<String>,
}

const SET: &str = "set";
const RESET: &str = "reset";
const ENQUEUE: &str = "enqueue";
const PLAN: &str = "plan";
const STATE: &str = "state";
const RERUN: &str = "rerun";
const ACCEPT: &str = "accept";
const DRAIN: &str = "drain";
const APPLY: &str = "apply";
const ROLLBACK: &str = "rollback";
const RESTORE: &str = "restore";
const PRUNE: &str = "prune";
const QUEUE: &str = "queue";
const LOGIN: &str = "login";
const LOGOUT: &str = "logout";
const MAKE: &str = "make";

/// What workers go by.
pub(super) const COMMANDS: [&str; 5] = [SET, RESET, STATE, RERUN, DRAIN];

/// Between the kind of a run and its conditions.
const WHERE: &str = " where ";
/// After the number of items that were accepted.
const ITEMS: &str = " items";
/// After the number of batches of a rerun.
const AGAIN: &str = " batches enqueued again";

impl AuditEvent {
    /// A run of `plan` was made, or its planning was resumed.
    #[must_use]
    pub fn enqueued(run: Uuid, kind: JobKind, plan: &RunPlan, created: bool) -> Self {
        Self::RunEnqueued { run, kind, filter: plan.filter.to_string(), created }
    }

    /// As the table has it.
    #[must_use]
    pub fn columns(&self) -> AuditColumns {
        self.clone().into()
    }

    /// The run that it is about.
    #[must_use]
    pub const fn run(&self) -> Option<Uuid> {
        match self {
            Self::RunEnqueued { run, .. }
            | Self::RunStateChanged { run, .. }
            | Self::RunRerun { run, .. } => Some(*run),
            Self::Unknown(columns) => columns.run,
            _ => None,
        }
    }
}

impl From<AuditEvent> for AuditColumns {
    fn from(event: AuditEvent) -> Self {
        use AuditEvent as Event;
        let columns = |subject, name: &str, action: &str, value| Self {
            subject,
            name: name.to_owned(),
            action: action.to_owned(),
            run: None,
            previous: None,
            value,
        };
        let of_run = |run, action, previous, value| Self {
            run: Some(run),
            previous,
            ..columns(Subject::Run, "run", action, Some(value))
        };
        match event {
            Event::FlagChanged { flag, action, previous, rollout } => Self {
                previous: previous.map(write_rollout),
                ..columns(
                    Subject::Flag,
                    flag.into_str(),
                    action.into_str(),
                    Some(write_rollout(rollout)),
                )
            },
            Event::ControlChanged { name, previous, value } => {
                let action = if value.is_some() { SET } else { RESET };
                Self { previous, ..columns(Subject::Control, &name, action, value) }
            }
            Event::RunEnqueued { run, kind, filter, created } => {
                let filter = if filter.is_empty() { filter } else { format!("{WHERE}{filter}") };
                let action = if created { ENQUEUE } else { PLAN };
                of_run(run, action, None, format!("{kind}{filter}"))
            }
            Event::RunStateChanged { run, previous, state } => {
                of_run(run, STATE, Some(previous.to_string()), state.to_string())
            }
            Event::RunRerun { run, state, batches } => {
                of_run(run, RERUN, Some(state.to_string()), format!("{batches}{AGAIN}"))
            }
            Event::QuarantineAccepted { items } => {
                columns(Subject::Quarantine, "quarantine", ACCEPT, Some(format!("{items}{ITEMS}")))
            }
            Event::WorkerDrained { worker } => {
                columns(Subject::Worker, "worker", DRAIN, Some(worker.to_string()))
            }
            Event::PhaseApplied { phase, done } => {
                columns(Subject::Schema, &phase, APPLY, Some(done))
            }
            Event::RolledBack { to, done } => columns(Subject::Schema, &to, ROLLBACK, Some(done)),
            Event::Restored { directory, done } => Self {
                previous: Some(directory),
                ..columns(Subject::Schema, "archive", RESTORE, Some(done))
            },
            Event::Pruned { done } => columns(Subject::History, "history", PRUNE, Some(done)),
            Event::NotificationQueued { event_type, id } => {
                columns(Subject::Notification, &event_type, QUEUE, Some(id))
            }
            Event::LoggedIn { session } => columns(Subject::Session, LOGIN, LOGIN, Some(session)),
            Event::LoggedOut { session } => {
                columns(Subject::Session, LOGOUT, LOGOUT, Some(session))
            }
            Event::TokenMade { name, role } => columns(Subject::Token, &name, MAKE, Some(role)),
            Event::Unknown(columns) => columns,
        }
    }
}

impl From<AuditColumns> for AuditEvent {
    fn from(columns: AuditColumns) -> Self {
        columns.known().unwrap_or(Self::Unknown(columns))
    }
}

impl AuditColumns {
    fn known(&self) -> Option<AuditEvent> {
        use AuditEvent as Event;
        let Self { name, run, previous, value, .. } = self;
        let (name, value) = (name.clone(), value.clone());
        Some(match (self.subject, self.action.as_str()) {
            (Subject::Flag, action) => Event::FlagChanged {
                flag: name.parse().ok()?,
                action: action.parse().ok()?,
                previous: previous.as_deref().and_then(read_rollout),
                rollout: read_rollout(&value?)?,
            },
            (Subject::Control, SET | RESET) => {
                Event::ControlChanged { name, previous: previous.clone(), value }
            }
            (Subject::Run, action @ (ENQUEUE | PLAN)) => {
                let value = value?;
                let (kind, filter) = value.split_once(WHERE).unwrap_or((&value, ""));
                let (kind, filter) = (kind.parse().ok()?, filter.to_owned());
                Event::RunEnqueued { run: (*run)?, kind, filter, created: action == ENQUEUE }
            }
            (Subject::Run, STATE) => Event::RunStateChanged {
                run: (*run)?,
                previous: parsed(previous.as_deref())?,
                state: parsed(value.as_deref())?,
            },
            (Subject::Run, RERUN) => Event::RunRerun {
                run: (*run)?,
                state: parsed(previous.as_deref())?,
                batches: parsed(value.as_deref()?.strip_suffix(AGAIN))?,
            },
            (Subject::Quarantine, ACCEPT) => {
                Event::QuarantineAccepted { items: parsed(value.as_deref()?.strip_suffix(ITEMS))? }
            }
            (Subject::Worker, DRAIN) => Event::WorkerDrained { worker: parsed(value.as_deref())? },
            (Subject::Schema, APPLY) => Event::PhaseApplied { phase: name, done: value? },
            (Subject::Schema, ROLLBACK) => Event::RolledBack { to: name, done: value? },
            (Subject::Schema, RESTORE) => {
                Event::Restored { directory: previous.clone()?, done: value? }
            }
            (Subject::History, PRUNE) => Event::Pruned { done: value? },
            (Subject::Notification, QUEUE) => {
                Event::NotificationQueued { event_type: name, id: value? }
            }
            (Subject::Session, LOGIN) => Event::LoggedIn { session: value? },
            (Subject::Session, LOGOUT) => Event::LoggedOut { session: value? },
            (Subject::Token, MAKE) => Event::TokenMade { name, role: value? },
            _ => return None,
        })
    }
}

fn parsed<T: FromStr>(text: Option<&str>) -> Option<T> {
    text?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind.
    fn events() -> Vec<AuditEvent> {
        use AuditEvent as Event;
        let run = Uuid::from_u128(7);
        let text = |text: &str| text.to_owned();
        let (kind, state) = (JobKind::Hash, RunState::Running);
        vec![
            Event::FlagChanged {
                flag: Flag::EnhancedVideoProcessing,
                action: FlagAction::Rollout,
                previous: None,
                rollout: Rollout { enabled: true, percent: 7 },
            },
            Event::ControlChanged { name: text("pause"), previous: None, value: Some(text("on")) },
            Event::ControlChanged { name: text("pause"), previous: Some(text("on")), value: None },
            Event::RunEnqueued { run, kind, filter: String::new(), created: true },
            Event::RunEnqueued { run, kind, filter: text("project= where "), created: false },
            Event::RunStateChanged { run, previous: RunState::Paused, state },
            Event::RunRerun { run, state, batches: 3 },
            Event::QuarantineAccepted { items: 40 },
            Event::WorkerDrained { worker: run },
            Event::PhaseApplied { phase: text("expand"), done: text("25 steps") },
            Event::RolledBack { to: text("legacy"), done: text("25 steps, discarded") },
            Event::Restored { directory: text("/archive"), done: text("3 rows") },
            Event::Pruned { done: text("3 runs") },
            Event::NotificationQueued { event_type: text("hello"), id: text("n1") },
            Event::LoggedIn { session: text("s") },
            Event::LoggedOut { session: text("s") },
            Event::TokenMade { name: text("ann"), role: text("operator") },
        ]
    }

    #[test]
    fn every_event_is_read_as_it_was_written() {
        for event in events() {
            assert_eq!(AuditEvent::from(event.columns()), event);
        }
    }

    #[test]
    fn what_another_version_wrote_is_kept_as_it_is() {
        let columns = AuditColumns {
            subject: Subject::Flag,
            name: "turbo".to_owned(),
            action: "enable".to_owned(),
            run: None,
            previous: None,
            value: Some("on at 25 %".to_owned()),
        };
        assert_eq!(AuditEvent::from(columns.clone()), AuditEvent::Unknown(columns.clone()));
        let later = AuditColumns { subject: Subject::Run, action: "fork".to_owned(), ..columns };
        assert_eq!(AuditEvent::from(later.clone()).columns(), later);
    }
}
