//! What the end-to-end tests share: a legacy database on either dialect, the binary, and
//! faults for a fleet of them.

mod binary;
pub mod chaos;
mod legacy;
pub mod oracle;
mod waiting;

pub use binary::{Ran, Reelshift, wait};
pub use legacy::{Legacy, Video};
pub use waiting::{until, until_within};
