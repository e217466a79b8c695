//! Faults for a fleet at work, and the proof that it came through them: every row as the
//! [oracle](crate::oracle) computes it, every file's hash right, no chunk applied by two
//! attempts, every failed attempt in the error log, no lease left, nothing hanging.
//!
//! - [`scene`]: a legacy database with an application, workers and what watches them.
//! - [`chunks`]: the ledger of chunks, written by triggers of the test.
//! - [`faults`]: what happens to the fleet.
//! - [`proof`]: what must hold afterwards.

pub mod chunks;
pub mod fanotify;
pub mod faults;
pub mod files;
pub mod network;
pub mod proof;
pub mod scene;
pub mod server;
pub mod worker;

use std::fs::OpenOptions;
use std::io::Write as _;

pub use scene::{Place, Scene};

/// Names the file into which tests write what they had to skip.
const SKIPPED_VARIABLE: &str = "REELSHIFT_TEST_SKIPPED";

/// Says that a test cannot be done on this machine; `cargo xtask` repeats it at the end.
///
/// # Panics
/// Where `REELSHIFT_TEST_NO_SKIPS` is set: there every test is to be done.
pub fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
    let strict = std::env::var_os("REELSHIFT_TEST_NO_SKIPS").is_some();
    assert!(!strict, "a test was skipped, and REELSHIFT_TEST_NO_SKIPS is set: {why}");
    let Some(path) = std::env::var_os(SKIPPED_VARIABLE) else { return };
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .and_then(|mut file| writeln!(file, "{test}: {why}"))
        .expect("what was skipped is written down");
}
