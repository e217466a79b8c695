//! The specification's five phases.

use serde::{Deserialize, Serialize};

use crate::state::UnknownName;

/// A phase of the migration, in the order in which they are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Expand,
    Backfill,
    Rollout,
    Index,
    Automate,
}

impl Phase {
    pub const ALL: [Self; 5] =
        [Self::Expand, Self::Backfill, Self::Rollout, Self::Index, Self::Automate];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expand => "expand",
            Self::Backfill => "backfill",
            Self::Rollout => "rollout",
            Self::Index => "index",
            Self::Automate => "automate",
        }
    }
}

crate::state::named!(Phase, "phase");
