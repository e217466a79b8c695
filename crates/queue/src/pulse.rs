//! Whether a worker lives and is ready, as its heartbeat knows it. Written by the heartbeat,
//! read by whoever asks, which must not wait for the database.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// A beat waits for the database for at most 10 s (SQLite's lock) and fails sooner
/// elsewhere: a heartbeat that has not come round for this long is stuck.
const STUCK: Duration = Duration::from_secs(30);

/// The pulse of one worker process.
#[derive(Debug, Default)]
pub struct Pulse(Mutex<Beats>);

#[derive(Debug, Clone, Copy, Default)]
struct Beats {
    /// How long an answer counts; a worker silent for longer loses its leases.
    timeout: Duration,
    /// When the heartbeat last came round, and when the database last answered it.
    tried: Option<Instant>,
    answered: Option<Instant>,
    leaving: bool,
}

impl Pulse {
    fn change(&self, change: impl FnOnce(&mut Beats)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn beats(&self) -> Beats {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self, timeout: Duration) {
        let now = Some(Instant::now());
        self.change(|beats| *beats = Beats { timeout, tried: now, answered: now, leaving: false });
    }

    pub(crate) fn beat(&self, answered: bool) {
        self.change(|beats| {
            beats.tried = Some(Instant::now());
            if answered {
                beats.answered = beats.tried;
            }
        });
    }

    /// The worker drains: it takes nothing more.
    pub fn leave(&self) {
        self.change(|beats| beats.leaving = true);
    }

    /// # Errors
    /// Says for how long the heartbeat has been stuck: only a new start helps.
    pub fn live(&self) -> Result<(), String> {
        match self.beats().tried {
            Some(tried) if tried.elapsed() > STUCK => {
                Err(format!("the heartbeat has been stuck for {} s", tried.elapsed().as_secs()))
            }
            _ => Ok(()),
        }
    }

    /// # Errors
    /// Says why no batch is taken: the database is away, or the worker comes or goes.
    pub fn ready(&self) -> Result<(), String> {
        let beats = self.beats();
        match beats.answered {
            _ if beats.leaving => Err("this worker leaves the fleet".to_owned()),
            None => Err("this worker has not joined the fleet yet".to_owned()),
            Some(answered) if answered.elapsed() > beats.timeout => Err(format!(
                "the database has not answered a heartbeat for {} s",
                answered.elapsed().as_secs()
            )),
            Some(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ago(time: Duration) -> Option<Instant> {
        Instant::now().checked_sub(time)
    }

    #[test]
    fn a_worker_is_ready_from_joining_to_leaving() {
        let pulse = Pulse::default();
        assert!(pulse.live().is_ok() && pulse.ready().is_err());
        pulse.begin(Duration::from_secs(8));
        assert!(pulse.live().is_ok() && pulse.ready().is_ok());
        pulse.leave();
        assert!(pulse.live().is_ok() && pulse.ready().is_err());
    }

    #[test]
    fn a_database_that_is_gone_makes_it_unready_not_dead() {
        let pulse = Pulse::default();
        pulse.begin(Duration::from_secs(8));
        pulse.change(|beats| beats.answered = ago(Duration::from_secs(9)));
        pulse.beat(false);
        assert!(pulse.live().is_ok());
        assert!(pulse.ready().expect_err("gone").contains("has not answered"));
        pulse.beat(true);
        assert!(pulse.ready().is_ok());
    }

    #[test]
    fn a_stuck_heartbeat_is_no_life() {
        let pulse = Pulse::default();
        pulse.begin(Duration::from_secs(8));
        pulse.change(|beats| beats.tried = ago(STUCK + Duration::from_secs(1)));
        assert!(pulse.live().expect_err("stuck").contains("stuck"));
    }
}
