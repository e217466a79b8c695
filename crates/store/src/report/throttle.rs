//! What the throttle published, as workers go by it and people see it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reelshift_plan::impact::{Rhythm, Slowed};
use reelshift_plan::throttle::{Level, MIN_CHUNKS, Reading, Signal, State, at_once};
use reelshift_plan::{Impact, Tuning};
use serde::Serialize;

use crate::duties::Duty;

/// The fleet's duty of sampling, and the name under which its state is published.
pub const DUTY: &str = "throttle";

/// What was published is gone by for this long, then it is as if nothing were.
pub const STALE: Duration = Duration::from_secs(10);

/// The brake of the fleet at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ThrottleReport {
    pub level: Level,
    /// The part of the fleet's capacity that may work, 0 to 1.
    pub share: f64,
    /// Backfill chunks that may run at once in the fleet, on average; below 1 that one
    /// rests for the rest of the time.
    pub chunks: f64,
    pub at_once: u32,
    /// Chunks that the fleet's workers would run at once.
    pub capacity: u32,
    /// Workers that the server's connections are enough for; `None` where they are not counted.
    pub workers: Option<u32>,
    /// `replica lag 7.1 s > 5.0 s on db-2:3306`; `None` while nothing stands in the way.
    pub reason: Option<String>,
    /// Since when the level is this one; `None` where nothing was published.
    pub since: Option<DateTime<Utc>>,
    pub seconds: Option<f64>,
    /// Which worker samples, and how long ago it did.
    pub sampler: Option<String>,
    pub sampled_seconds_ago: Option<f64>,
    pub readings: Vec<Reading>,
    /// Signals that this database does not give.
    pub unavailable: Vec<String>,
    /// When the whole fleet rests, so that what it adds can be measured.
    #[serde(skip)]
    pub rhythm: Option<Rhythm>,
    /// What the fleet adds to the application's latency, as far as it was measured.
    pub impact: Option<Impact>,
    /// Which of its statements are slowed, as far as that was measured.
    pub slowed: Option<Slowed>,
}

impl ThrottleReport {
    /// What the fleet adds to the application's latency, against its limit; `None` where it is
    /// not known, or where no application is at work.
    #[must_use]
    pub fn application(&self) -> Option<String> {
        let median =
            self.readings.iter().find(|reading| reading.signal == Signal::ApplicationMedian);
        Some(self.impact?.text(median?.limit))
    }

    /// The report that `duties` hold. What is missing, old or unreadable slows the fleet
    /// down to the least; nothing does where the throttle is switched off.
    #[must_use]
    pub fn of(duties: &[Duty], tuning: &Tuning) -> Self {
        let report = Self::published(duties);
        if tuning.throttle {
            return report;
        }
        Self {
            level: Level::Free,
            share: 1.0,
            chunks: f64::from(u32::MAX),
            at_once: u32::MAX,
            reason: Some("switched off by tune throttle=off".to_owned()),
            rhythm: None,
            impact: None,
            slowed: None,
            ..report
        }
    }

    fn published(duties: &[Duty]) -> Self {
        match published(duties) {
            Ok((duty, state)) => Self::of_state(duty, state),
            Err(why) => {
                let duty = duties.iter().find(|duty| duty.name == DUTY);
                Self {
                    level: Level::Blind,
                    share: MIN_CHUNKS,
                    chunks: MIN_CHUNKS,
                    at_once: at_once(MIN_CHUNKS),
                    capacity: 0,
                    workers: None,
                    reason: Some(why),
                    since: None,
                    seconds: None,
                    sampler: None,
                    sampled_seconds_ago: duty.map(|duty| duty.silent_seconds),
                    readings: Vec::new(),
                    unavailable: Vec::new(),
                    rhythm: None,
                    impact: None,
                    slowed: None,
                }
            }
        }
    }

    fn of_state(duty: &Duty, state: State) -> Self {
        // Both times are the database's.
        let level_for = (state.at - state.since).to_std().unwrap_or_default().as_secs_f64();
        Self {
            level: state.level,
            share: state.share(),
            chunks: state.chunks,
            at_once: at_once(state.chunks),
            capacity: state.capacity,
            workers: state.workers,
            reason: state.reason.as_ref().map(ToString::to_string),
            since: Some(state.since),
            seconds: Some(level_for + duty.silent_seconds),
            sampler: duty.holder.clone(),
            sampled_seconds_ago: Some(duty.silent_seconds),
            readings: state.readings,
            unavailable: state.unavailable,
            rhythm: state.rhythm,
            impact: state.impact,
            slowed: state.slowed,
        }
    }
}

/// The state in `duties` while it may be gone by.
#[must_use]
pub fn fresh_state(duties: &[Duty]) -> Option<State> {
    published(duties).ok().map(|(_, state)| state)
}

fn published(duties: &[Duty]) -> Result<(&Duty, State), String> {
    let nothing = || "nothing was published yet: the first sample comes within seconds".to_owned();
    let duty = duties.iter().find(|duty| duty.name == DUTY).ok_or_else(nothing)?;
    if duty.silent_seconds > STALE.as_secs_f64() {
        return Err(format!(
            "no worker has published the signals for {:.0} s",
            duty.silent_seconds
        ));
    }
    let state = duty.state.as_ref().ok_or_else(nothing)?;
    let state: State = serde_json::from_value(state.clone())
        .map_err(|error| format!("what a worker published cannot be read: {error}"))?;
    if state.chunks.is_finite() && state.chunks >= 0.0 {
        Ok((duty, state))
    } else {
        Err(format!("what a worker published makes no sense: {} chunks", state.chunks))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn duty(silent_seconds: f64, state: Option<serde_json::Value>) -> Vec<Duty> {
        vec![Duty { name: DUTY.to_owned(), holder: None, silent_seconds, state }]
    }

    fn state(chunks: f64) -> serde_json::Value {
        json!({
            "level": "free", "since": "2026-01-01T00:00:00Z", "at": "2026-01-01T00:01:00Z",
            "chunks": chunks, "capacity": 8, "reason": null, "readings": [], "unavailable": []
        })
    }

    #[test]
    fn what_is_fresh_is_gone_by() {
        let report = ThrottleReport::of(&duty(2.0, Some(state(6.5))), &Tuning::default());
        assert_eq!((report.level, report.at_once, report.seconds), (Level::Free, 6, Some(62.0)));
        assert!((report.share - 6.5 / 8.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_missing_old_or_unreadable_is_the_least() {
        for (duties, says) in [
            (Vec::new(), "nothing was published yet"),
            (duty(0.5, None), "nothing was published yet"),
            (duty(11.0, Some(state(6.5))), "for 11 s"),
            (duty(0.5, Some(json!({ "level": "turbo" }))), "cannot be read"),
            (duty(0.5, Some(state(-1.0))), "makes no sense"),
        ] {
            let report = ThrottleReport::of(&duties, &Tuning::default());
            assert_eq!((report.level, report.chunks), (Level::Blind, MIN_CHUNKS));
            assert!(report.reason.expect("a reason").contains(says), "{says}");
        }
    }
}
