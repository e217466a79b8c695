//! Phase 3: what the application side of the migration does while it is rolled out.
//!
//! The feature flags are rows of the database ([`reelshift_store::flags`]); here they are
//! given their initial values, and seen by every process within two seconds ([`FlagCache`]).
//! [`VideoStatusReader`] answers with the status of a video in one of the specification's two
//! shapes, as the flags say.

mod cache;
mod initial;
mod status;

pub use cache::{FlagCache, FlagValues};
pub use initial::{InitialFlags, initialise};
pub use status::{EnhancedStatus, ErrorDetails, LegacyStatus, VideoStatus, VideoStatusReader};
