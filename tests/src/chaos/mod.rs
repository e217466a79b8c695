//! Faults for a fleet at work, and the proof that it came through them: every row as the
//! [oracle](crate::oracle) computes it, every file's hash right, no chunk applied by two
//! attempts, every failed attempt in the error log, no lease left, nothing hanging.
//!
//! - [`scene`]: a legacy database with an application, workers and what watches them.
//! - [`chunks`]: the ledger of chunks, written by triggers of the test.
//! - [`faults`]: what happens to the fleet.
//! - [`proof`]: what must hold afterwards.

pub mod application;
pub mod chunks;
pub mod faults;
pub mod files;
pub mod network;
pub mod proof;
pub mod scene;
pub mod server;
pub mod worker;

pub use scene::{Place, Scene};

/// Says that a test cannot be done on this machine; nextest shows it beside the results.
pub fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}
