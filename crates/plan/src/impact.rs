//! What the fleet adds to the application's latency.
//!
//! A canary executes what an application does, many times a second, and the whole fleet rests
//! together for a moment now and then. So the same seconds give the latency with the fleet and
//! the one without it, whatever the application itself is doing.

mod meter;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use meter::{Beat, Meter};

use crate::throttle::{Reading, Signal};

/// The limit of [`Impact::added_share`] by default, in percent.
pub const DEFAULT_PERCENT: u32 = 25;

/// The limit of [`Impact::added_tail`] at [`DEFAULT_PERCENT`]; it follows in proportion.
const DEFAULT_TAIL: Duration = Duration::from_millis(10);

/// Less than this is not held against the fleet, however small the application's latency is:
/// a network's jitter is larger.
const FLOOR: Duration = Duration::from_micros(200);

/// Fewer statements than this at once, on average while the fleet rests, are nobody's work: the
/// fleet's own heartbeats are among them.
const APPLICATION: f64 = 0.1;

/// When the whole fleet rests: at the beginning of each period of the database's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rhythm {
    /// Milliseconds from rest to rest.
    every: u32,
}

impl Rhythm {
    /// While the answer is uncertain.
    pub const FREQUENT: Self = Self { every: 2_000 };
    /// Once it is known. A multiple of the other, so that whoever learns of a change late rests
    /// in the rests of both.
    pub const SELDOM: Self = Self { every: 6_000 };

    /// How long a rest is. With chunks of 20 ms under way at its begin most of it is quiet.
    pub const REST: Duration = Duration::from_millis(300);

    /// How much of the rest is left at `now`, by the database's clock; zero outside of it.
    #[must_use]
    pub fn rest_left(self, now: DateTime<Utc>) -> Duration {
        Self::REST.saturating_sub(self.position(now).1)
    }

    /// The number of the period that `at` is in, and how far into it.
    fn position(self, at: DateTime<Utc>) -> (i64, Duration) {
        let every = i64::from(self.every.max(1_000));
        let millis = at.timestamp_millis();
        let into = u64::try_from(millis.rem_euclid(every)).unwrap_or_default();
        (millis.div_euclid(every), Duration::from_millis(into))
    }
}

/// A latency with the fleet at work, and one with the fleet at rest; seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Latency {
    pub with: f64,
    pub without: f64,
}

/// What the fleet adds, as it is published and shown.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Impact {
    pub median: Latency,
    /// The standard error of [`Self::added_share`].
    pub added_error: f64,
    /// What all but the slowest hundredth keep below; `None` while too few beats were counted
    /// in rests.
    pub p99: Option<Latency>,
    /// Statements that the server executes at once while the fleet rests.
    pub running_without: f64,
}

impl Impact {
    /// Whether anybody is there whom the fleet could disturb.
    #[must_use]
    pub fn has_application(&self) -> bool {
        self.running_without >= APPLICATION
    }

    /// What the fleet adds to the median, in proportion to the median without it.
    #[must_use]
    pub fn added_share(&self) -> f64 {
        let Latency { with, without } = self.median;
        ((with - without) / without.max(f64::MIN_POSITIVE)).max(0.0)
    }

    /// Seconds that the fleet adds to the slowest hundredth.
    #[must_use]
    pub fn added_tail(&self) -> Option<f64> {
        self.p99.map(|Latency { with, without }| (with - without).max(0.0))
    }

    /// `application 1.7 ms, 1.5 ms without the fleet (+13 %, limit 25 %)`, with the limit of
    /// [`Self::readings`].
    #[must_use]
    pub fn text(&self, limit: f64) -> String {
        let Latency { with, without } = self.median;
        let mut text = format!(
            "application {:.1} ms, {:.1} ms without the fleet (+{:.0} %, limit {:.0} %)",
            with * 1e3,
            without * 1e3,
            self.added_share() * 100.0,
            limit * 100.0
        );
        if let Some(Latency { with, without }) = self.p99 {
            let tail =
                format!("; slowest 1 % {:.0} ms, {:.0} ms without", with * 1e3, without * 1e3);
            text.push_str(&tail);
        }
        text
    }

    /// The signals for the throttle, at a limit of `percent` of the median. There are none
    /// where no application is at work.
    #[must_use]
    pub fn readings(&self, host: &str, percent: u32) -> Vec<Reading> {
        if !self.has_application() {
            return Vec::new();
        }
        let limit = f64::from(percent) / 100.0;
        let floor = FLOOR.as_secs_f64() / self.median.without.max(f64::MIN_POSITIVE);
        let share =
            Reading::new(Signal::ApplicationMedian, host, self.added_share(), limit.max(floor));
        let tail = self.added_tail().map(|added| {
            let limit = DEFAULT_TAIL.as_secs_f64() * limit * 100.0 / f64::from(DEFAULT_PERCENT);
            Reading::new(Signal::ApplicationTail, host, added, limit)
        });
        std::iter::once(share).chain(tail).collect()
    }
}

#[cfg(test)]
mod tests;
