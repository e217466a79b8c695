//! How many transactions wait for a row lock, whoever holds it.

use reelshift_plan::throttle::Signal;

use super::{Heard, Look};

pub(super) fn hear(look: &Look<'_>) -> Heard {
    let limit = f64::from(look.tuning.limits.lock_waits);
    look.figure(Signal::LockWaits, &look.strain.lock_waits, limit)
}
