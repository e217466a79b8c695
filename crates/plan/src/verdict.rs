//! The state of a whole migration, in one word.

use serde::{Deserialize, Serialize};

use crate::state::{UnknownName, named};

/// The state of a migration. The name is stored; it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// Before `apply expand`.
    NotStarted,
    /// A rollback has begun and is not at its end.
    RollingBack,
    /// Nothing was enqueued.
    Idle,
    Running,
    /// By an operator or by itself.
    Paused,
    Throttled,
    /// Workers live, work is open, nothing moves.
    Stalled,
    /// Work is open and nobody lives to do it.
    Dead,
    /// Nothing is open, but something was left undone.
    Attention,
    Done,
}

impl VerdictKind {
    /// Every [`Self::as_str`].
    pub const NAMES: [&str; 10] = [
        Self::NotStarted.as_str(),
        Self::RollingBack.as_str(),
        Self::Idle.as_str(),
        Self::Running.as_str(),
        Self::Paused.as_str(),
        Self::Throttled.as_str(),
        Self::Stalled.as_str(),
        Self::Dead.as_str(),
        Self::Attention.as_str(),
        Self::Done.as_str(),
    ];

    pub const ALL: [Self; 10] = [
        Self::NotStarted,
        Self::RollingBack,
        Self::Idle,
        Self::Running,
        Self::Paused,
        Self::Throttled,
        Self::Stalled,
        Self::Dead,
        Self::Attention,
        Self::Done,
    ];

    /// As documents, metrics and the ledger have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "not_started",
            Self::RollingBack => "rolling_back",
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Throttled => "throttled",
            Self::Stalled => "stalled",
            Self::Dead => "dead",
            Self::Attention => "attention",
            Self::Done => "done",
        }
    }

    /// The word that is shown.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotStarted => "NOT STARTED",
            Self::RollingBack => "ROLLING BACK",
            Self::Idle => "IDLE",
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Throttled => "THROTTLED",
            Self::Stalled => "STALLED",
            Self::Dead => "DEAD",
            Self::Attention => "NEEDS ATTENTION",
            Self::Done => "DONE",
        }
    }

    /// How urgent it is, as the pages' class: `good`, `busy`, `warn` or `bad`.
    #[must_use]
    pub const fn tone(self) -> &'static str {
        match self {
            Self::Done => "good",
            Self::NotStarted | Self::Idle | Self::Running => "busy",
            Self::RollingBack | Self::Paused | Self::Throttled | Self::Attention => "warn",
            Self::Stalled | Self::Dead => "bad",
        }
    }
}

named!(VerdictKind, "state of the migration");
