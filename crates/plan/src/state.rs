//! The states of a run and of a batch, and which may follow which.
//!
//! The tables here are the source of `docs/state-machine.md`. The ledger's rules (`store`) move
//! a run only as they allow; a batch is moved by statements that name the state it comes from.

use serde::{Deserialize, Serialize};

/// A name that none of the known values has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} `{name}`: expected one of {expected}")]
pub struct UnknownName {
    pub what: &'static str,
    pub name: String,
    pub expected: String,
}

/// `Display` and `FromStr` by way of `into_str` and `ALL`.
macro_rules! named {
    ($type:ty, $what:literal) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.into_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = UnknownName;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                let mut known = Self::ALL.iter();
                known.find(|value| value.into_str() == name).copied().ok_or_else(|| UnknownName {
                    what: $what,
                    name: name.to_owned(),
                    expected: Self::ALL.iter().map(Self::into_str).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}
pub(crate) use named;

/// What the batches of a run do. The name is stored; it never changes.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum JobKind {
    Backfill,
    Hash,
    /// Compares rows with what they must hold, and changes none.
    Validate,
}

impl JobKind {
    pub const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;
}

named!(JobKind, "job kind");

/// The life of one batch of the ledger.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum BatchState {
    Pending,
    Leased,
    Done,
    Failed,
    Cancelled,
}

impl BatchState {
    pub const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;

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

    /// What a leased batch becomes when its attempt fails. `attempts` have failed before;
    /// `retry` is whether another attempt can help.
    #[must_use]
    pub const fn after_failure(retry: bool, attempts: u32, max_attempts: u32) -> Self {
        if retry && attempts.saturating_add(1) < max_attempts {
            Self::Pending
        } else {
            Self::Failed
        }
    }
}

named!(BatchState, "batch state");

/// The life of one run.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
#[strum(const_into_str, serialize_all = "snake_case")]
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
    pub const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;

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

    /// The states of a run whose batches workers may claim, or to which a planner may still
    /// add some.
    pub const ACTIVE: &[Self] = &[Self::Planning, Self::Running, Self::Sweeping];

    /// Whether the state is one of [`Self::ACTIVE`].
    #[must_use]
    pub fn is_active(self) -> bool {
        Self::ACTIVE.contains(&self)
    }

    /// Whether nothing can follow this state, not even a rerun.
    #[must_use]
    pub const fn is_final(self) -> bool {
        self.successors().is_empty()
    }

    /// Whether a planner may add batches.
    #[must_use]
    pub const fn is_planned(self) -> bool {
        matches!(self, Self::Planning | Self::Sweeping)
    }

    /// Whether nothing of this run is left to do, unless failed work is enqueued again.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }

    /// What a run in `planning` or `sweeping` becomes when its planner is through: a first
    /// plan needs a batch, of which there are `batches`, and a sweep one of its own round.
    #[must_use]
    pub const fn after_planning(self, batches: u64, in_this_round: u64) -> Self {
        let added = match self {
            Self::Sweeping => in_this_round,
            _ => batches,
        };
        if added > 0 { Self::Running } else { Self::Done }
    }

    /// What a run in `running` becomes when all its batches have ended, `failed` of them
    /// failed and not enqueued again. `sweeps` is whether rows that came or were skipped
    /// meanwhile are of the run too.
    #[must_use]
    pub const fn after_batches(sweeps: bool, failed: u64) -> Self {
        if failed > 0 {
            Self::Failed
        } else if sweeps {
            Self::Sweeping
        } else {
            Self::Done
        }
    }

    /// What a run becomes when failed work of it is enqueued again.
    #[must_use]
    pub const fn after_rerun(self) -> Self {
        match self {
            Self::Done | Self::Failed => Self::Running,
            other => other,
        }
    }
}

named!(RunState, "run state");

/// The life of one worker process, in the order in which people look for workers.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum WorkerState {
    Live,
    /// Silent for too long; its batches went on elsewhere.
    Lost,
    /// Ended by itself.
    Left,
}

impl WorkerState {
    pub const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;
}

named!(WorkerState, "worker state");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back() {
        for &state in BatchState::ALL {
            assert_eq!(state.into_str().parse(), Ok(state));
        }
        for &state in RunState::ALL {
            assert_eq!(state.into_str().parse(), Ok(state));
        }
        for &state in WorkerState::ALL {
            assert_eq!(state.into_str().parse(), Ok(state));
        }
        let unknown = "cooking".parse::<JobKind>().expect_err("not a kind");
        assert_eq!(
            unknown.to_string(),
            "unknown job kind `cooking`: expected one of backfill, hash, validate"
        );
    }

    #[test]
    fn a_final_batch_stays_final() {
        for state in BatchState::ALL.iter().copied().filter(|state| state.is_final()) {
            assert!(BatchState::ALL.iter().copied().all(|next| !state.may_become(next)));
        }
        assert!(!BatchState::Pending.may_become(BatchState::Done), "only a lease finishes a batch");
    }

    #[test]
    fn what_a_rule_says_is_a_transition_of_the_table() {
        for (retry, attempts) in [(true, 0), (true, 1), (true, u32::MAX), (false, 0)] {
            let next = BatchState::after_failure(retry, attempts, 2);
            assert!(BatchState::Leased.may_become(next), "{retry} {attempts}: {next}");
            assert_eq!(next == BatchState::Pending, retry && attempts == 0);
        }
        for (batches, in_this_round) in [(0, 0), (1, 0), (1, 1)] {
            for from in [RunState::Planning, RunState::Sweeping] {
                let next = from.after_planning(batches, in_this_round);
                assert!(from.may_become(next), "{from} {batches} {in_this_round}: {next}");
            }
        }
        assert_eq!(RunState::Sweeping.after_planning(1, 0), RunState::Done, "nothing was found");
        for sweeps in [true, false] {
            for failed in [0, 1] {
                let next = RunState::after_batches(sweeps, failed);
                assert!(RunState::Running.may_become(next), "{sweeps} {failed}: {next}");
            }
        }
        for &from in RunState::ALL {
            let next = from.after_rerun();
            assert!(next == from || (from.has_ended() && from.may_become(next)), "{from}: {next}");
            assert_eq!(from.is_active(), !from.has_ended() && from != RunState::Paused);
        }
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
