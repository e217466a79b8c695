//! How many statements the server executes at once, the fleet's among them. More than it
//! has processors wait for one, the application's too.

use std::thread::available_parallelism;

use reelshift_plan::throttle::Signal;

use super::{Figures, SignalReading};

/// However small the server: one chunk, and one statement of the application.
const LEAST: u32 = 2;

/// The limit is what was tuned, else the server's processors; where it does not tell them,
/// this machine's, since a database is seldom on a smaller one than its workers.
pub(super) fn sample(figures: &Figures<'_>) -> SignalReading {
    let processors = figures
        .signals
        .processors
        .or_else(|| available_parallelism().ok().and_then(|count| u32::try_from(count.get()).ok()));
    let limit = figures
        .tuning
        .limits
        .threads_running
        .unwrap_or_else(|| processors.unwrap_or(LEAST).max(LEAST));
    figures.figure(Signal::ThreadsRunning, figures.threads_running, f64::from(limit))
}
