//! How much room the database's disk has. A full disk stops the application too.

use reelshift_plan::throttle::Signal;

use super::{Heard, Look};

pub(super) fn hear(look: &Look<'_>) -> Heard {
    #[expect(clippy::cast_precision_loss, reason = "a byte more or less does not matter")]
    let limit = look.tuning.limits.free_disk as f64;
    match look.figure(Signal::FreeDisk, &look.strain.free_disk, limit) {
        Heard::Reading(mut reading) => {
            reading.host.clone_from(&look.strain.disk);
            Heard::Reading(reading)
        }
        other => other,
    }
}
