//! What the fleet adds to the application's latency.
//!
//! A canary executes what an application does, many times a second, and the whole fleet rests
//! together for a moment now and then. So the same seconds give the latency with the fleet and
//! the one without it, whatever the application itself is doing.

mod meter;
mod statements;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use meter::{Beat, Meter};
pub use statements::{Slowed, StatementLatency, StatementMeter, StatementTotal};

use crate::throttle::{Reading, Signal};

/// The limit of [`Impact::added_share`] by default, in percent.
pub const DEFAULT_PERCENT: u32 = 25;

/// The limit of [`Impact::added_tail`] at [`DEFAULT_PERCENT`]; it follows in proportion.
const DEFAULT_TAIL: Duration = Duration::from_millis(10);

/// Less than this is not held against the fleet, however small the application's latency is:
/// a network's jitter is larger.
const FLOOR: Duration = Duration::from_micros(200);

/// After the begin of a rest or of work: what was under way ends.
const GUARD: Duration = Duration::from_millis(60);

/// A beat that begins this close to the end of a rest may meet the work after it.
const LAST: Duration = Duration::from_millis(30);

/// 2^64 divided by the golden ratio.
const GOLDEN: i64 = 0x9E37_79B9_7F4A_7C15_u64.cast_signed();

/// Fewer statements than this at once, on average while the fleet rests, are nobody's work: the
/// fleet's own heartbeats are among them.
pub const APPLICATION: f64 = 0.1;

/// What a beat of the canary that begins at some moment is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    With,
    Without,
}

/// When the whole fleet rests: at the beginning of each period of the database's clock. Once a
/// period, for as long as a rest, the canary measures the application with the fleet at work.
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

    /// What a beat at `at` is counted as; `None` where it is not. Both sides are measured for
    /// equally long, at the same pace and after the same time of it: a connection that was just
    /// in use answers sooner.
    #[must_use]
    pub fn side(self, at: DateTime<Utc>) -> Option<Side> {
        let (period, into) = self.position(at);
        let counted = GUARD..Self::REST.saturating_sub(LAST);
        if counted.contains(&into) {
            return Some(Side::Without);
        }
        let after = into.checked_sub(self.window(period))?;
        counted.contains(&after).then_some(Side::With)
    }

    /// How long at `now` until beats come to count; zero while they do, or nearly.
    #[must_use]
    pub fn until_counted(self, now: DateTime<Utc>) -> Duration {
        let (period, into) = self.position(now);
        let window = self.window(period);
        if into < Self::REST || (window..window + Self::REST).contains(&into) {
            Duration::ZERO
        } else if into < window {
            window - into
        } else {
            self.length() - into
        }
    }

    /// How far into a period the fleet at work is measured: elsewhere in each, since chunks
    /// follow the rests in a rhythm of their own.
    fn window(self, period: i64) -> Duration {
        let (first, last) = (Self::REST + GUARD, self.length().saturating_sub(Self::REST));
        // Multiplicative hashing: consecutive periods are far apart.
        let hash = period.wrapping_mul(GOLDEN).cast_unsigned() >> 32;
        let span = u64::try_from(last.saturating_sub(first).as_millis()).unwrap_or_default();
        first + Duration::from_millis((hash * span) >> 32)
    }

    const fn length(self) -> Duration {
        Duration::from_millis(if self.every < 1_000 { 1_000 } else { self.every as u64 })
    }

    /// The number of the period that `at` is in, and how far into it.
    fn position(self, at: DateTime<Utc>) -> (i64, Duration) {
        let every = i64::try_from(self.length().as_millis()).unwrap_or(i64::MAX);
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
        let share = Reading {
            error: Some(self.added_error),
            ..Reading::new(Signal::ApplicationMedian, host, self.added_share(), limit.max(floor))
        };
        let tail = self.added_tail().map(|added| {
            let limit = DEFAULT_TAIL.as_secs_f64() * limit * 100.0 / f64::from(DEFAULT_PERCENT);
            Reading::new(Signal::ApplicationTail, host, added, limit)
        });
        std::iter::once(share).chain(tail).collect()
    }
}

#[cfg(test)]
mod tests;
