//! The state of a whole migration, in one word.

use serde::{Deserialize, Serialize};

use crate::state::{UnknownName, named};

/// The state of a migration. The name is stored; it never changes.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(const_into_str, serialize_all = "snake_case")]
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
    /// Every [`Self::into_str`].
    pub const NAMES: [&str; 10] = [
        Self::NotStarted.into_str(),
        Self::RollingBack.into_str(),
        Self::Idle.into_str(),
        Self::Running.into_str(),
        Self::Paused.into_str(),
        Self::Throttled.into_str(),
        Self::Stalled.into_str(),
        Self::Dead.into_str(),
        Self::Attention.into_str(),
        Self::Done.into_str(),
    ];

    pub const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;

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
