//! The events in plain words, the same on the terminal and on pages.

use uuid::Uuid;

use super::AuditEvent;
use crate::controls::PAUSE;

impl AuditEvent {
    /// What was done, with ids as `id` writes them: `run 5e8f paused`. What it was before and
    /// after is in [`columns`](Self::columns).
    #[must_use]
    pub fn words(&self, id: impl Fn(Uuid) -> String) -> String {
        match self {
            Self::FlagChanged { flag, action, .. } => format!("flag {flag}: {action}"),
            Self::ControlChanged { name, value: Some(_), .. } if name == PAUSE => {
                "fleet paused".to_owned()
            }
            Self::ControlChanged { name, .. } if name == PAUSE => "fleet resumed".to_owned(),
            Self::ControlChanged { name, .. } => name.clone(),
            Self::RunEnqueued { run, kind, created: true, .. } => {
                format!("{kind} run {} enqueued", id(*run))
            }
            Self::RunEnqueued { run, kind, .. } => {
                format!("planning of {kind} run {} resumed", id(*run))
            }
            Self::RunStateChanged { run, .. } => format!("run {}", id(*run)),
            Self::RunRerun { run, .. } => format!("rerun of run {}", id(*run)),
            Self::QuarantineAccepted { items: 1 } => "an item in quarantine accepted".to_owned(),
            Self::QuarantineAccepted { items } => format!("{items} items in quarantine accepted"),
            Self::WorkerDrained { worker } => format!("worker {} drained", id(*worker)),
            Self::PhaseApplied { phase, .. } => format!("{phase} applied"),
            Self::RolledBack { to, .. } => format!("rolled back to {to}"),
            Self::Restored { .. } => "archive restored".to_owned(),
            Self::Pruned { .. } => "history pruned".to_owned(),
            Self::NotificationQueued { event_type, .. } => {
                format!("notification {event_type} queued")
            }
            Self::LoggedIn { .. } => "logged in".to_owned(),
            Self::LoggedOut { .. } => "logged out".to_owned(),
            Self::TokenMade { name, .. } => format!("token of {name} made"),
            Self::Unknown(columns) => {
                format!("{} {}: {}", columns.subject.into_str(), columns.name, columns.action)
            }
        }
    }

    /// As [`words`](Self::words), with what a setting, a flag or a run was and is, and how much
    /// was enqueued again: `concurrency 16 → 12`.
    #[must_use]
    pub fn sentence(&self, id: impl Fn(Uuid) -> String) -> String {
        let words = self.words(id);
        match self {
            Self::ControlChanged { name, previous, value } if name != PAUSE => {
                let shown =
                    |value: &Option<String>| value.clone().unwrap_or_else(|| "default".to_owned());
                format!("{words} {} → {}", shown(previous), shown(value))
            }
            Self::RunStateChanged { previous, state, .. } => {
                format!("{words} {previous} → {state}")
            }
            Self::RunRerun { batches: 1, .. } => format!("{words}: 1 batch"),
            Self::RunRerun { batches, .. } => format!("{words}: {batches} batches"),
            Self::FlagChanged { .. } => {
                let columns = self.columns();
                match (columns.previous, columns.value) {
                    (Some(previous), Some(value)) => format!("{words} {previous} → {value}"),
                    (None, Some(value)) => format!("{words} {value}"),
                    (_, None) => words,
                }
            }
            _ => words,
        }
    }
}

#[cfg(test)]
mod tests {
    use reelshift_plan::{JobKind, RunState};

    use super::*;

    #[test]
    fn events_are_told_in_plain_words() {
        let run = Uuid::from_u128(7);
        let text = |text: &str| Some(text.to_owned());
        let control = |name: &str, previous, value| AuditEvent::ControlChanged {
            name: name.to_owned(),
            previous,
            value,
        };
        let (previous, state) = (RunState::Running, RunState::Paused);
        let (kind, filter) = (JobKind::Hash, String::new());
        for (event, sentence) in [
            (control(PAUSE, None, text("on")), "fleet paused"),
            (control(PAUSE, text("on"), None), "fleet resumed"),
            (control("lock_waits", None, text("3")), "lock_waits default → 3"),
            (AuditEvent::RunStateChanged { run, previous, state }, "run 7 running → paused"),
            (AuditEvent::RunRerun { run, state, batches: 17 }, "rerun of run 7: 17 batches"),
            (
                AuditEvent::RunEnqueued { run, kind, filter, created: false },
                "planning of hash run 7 resumed",
            ),
        ] {
            assert_eq!(event.sentence(|id| id.as_u128().to_string()), sentence);
        }
    }
}
