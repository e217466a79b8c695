//! The audit: one row for every change that somebody made, whatever it was and whichever way
//! it came in. What one transaction changes is recorded in that transaction: what cannot be
//! recorded is not done. What takes longer (a phase, a rollback, a restore) is recorded when it
//! ends, completely or not.
//!
//! `changed_by` says who and from where, as `who@where`: `user@host` on the command line,
//! the token's name and the client's address over HTTP.

mod event;
mod words;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reelshift_plan::Rollout;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Result;
use crate::controls::ControlChange;
use crate::failures::Pattern;
use crate::flags::FlagChange;

pub use event::{AuditColumns, AuditEvent};

/// What was changed.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum Subject {
    /// A feature flag.
    Flag,
    /// A setting or the pause of the whole fleet.
    Control,
    /// One run: it was enqueued, its state was changed, or its failed work was enqueued again.
    Run,
    /// Items in quarantine were accepted.
    Quarantine,
    /// A worker was told to leave.
    Worker,
    /// A phase was applied or rolled back, or an archive was restored.
    Schema,
    /// What ended long ago was removed.
    History,
    /// A notification was queued by hand.
    Notification,
    /// A browser logged in or out.
    Session,
    /// A token of the server was made.
    Token,
}

impl Subject {
    pub const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;

    /// The subject of that name; a later version may know others.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        name.parse().ok()
    }
}

/// A change, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Change {
    /// What was done, in JSON as the columns have it.
    #[serde(flatten)]
    #[cfg_attr(feature = "openapi", schema(value_type = AuditColumns))]
    pub event: AuditEvent,
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
    /// As in [`AuditColumns::name`].
    pub name: Option<String>,
    pub run: Option<Uuid>,
    /// Compared with `who@where`.
    pub by: Option<Pattern>,
    /// Changes at or after this time.
    pub since: Option<DateTime<Utc>>,
    /// Only what the workers go by.
    pub commands: bool,
}

impl AuditSelection {
    /// What the workers go by and acknowledge.
    #[must_use]
    pub fn commands() -> Self {
        Self { commands: true, ..Self::default() }
    }

    /// The subjects that are selected.
    #[must_use]
    pub fn subjects(&self) -> Vec<Subject> {
        self.subject.map_or(Subject::ALL.to_vec(), |subject| vec![subject])
    }

    /// The actions that are selected; `None` is all.
    #[must_use]
    pub fn actions(&self) -> Option<&'static [&'static str]> {
        self.commands.then_some(&event::COMMANDS)
    }
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

    /// Records what no transaction of this port has done. Text is cut to its column.
    async fn record(&self, event: &AuditEvent, reason: Option<&str>, by: &str) -> Result<()>;
}

impl Change {
    #[must_use]
    pub fn new(event: AuditEvent, reason: Option<&str>, by: &str, at: DateTime<Utc>) -> Self {
        let reason = reason.map(str::to_owned);
        Self { event, reason, changed_by: by.to_owned(), changed_at: at }
    }

    /// As a change of a flag; `None` for anything else.
    #[must_use]
    pub fn into_flag(self) -> Option<FlagChange> {
        let AuditEvent::FlagChanged { flag, action, previous, rollout } = self.event else {
            return None;
        };
        Some(FlagChange {
            flag,
            action,
            rollout,
            previous,
            reason: self.reason,
            changed_by: self.changed_by,
            changed_at: self.changed_at,
        })
    }
}

impl From<&ControlChange> for Change {
    fn from(change: &ControlChange) -> Self {
        Self {
            event: AuditEvent::ControlChanged {
                name: change.name.clone(),
                previous: change.previous.clone(),
                value: change.value.as_ref().map(|value| match change.ends_at {
                    Some(end) => format!("{value} until {}", end.format("%Y-%m-%d %H:%M:%S UTC")),
                    None => value.clone(),
                }),
            },
            reason: change.reason.clone(),
            changed_by: change.changed_by.clone(),
            changed_at: change.changed_at,
        }
    }
}

impl From<&FlagChange> for Change {
    fn from(change: &FlagChange) -> Self {
        Self {
            event: AuditEvent::FlagChanged {
                flag: change.flag,
                action: change.action,
                previous: change.previous,
                rollout: change.rollout,
            },
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
        for &subject in Subject::ALL {
            assert_eq!(Subject::named(subject.into_str()), Some(subject));
        }
        assert_eq!(Subject::named("turbo"), None);
    }
}
