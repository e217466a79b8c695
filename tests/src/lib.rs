//! What the end-to-end tests share: a legacy database on either dialect, the binary, and a
//! receiver of its telemetry.

mod binary;
mod legacy;
pub mod oracle;
pub mod receiver;

pub use binary::{Ran, Reelshift, wait};
pub use legacy::{Legacy, Video};
