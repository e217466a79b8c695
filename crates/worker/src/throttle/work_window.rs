//! Whether it is an hour to work in, by the database's clock.

use reelshift_plan::throttle::{Reading, Signal};

use super::{Figures, SignalReading};

pub(super) fn sample(figures: &Figures<'_>) -> SignalReading {
    let Some(window) = figures.tuning.limits.work_window else { return SignalReading::Nothing };
    let stops = !window.contains(figures.signals.at);
    SignalReading::Reading(Reading::switch(Signal::WorkWindow, &window.to_string(), stops))
}
