//! The specification's five phases.

use serde::{Deserialize, Serialize};

use crate::state::UnknownName;

/// A phase of the migration, in the order in which they are taken.
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
pub enum Phase {
    Expand,
    Backfill,
    Rollout,
    Index,
    Automate,
}

impl Phase {
    pub const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;
}

crate::state::named!(Phase, "phase");
