//! What the end-to-end tests share: a legacy database on either dialect, the binary, faults
//! for a fleet of them, a receiver of its telemetry, the server with a client, and
//! subscribers to its notifications.

mod binary;
pub mod chaos;
pub mod http;
mod legacy;
pub mod notifications;
pub mod oracle;
pub mod receiver;
pub mod server;
mod waiting;

pub use binary::{Ran, Reelshift, wait};
pub use legacy::{Legacy, Video};
pub use waiting::{until, until_within};
