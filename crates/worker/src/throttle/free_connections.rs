//! How many connections the server still accepts. An application that finds none has no database.

use reelshift_plan::throttle::{Reading, Signal};

use super::{Figures, SignalReading};

pub(super) fn sample(figures: &Figures<'_>) -> SignalReading {
    let Some(connections) = figures.signals.connections else { return SignalReading::Nothing };
    let (free, reserve) = (f64::from(connections.free()), f64::from(connections.reserve()));
    SignalReading::Reading(Reading::new(
        Signal::FreeConnections,
        &figures.signals.host,
        free,
        reserve,
    ))
}
