//! Bearer tokens: 256 random bits, of which the configuration holds the SHA-256.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Read.
    Viewer,
    /// Read, and change.
    Operator,
}

/// A token as the configuration names it.
#[derive(Debug, Clone)]
pub struct ConfiguredToken {
    /// Whose it is, for the audit.
    pub name: String,
    pub role: Role,
    /// SHA-256 of the token.
    pub hash: [u8; 32],
}
