//! How long the fleet's chunks take: what an application's write can wait for.
//!
//! A worker keeps its chunks at the target by their size. Chunks that stay far above it
//! are at the smallest size, or make each other slow: fewer at once is what is left.

use reelshift_plan::throttle::{Reading, Signal};

use super::{Figures, SignalReading};

/// Of the target: sizes follow it with some overshoot, which is no strain.
const TOLERATED: f64 = 2.0;

/// Where nobody ran a chunk of late there is nothing to be seen, and nothing missing.
pub(super) fn sample(figures: &Figures<'_>) -> SignalReading {
    let limit = figures.tuning.chunk_target.as_secs_f64() * TOLERATED;
    figures.fleet.chunk_seconds.map_or(SignalReading::Nothing, |seconds| {
        SignalReading::Reading(Reading::new(Signal::ChunkTime, "", seconds, limit))
    })
}
