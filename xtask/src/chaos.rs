//! `cargo xtask chaos`: the chaos suite's random faults, for as long as one likes.

use anyhow::Result;

use crate::exit_code;
use crate::instance::Instance;
use crate::interrupt::Interrupts;
use crate::server::Server;
use crate::test::{BUILD, cargo, install_optional, tell_of_server};

/// The ignored test that does it, and what it is told.
const TEST: &str = "test --quiet --workspace --all-features --test e2e -- --exact \
                    --ignored --nocapture chaos_random::random_faults_for_long";
const MINUTES_VARIABLE: &str = "REELSHIFT_TEST_CHAOS_MINUTES";
const SEED_VARIABLE: &str = "REELSHIFT_TEST_CHAOS_SEED";

/// Builds the binary, then runs rounds of faults for `minutes`.
pub(crate) fn run(minutes: u32, seed: Option<u64>, interrupts: &Interrupts) -> Result<u8> {
    let built = interrupts.run(cargo().args(BUILD))?;
    if !built.success() {
        return Ok(exit_code(built));
    }
    install_optional(interrupts)?;
    let mut instance = Instance::start(Server::Default, None, &[], interrupts)?;
    let mut test = cargo();
    test.args(TEST.split_whitespace());
    tell_of_server(&mut test, &instance, Server::Default);
    test.env(MINUTES_VARIABLE, minutes.to_string());
    if let Some(seed) = seed {
        test.env(SEED_VARIABLE, seed.to_string());
    }
    instance.run(&mut test, interrupts).map(exit_code)
}
