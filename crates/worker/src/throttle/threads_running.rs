//! How many statements the server executes at once, the fleet's among them. More than it
//! has processors wait for one, the application's too.

use std::thread::available_parallelism;

use reelshift_plan::throttle::Signal;

use super::{Figures, SignalReading};

/// However small the server: one chunk, and one statement of the application.
const LEAST: u32 = 2;

/// What the application executes by itself counts twice: where it is busy, what the fleet adds
/// is judged by its latency, and this is for emergencies.
const APPLICATIONS_ROOM: f64 = 2.0;

/// The limit is what was tuned, else the server's processors and room for the application.
/// Where the server does not tell its processors, they are this machine's, since a database is
/// seldom on a smaller one than its workers.
pub(super) fn sample(figures: &Figures<'_>) -> SignalReading {
    let processors = figures
        .signals
        .processors
        .or_else(|| available_parallelism().ok().and_then(|count| u32::try_from(count.get()).ok()));
    let automatic = || {
        let processors = f64::from(processors.unwrap_or(LEAST).max(LEAST));
        processors + (APPLICATIONS_ROOM * figures.running_without.unwrap_or_default()).round()
    };
    let limit = figures.tuning.limits.threads_running.map_or_else(automatic, f64::from);
    figures.figure(Signal::ThreadsRunning, figures.threads_running, limit)
}
