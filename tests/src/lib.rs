//! What the end-to-end tests share: a legacy database on either dialect, the binary, faults
//! for a fleet of them, and a receiver of its telemetry.

mod binary;
pub mod chaos;
mod legacy;
pub mod oracle;
pub mod receiver;
pub mod s3;
mod waiting;

pub use binary::{Ran, Reelshift, wait};
pub use legacy::{Legacy, Video};
pub use waiting::{until, until_within};
