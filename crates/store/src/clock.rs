//! Whether the database's clock goes on as this process' own does, which never steps. It may be
//! set, or be another server's after a failover.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A difference that a slow answer or a clock that is being slewed can make.
const TOLERANCE_SECONDS: f64 = 2.0;

/// What was seen of the database's clock.
#[derive(Debug)]
pub struct ClockWatch(Mutex<State>);

#[derive(Debug)]
struct State {
    last: Instant,
    last_seconds: f64,
    steady_since: Instant,
}

impl ClockWatch {
    /// Begins with what the database's clock says now, in seconds since 1970.
    #[must_use]
    pub fn begin(seconds: f64) -> Self {
        let now = Instant::now();
        Self(Mutex::new(State { last: now, last_seconds: seconds, steady_since: now }))
    }

    /// Looks at the clock again. `Some` is by how many seconds it has stepped since the last
    /// look, back where that is negative.
    pub fn observe(&self, seconds: f64) -> Option<f64> {
        self.observe_at(seconds, Instant::now())
    }

    fn observe_at(&self, seconds: f64, now: Instant) -> Option<f64> {
        let mut state = self.state();
        let passed = now.duration_since(state.last).as_secs_f64();
        let step = seconds - state.last_seconds - passed;
        (state.last, state.last_seconds) = (now, seconds);
        if step.abs() <= TOLERANCE_SECONDS {
            return None;
        }
        state.steady_since = now;
        Some(step)
    }

    /// For how long it has not stepped.
    #[must_use]
    pub fn steady_for(&self) -> Duration {
        self.state().steady_since.elapsed()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_from_time_that_passes() {
        let watch = ClockWatch::begin(1_000.0);
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(watch.observe_at(1_010.1, at(10)), None);
        // A slow answer.
        assert_eq!(watch.observe_at(1_019.0, at(20)), None);
        let back = watch.observe_at(1_029.0 - 3_600.0, at(30)).expect("a step");
        assert!((back + 3_600.0).abs() < 1.0, "{back}");
        assert_eq!(watch.observe_at(1_039.0 - 3_600.0, at(40)), None, "told once");
        let forth = watch.observe_at(1_049.0, at(50)).expect("a step");
        assert!((forth - 3_600.0).abs() < 1.0, "{forth}");
    }
}
