//! What the end-to-end tests share: a legacy database on either dialect, and the binary.

mod binary;
mod legacy;
pub mod oracle;

pub use binary::{Ran, Reelshift, wait};
pub use legacy::{Legacy, Video};
