//! The audit: one row for every change that somebody made, whatever it was and whichever way
//! it came in. The row is written in the transaction of the change: what cannot be recorded
//! is not done.
//!
//! `changed_by` says who and from where, as `who@where`: `user@host` on the command line,
//! the token's name and the client's address over HTTP.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reelshift_plan::Rollout;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Result;
use crate::controls::{ControlChange, RERUN, RUN};
use crate::flags::FlagChange;

/// What was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// A feature flag.
    Flag,
    /// A setting or the pause of the whole fleet.
    Control,
    /// One run: its state, or that its failed work was enqueued again.
    Run,
    /// A notification was sent by hand.
    Notification,
    /// A browser logged out.
    Session,
}

impl Subject {
    pub const ALL: [Self; 5] =
        [Self::Flag, Self::Control, Self::Run, Self::Notification, Self::Session];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Control => "control",
            Self::Run => "run",
            Self::Notification => "notification",
            Self::Session => "session",
        }
    }

    /// The subject of that name; a later version may know others.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|subject| subject.as_str() == name)
    }
}

/// A change, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Change {
    pub subject: Subject,
    /// Of the flag or the control; `run` for a run, `session` for a session.
    pub name: String,
    /// `set`, `reset`, `state`, `rerun`, `logout`, or what was done with the flag.
    pub action: String,
    pub run: Option<Uuid>,
    /// `None` where there was nothing, or the default.
    pub previous: Option<String>,
    pub value: Option<String>,
    pub reason: Option<String>,
    /// `who@where`.
    pub changed_by: String,
    /// By the database's clock.
    pub changed_at: DateTime<Utc>,
}

/// A row of `reelshift_audit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// Counts up with every change.
    pub seq: i64,
    #[serde(flatten)]
    pub change: Change,
}

/// Which changes to read. Every condition that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditSelection {
    pub subject: Option<Subject>,
    /// The flag's or the control's.
    pub name: Option<String>,
    pub run: Option<Uuid>,
}

/// The audit.
#[async_trait]
pub trait Audit {
    /// The newest `limit` changes, newest first; those before `before`, where given.
    /// Changes of other versions, to what this one does not know, are passed over.
    async fn audit(
        &self,
        selection: &AuditSelection,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>>;

    /// Records what was done outside the database.
    async fn record(&self, change: &Change) -> Result<()>;
}

/// The action of a change of a run's state.
const STATE: &str = "state";

impl From<&ControlChange> for Change {
    fn from(change: &ControlChange) -> Self {
        let (subject, name, action) = match (change.name.as_str(), &change.value) {
            (RUN, _) => (Subject::Run, RUN, STATE),
            (RERUN, _) => (Subject::Run, RUN, RERUN),
            (name, Some(_)) => (Subject::Control, name, "set"),
            (name, None) => (Subject::Control, name, "reset"),
        };
        Self {
            subject,
            name: name.to_owned(),
            action: action.to_owned(),
            run: change.run,
            previous: change.previous.clone(),
            value: change.value.clone(),
            reason: change.reason.clone(),
            changed_by: change.changed_by.clone(),
            changed_at: change.changed_at,
        }
    }
}

impl Change {
    /// As a change of a control or a run; `None` for anything else.
    #[must_use]
    pub fn into_control(self) -> Option<ControlChange> {
        let name = match self.subject {
            Subject::Control => self.name,
            Subject::Run if self.action == RERUN => RERUN.to_owned(),
            Subject::Run => RUN.to_owned(),
            Subject::Flag | Subject::Notification | Subject::Session => return None,
        };
        Some(ControlChange {
            name,
            run: self.run,
            previous: self.previous,
            value: self.value,
            reason: self.reason,
            changed_by: self.changed_by,
            changed_at: self.changed_at,
        })
    }

    /// As a change of a flag; `None` for anything else, and for flags of other versions.
    #[must_use]
    pub fn into_flag(self) -> Option<FlagChange> {
        if self.subject != Subject::Flag {
            return None;
        }
        Some(FlagChange {
            flag: self.name.parse().ok()?,
            action: self.action.parse().ok()?,
            rollout: read_rollout(self.value.as_deref()?)?,
            previous: self.previous.as_deref().and_then(read_rollout),
            reason: self.reason,
            changed_by: self.changed_by,
            changed_at: self.changed_at,
        })
    }
}

impl From<&FlagChange> for Change {
    fn from(change: &FlagChange) -> Self {
        Self {
            subject: Subject::Flag,
            name: change.flag.to_string(),
            action: change.action.to_string(),
            run: None,
            previous: change.previous.map(write_rollout),
            value: Some(write_rollout(change.rollout)),
            reason: change.reason.clone(),
            changed_by: change.changed_by.clone(),
            changed_at: change.changed_at,
        }
    }
}

/// `on at 25 %`.
pub(crate) fn write_rollout(Rollout { enabled, percent }: Rollout) -> String {
    format!("{} at {percent} %", if enabled { "on" } else { "off" })
}

fn read_rollout(text: &str) -> Option<Rollout> {
    let (enabled, percent) = text.strip_suffix(" %")?.split_once(" at ")?;
    let enabled = match enabled {
        "on" => true,
        "off" => false,
        _ => return None,
    };
    Some(Rollout { enabled, percent: percent.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollout_is_read_as_it_was_written() {
        for rollout in [Rollout::ON, Rollout::OFF, Rollout { enabled: true, percent: 7 }] {
            assert_eq!(read_rollout(&write_rollout(rollout)), Some(rollout));
        }
        for other in ["", "on", "on at %", "maybe at 3 %", "on at 300 %"] {
            assert_eq!(read_rollout(other), None, "{other}");
        }
    }

    #[test]
    fn every_subject_has_its_name() {
        for subject in Subject::ALL {
            assert_eq!(Subject::named(subject.as_str()), Some(subject));
        }
        assert_eq!(Subject::named("turbo"), None);
    }
}
