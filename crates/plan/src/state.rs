//! The states of a run and of a batch, and which may follow which.
//!
//! The tables here are the source of `docs/state-machine.md`. The adapters refuse every
//! other transition in SQL by naming the state they come from in each `WHERE`.

use serde::{Deserialize, Serialize};

/// A name that none of the known values has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} `{name}`: expected one of {expected}")]
pub struct UnknownName {
    pub what: &'static str,
    pub name: String,
    pub expected: String,
}

/// `Display` and `FromStr` by way of `as_str` and `ALL`.
macro_rules! named {
    ($type:ty, $what:literal) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = UnknownName;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                Self::ALL.into_iter().find(|value| value.as_str() == name).ok_or_else(|| {
                    UnknownName {
                        what: $what,
                        name: name.to_owned(),
                        expected: Self::ALL.map(Self::as_str).join(", "),
                    }
                })
            }
        }
    };
}
pub(crate) use named;

/// What the batches of a run do. The name is stored; it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    Backfill,
    Hash,
}

impl JobKind {
    pub const ALL: [Self; 2] = [Self::Backfill, Self::Hash];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backfill => "backfill",
            Self::Hash => "hash",
        }
    }
}

named!(JobKind, "job kind");

/// The life of one batch of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum BatchState {
    Pending,
    Leased,
    Done,
    Failed,
    Cancelled,
}

impl BatchState {
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::Leased, Self::Done, Self::Failed, Self::Cancelled];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Leased => "leased",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The states that may follow this one; none after a final state.
    #[must_use]
    pub const fn successors(self) -> &'static [Self] {
        match self {
            Self::Pending => &[Self::Leased, Self::Cancelled],
            // Back to pending: another attempt is due, the worker drained or was lost, or the
            // run is paused.
            Self::Leased => &[Self::Done, Self::Pending, Self::Failed, Self::Cancelled],
            Self::Done | Self::Failed | Self::Cancelled => &[],
        }
    }

    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        self.successors().contains(&next)
    }

    #[must_use]
    pub const fn is_final(self) -> bool {
        self.successors().is_empty()
    }
}

named!(BatchState, "batch state");

/// The life of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// A planner adds batches; workers already execute them.
    Planning,
    /// All batches are in.
    Running,
    /// Every batch of a backfill is done; a planner looks for rows out of agreement.
    Sweeping,
    Paused,
    Done,
    Failed,
    Cancelled,
}

impl RunState {
    pub const ALL: [Self; 7] = [
        Self::Planning,
        Self::Running,
        Self::Sweeping,
        Self::Paused,
        Self::Done,
        Self::Failed,
        Self::Cancelled,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planning => "planning",
            Self::Running => "running",
            Self::Sweeping => "sweeping",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The states that may follow this one.
    #[must_use]
    pub const fn successors(self) -> &'static [Self] {
        match self {
            // To failed: the videos cannot be read.
            Self::Planning => {
                &[Self::Running, Self::Done, Self::Failed, Self::Paused, Self::Cancelled]
            }
            Self::Running => {
                &[Self::Sweeping, Self::Done, Self::Failed, Self::Paused, Self::Cancelled]
            }
            Self::Sweeping => {
                &[Self::Running, Self::Done, Self::Failed, Self::Paused, Self::Cancelled]
            }
            Self::Paused => &[Self::Planning, Self::Running, Self::Sweeping, Self::Cancelled],
            // A rerun of failed batches or quarantined items opens the run again.
            Self::Done | Self::Failed => &[Self::Running],
            Self::Cancelled => &[],
        }
    }

    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        self.successors().contains(&next)
    }

    /// Whether workers may claim this run's batches, or a planner may still add some.
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Planning | Self::Running | Self::Sweeping)
    }
}

named!(RunState, "run state");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back() {
        for state in BatchState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        for state in RunState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        let unknown = "cooking".parse::<JobKind>().expect_err("not a kind");
        assert_eq!(
            unknown.to_string(),
            "unknown job kind `cooking`: expected one of backfill, hash"
        );
    }

    #[test]
    fn a_final_batch_stays_final() {
        for state in BatchState::ALL.into_iter().filter(|state| state.is_final()) {
            assert!(BatchState::ALL.into_iter().all(|next| !state.may_become(next)));
        }
        assert!(!BatchState::Pending.may_become(BatchState::Done), "only a lease finishes a batch");
    }

    #[test]
    fn every_batch_state_is_reached_from_pending() {
        let mut reached = vec![BatchState::Pending];
        let mut next = 0;
        while next < reached.len() {
            for state in reached[next].successors() {
                if !reached.contains(state) {
                    reached.push(*state);
                }
            }
            next += 1;
        }
        assert_eq!(reached.len(), BatchState::ALL.len());
    }
}
