//! How much room the database's disk has. A full disk stops the application too.

use reelshift_plan::throttle::Signal;

use super::{Figures, SignalReading};

pub(super) fn sample(figures: &Figures<'_>) -> SignalReading {
    #[expect(clippy::cast_precision_loss, reason = "a byte more or less does not matter")]
    let limit = figures.tuning.limits.free_disk as f64;
    match figures.figure(Signal::FreeDisk, &figures.signals.free_disk, limit) {
        SignalReading::Reading(mut reading) => {
            reading.host.clone_from(&figures.signals.disk);
            SignalReading::Reading(reading)
        }
        other => other,
    }
}
