//! The limiting factor: the signal that holds the fleet back, its value, its limit, its host
//! and since when. While none does, the one that is closest to its limit; and the setting that an
//! operator holds the fleet back with.

use chrono::{DateTime, Utc};
use reelshift_plan::throttle::{Reading, Signal};
use reelshift_plan::{Knob, Tuning};
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

/// What workers read of a `byte_rate` at the least while it holds them back: the share of a
/// worker that was just lost is read by nobody.
const PART_OF_A_RATE: f64 = 0.5;

/// `byte_rate 200.0 KiB/s by ops@host`: the setting that the fleet has come up to.
///
/// `bytes_per_second` is what the live workers read.
pub(crate) fn limiting_setting(report: &LedgerReport, bytes_per_second: f64) -> Option<String> {
    let stored = report.controls.iter().map(|control| (&*control.name, &*control.value));
    let tuning = Tuning::of_stored(stored);
    let leases: u64 = report.workers.iter().map(|worker| worker.leases).sum();
    let reached = |knob| match knob {
        Knob::ByteRate => tuning.byte_rate.is_some_and(|rate| {
            // A double holds every rate up to 2^53 bytes exactly.
            #[expect(clippy::cast_precision_loss)]
            let rate = rate as f64;
            bytes_per_second >= rate * PART_OF_A_RATE
        }),
        Knob::FleetConcurrency => {
            tuning.fleet_concurrency.is_some_and(|most| leases >= u64::from(most))
        }
        _ => false,
    };
    report.controls.iter().find_map(|control| {
        let knob = control.name.parse().ok().filter(|knob| reached(*knob))?;
        Some(format!("{knob} {} by {}", tuning.show(knob), control.changed_by))
    })
}

#[cfg(test)]
mod tests {
    use reelshift_store::controls::Control;

    use super::*;
    use crate::sample;

    #[test]
    fn a_setting_limits_the_fleet_that_has_come_up_to_it() {
        let mut report = sample::report();
        let set = |name: &str, value: &str| {
            let control = report.controls[0].clone();
            vec![Control { name: name.to_owned(), value: value.to_owned(), ..control }]
        };
        let (rate, few, many) = (
            set("byte_rate", "64KiB"),
            set("fleet_concurrency", "1"),
            set("fleet_concurrency", "99"),
        );
        report.controls = rate;
        assert_eq!(
            limiting_setting(&report, 60_000.0).as_deref(),
            Some("byte_rate 64.0 KiB/s by ops@host")
        );
        assert_eq!(limiting_setting(&report, 1_000.0), None, "it waits for something else");
        report.controls = few;
        assert_eq!(
            limiting_setting(&report, 0.0).as_deref(),
            Some("fleet_concurrency 1 by ops@host")
        );
        report.controls = many;
        assert_eq!(limiting_setting(&report, 0.0), None);
    }
}
