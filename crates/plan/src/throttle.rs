//! The fleet's brake: how many backfill chunks may run at once, from what the database
//! says of its strain.
//!
//! One number, the chunks that may run at once on average, goes up by additions while
//! every signal is well below its limit and down by factors while one is above it. From
//! one chunk up it is rounded down, so that chunks which would only make each other (and
//! the application) slower are not run at all; below one it is the part of the time in
//! which the one chunk runs, the rest is pause.
//!
//! What cannot be seen is not taken for good: a signal that should be there and is not
//! slows the fleet down to [`MIN_CHUNKS`].

pub mod signal;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use signal::{Reading, Signal};

use crate::impact::{Impact, Rhythm, Slowed};

/// One chunk a twentieth of the time: with the default target of 20 ms two a second, which
/// no application notices, and progress all the same.
pub const MIN_CHUNKS: f64 = 0.05;

/// Where a fleet starts, and the most that it takes up after a stop before it has seen how
/// the server bears it: one chunk at a time is what was measured to leave applications alone.
const START_CHUNKS: f64 = 1.0;

/// Of the fleet's capacity, a second: from nothing to everything in twenty seconds, slow
/// against the signals, which follow within two or three.
const INCREASE: f64 = 0.05;

/// A second above the limit, or a measurement ([`Signal::is_measured`]), takes at least a tenth
/// and at most half of the chunks.
const DECREASE: std::ops::RangeInclusive<f64> = 0.5..=0.9;

/// A signal must fall below this part of its limit before chunks are added again, so that
/// the brake does not flutter around the limit.
pub(crate) const CLEAR: f64 = 0.8;

/// Before more chunks are run at once than now: the signals, which are averaged over the
/// last seconds, must have shown those that were added last.
const SETTLE: Duration = Duration::from_secs(5);

/// Between two raises beside an application: time to measure what the last one did.
const MEASURED_SETTLE: Duration = Duration::from_secs(6);

/// The most that a measurement raises the chunks by.
const MAX_RAISE: f64 = 2.0;

/// Close to the next whole chunk and yet not there.
const NOT_ONE_MORE: f64 = 0.95;

/// A step stands for at most this time, so that a sampler that stood still does not make
/// up for it in one jump.
const MAX_STEP: Duration = Duration::from_secs(2);

/// What the brake does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ThrottleLevel))]
#[serde(rename_all = "snake_case")]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum Level {
    /// Nothing stands in the way: all chunks, or more with every second.
    Free,
    /// Nothing is above its limit, but one more chunk would be too many.
    Held,
    /// A signal is, or was until just now, above its limit.
    Slowed,
    /// A signal that should be there is missing.
    Blind,
    /// A safety signal is, or was until just now, above its limit: no chunk starts.
    Stopped,
}

impl Level {
    /// Every name.
    pub const NAMES: [&str; 5] = [
        Self::Free.into_str(),
        Self::Held.into_str(),
        Self::Slowed.into_str(),
        Self::Blind.into_str(),
        Self::Stopped.into_str(),
    ];

    /// Whether operators should know.
    #[must_use]
    pub const fn is_throttled(self) -> bool {
        matches!(self, Self::Slowed | Self::Blind | Self::Stopped)
    }
}

/// What the brake came to, as it is published to the fleet and shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub level: Level,
    /// Since when it is at this level; the database's clock.
    pub since: DateTime<Utc>,
    /// When it was sampled, by the same clock.
    pub at: DateTime<Utc>,
    /// Chunks that may run at once in the whole fleet, on average; 0 stops it.
    pub chunks: f64,
    /// Chunks that the fleet's workers would run at once.
    pub capacity: u32,
    /// Workers that the server's connections are enough for; `None` where they are not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<u32>,
    /// The limiting signal, unless the level is `free`.
    pub reason: Option<Reading>,
    /// Every signal as it was read.
    pub readings: Vec<Reading>,
    /// Signals that this database does not give, each with the reason; not waited for.
    pub unavailable: Vec<String>,
    /// When the whole fleet rests, so that what it adds can be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rhythm: Option<Rhythm>,
    /// What the fleet adds to the application's latency, as far as it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impact: Option<Impact>,
    /// Which of its statements are slowed, as far as that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slowed: Option<Slowed>,
}

impl State {
    /// The part of the fleet's capacity that may work, 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        (self.chunks / f64::from(self.capacity.max(1))).clamp(0.0, 1.0)
    }
}

/// What the throttle leaves to a process that writes one chunk at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowance {
    /// As [`State::chunks`]: below 1 it rests, at 0 it stops.
    pub chunks: f64,
    /// The time that a chunk aims at.
    pub target: Duration,
}

/// Chunks that may run at once in the fleet, for [`State::chunks`] chunks on average.
#[must_use]
pub fn at_once(chunks: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and is never negative"
    )]
    let whole = chunks.max(0.0).floor() as u32;
    if chunks > 0.0 { whole.max(1) } else { 0 }
}

/// How long to rest after a chunk of `took`, for [`State::chunks`] chunks on average: what
/// is below one chunk at a time is rest. `None` where no chunk may start.
#[must_use]
pub fn rest(chunks: f64, took: Duration) -> Option<Duration> {
    /// However slow a chunk was, its worker looks again after this.
    const MAX_REST: Duration = Duration::from_secs(10);
    (chunks > 0.0).then(|| took.mul_f64(1.0 / chunks.clamp(MIN_CHUNKS, 1.0) - 1.0).min(MAX_REST))
}

/// The controller: one for the fleet, with whoever samples the signals.
#[derive(Debug, Clone)]
pub struct Throttle {
    chunks: f64,
    /// What is to be added once it is seen how the chunks added last were borne.
    credit: f64,
    /// Since chunks were added to those that run at once.
    settled: Duration,
    /// Whether it is about to be known what the fleet adds: until then nothing is added.
    pub measuring: bool,
    /// The last measurement that was answered.
    measured: Option<Reading>,
    /// The level, and since when.
    level: Option<(Level, DateTime<Utc>)>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            chunks: START_CHUNKS,
            credit: 0.0,
            settled: Duration::ZERO,
            measuring: false,
            measured: None,
            level: None,
        }
    }
}

impl Throttle {
    /// Goes on where another sampler, which has just been lost, had come to.
    #[must_use]
    pub fn resume(state: &State) -> Self {
        let chunks = if state.chunks.is_finite() { state.chunks.max(0.0) } else { 0.0 };
        let level = Some((state.level, state.since));
        Self { chunks, level, ..Self::default() }
    }

    /// Learns what was read at `now`, `elapsed` after the step before, for a fleet that
    /// would run `capacity` chunks at once.
    pub fn step(
        &mut self,
        readings: Vec<Reading>,
        unavailable: Vec<String>,
        capacity: u32,
        elapsed: Duration,
        now: DateTime<Utc>,
    ) -> State {
        let seconds = elapsed.min(MAX_STEP).as_secs_f64();
        let before = self.level.map_or(Level::Free, |(level, _)| level);
        let (mut level, mut reason) = judge(&readings, before);
        let mut credit = 0.0;
        self.settled += elapsed.min(MAX_STEP);
        let chunks = self.chunks;
        let possible = |reading: &Reading| reading.possible_pressure(chunks);
        let measured = readings.iter().filter(|reading| reading.signal.is_measured());
        let measured = measured.max_by(|a, b| possible(a).total_cmp(&possible(b)));
        let is_new = measured != self.measured.as_ref();
        self.measured = measured.cloned();
        match level {
            Level::Stopped => self.chunks = 0.0,
            Level::Blind => self.chunks = self.chunks.min(MIN_CHUNKS),
            Level::Slowed | Level::Held => {
                if let Some(reason) = reason.filter(|reason| reason.pressure() > 1.0) {
                    let factor =
                        (1.0 / reason.pressure()).clamp(*DECREASE.start(), *DECREASE.end());
                    let least = reason.signal.least_chunks().min(self.chunks);
                    let steps = match reason.signal.is_measured() {
                        true => f64::from(u8::from(is_new)),
                        false => seconds,
                    };
                    self.chunks = (self.chunks * factor.powf(steps)).max(least);
                }
                self.chunks = self.chunks.max(MIN_CHUNKS);
            }
            Level::Free => {
                let most = f64::from(capacity.max(1));
                let raised = match measured {
                    // As far as what is added then is likely to be clear of the limit.
                    Some(measured) if is_new && self.settled >= MEASURED_SETTLE => {
                        self.settled = Duration::ZERO;
                        self.chunks * (CLEAR / possible(measured)).clamp(1.0, MAX_RAISE)
                    }
                    Some(_) => self.chunks,
                    None if self.measuring => self.chunks,
                    None => self.chunks + self.credit + INCREASE * most * seconds,
                };
                let raised = raised.max(MIN_CHUNKS).min(most);
                let running = at_once(self.chunks).max(1);
                let full = readings.iter().min_by(|a, b| a.room().total_cmp(&b.room()));
                let borne = f64::from(running) + full.map_or(f64::INFINITY, Reading::room);
                // As far as it goes without one chunk more than the server bears.
                let allowed = raised.min(borne.floor() + NOT_ONE_MORE).max(self.chunks);
                if measured.is_none() && at_once(allowed) > running && self.settled < SETTLE {
                    credit = raised - self.chunks;
                } else {
                    self.chunks = allowed;
                }
                if at_once(allowed) == running && at_once(raised) > running {
                    (level, reason) = (Level::Held, full);
                } else if at_once(self.chunks) > running {
                    self.settled = Duration::ZERO;
                }
            }
        }
        self.credit = credit;
        self.chunks = self.chunks.min(f64::from(capacity.max(1)));
        let since = match self.level {
            Some((same, since)) if same == level => since,
            _ => now,
        };
        self.level = Some((level, since));
        let reason = reason.cloned();
        State {
            level,
            since,
            at: now,
            chunks: self.chunks,
            capacity,
            workers: None,
            reason,
            readings,
            unavailable,
            rhythm: None,
            impact: None,
            slowed: None,
        }
    }
}

/// The level that `readings` ask for after the level `before`, and the signal that is worst.
fn judge(readings: &[Reading], before: Level) -> (Level, Option<&Reading>) {
    let worst = |of: &dyn Fn(&Reading) -> bool| {
        readings
            .iter()
            .filter(|reading| of(reading))
            .max_by(|one, other| one.pressure().total_cmp(&other.pressure()))
    };
    let safety = worst(&|reading| reading.signal.is_safety() && reading.value.is_some());
    // Once stopped, a safety signal must be clear before anything starts again.
    let stop = if before == Level::Stopped { CLEAR } else { 1.0 };
    if let Some(safety) = safety.filter(|safety| safety.pressure() > stop) {
        return (Level::Stopped, Some(safety));
    }
    if let Some(missing) = readings.iter().find(|reading| reading.value.is_none()) {
        // Stopped and then blind: what stopped it may still be there.
        let level = if before == Level::Stopped && missing.signal.is_safety() {
            Level::Stopped
        } else {
            Level::Blind
        };
        return (level, Some(missing));
    }
    match worst(&|_| true) {
        Some(reading) if reading.pressure() > 1.0 => (Level::Slowed, Some(reading)),
        Some(reading) if reading.pressure() > CLEAR => {
            (if before.is_throttled() { Level::Slowed } else { Level::Held }, Some(reading))
        }
        _ => (Level::Free, None),
    }
}

#[cfg(test)]
mod tests;
