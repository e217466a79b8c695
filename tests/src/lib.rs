//! What the end-to-end tests share: a legacy database on either dialect, the binary, faults
//! for a fleet of them, a terminal, object stores, a receiver of its telemetry, the server with a
//! client, subscribers to its notifications, and a browser.

pub mod backlog;
mod binary;
pub mod browser;
pub mod chaos;
pub mod emulators;
pub mod galera;
pub mod http;
mod legacy;
pub mod notifications;
pub mod oracle;
pub mod orm;
pub mod proxy;
pub mod receiver;
pub mod s3;
pub mod server;
pub mod terminal;
mod waiting;

pub use binary::{Ran, Reelshift, wait};
pub use legacy::{Legacy, Video};
pub use waiting::{LIMIT, until, until_within};
