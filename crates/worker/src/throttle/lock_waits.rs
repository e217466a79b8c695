//! How many transactions wait for a row lock, whoever holds it.

use reelshift_plan::throttle::Signal;

use super::{Figures, SignalReading};

pub(super) fn sample(figures: &Figures<'_>) -> SignalReading {
    let limit = f64::from(figures.tuning.limits.lock_waits);
    figures.figure(Signal::LockWaits, &figures.signals.lock_waits, limit)
}
