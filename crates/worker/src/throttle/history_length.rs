//! How many old row versions InnoDB keeps. A long transaction of anybody makes them pile
//! up, and every chunk adds to the pile.

use reelshift_plan::throttle::Signal;

use super::{Heard, Look};

pub(super) fn hear(look: &Look<'_>) -> Heard {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let limit = look.tuning.limits.history_list_length as f64;
    look.figure(Signal::HistoryLength, &look.strain.history_length, limit)
}
