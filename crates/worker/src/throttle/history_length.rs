//! How many old row versions InnoDB keeps. A long transaction of anybody makes them pile
//! up, and every chunk adds to the pile.

use reelshift_plan::throttle::Signal;

use super::{Figures, SignalReading};

pub(super) fn sample(figures: &Figures<'_>) -> SignalReading {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let limit = figures.tuning.limits.history_list_length as f64;
    figures.figure(Signal::HistoryLength, &figures.signals.history_length, limit)
}
