//! The limiting factor: the signal that holds the fleet back, its value, its limit, its host
//! and since when. While none does, the one that is closest to its limit.

use chrono::{DateTime, Utc};
use reelshift_plan::throttle::{Reading, Signal};
use reelshift_store::report::{LedgerReport, ThrottleReport};
use serde::Serialize;

/// A signal against its limit.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = LimitingSignal))]
pub struct Limiting {
    pub signal: Signal,
    /// In the signal's unit; `None` where it should be there and is not.
    pub value: Option<f64>,
    pub limit: f64,
    /// Empty where it is the fleet itself.
    pub host: String,
    /// The value in proportion to its limit: above 1 it is beyond.
    pub pressure: Option<f64>,
    /// `replica lag 7.1 s > 5.0 s on db-2:3306`
    pub text: String,
    /// Whether it holds the fleet back now.
    pub limits: bool,
    /// Since when it does.
    pub since: Option<DateTime<Utc>>,
}

impl Limiting {
    pub(crate) fn find(report: &LedgerReport) -> Option<Self> {
        let throttle = report.throttle.as_ref()?;
        let reading = throttle
            .readings
            .iter()
            .max_by(|one, other| one.pressure().total_cmp(&other.pressure()))?;
        Some(Self::new(throttle, reading))
    }

    fn new(throttle: &ThrottleReport, reading: &Reading) -> Self {
        let limits = throttle.level.is_throttled();
        let pressure = reading.pressure();
        Self {
            signal: reading.signal,
            value: reading.value,
            limit: reading.limit,
            host: reading.host.clone(),
            pressure: pressure.is_finite().then_some(pressure),
            text: reading.to_string(),
            limits,
            since: throttle.since.filter(|_| limits),
        }
    }
}
