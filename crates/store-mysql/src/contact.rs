//! For how long this process has been in touch with the database without a break.
//!
//! After an outage every worker's heartbeat is old, though all may live. So nobody takes
//! another's leases before it has been in touch again for as long as a silent worker is
//! waited for.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A heartbeat that comes this long after the one before means that this process, or its
/// way to the database, stood still meanwhile. Heartbeats come every 2 s.
const BREAK: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Contact(Mutex<State>);

#[derive(Debug)]
struct State {
    /// `None` while the database is out of reach.
    since: Option<Instant>,
    last_heartbeat: Option<Instant>,
}

impl Contact {
    pub(crate) fn begin() -> Self {
        Self(Mutex::new(State { since: Some(Instant::now()), last_heartbeat: None }))
    }

    /// A heartbeat reached the database, or did not.
    pub(crate) fn heartbeat(&self, reached: bool) {
        self.heartbeat_at(reached, Instant::now());
    }

    fn heartbeat_at(&self, reached: bool, now: Instant) {
        let mut state = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let stood_still = state.last_heartbeat.is_some_and(|last| now - last > BREAK);
        state.since = match (reached, stood_still) {
            (false, _) => None,
            (true, true) => Some(now),
            (true, false) => state.since.or(Some(now)),
        };
        state.last_heartbeat = Some(now);
    }

    /// Whether contact has lasted for `timeout`.
    pub(crate) fn lasted(&self, timeout: Duration) -> bool {
        self.lasted_at(timeout, Instant::now())
    }

    fn lasted_at(&self, timeout: Duration, now: Instant) -> bool {
        let state = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.since.is_some_and(|since| now - since >= timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_starts_the_wait_again() {
        let contact = Contact::begin();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let timeout = Duration::from_secs(8);
        assert!(!contact.lasted_at(timeout, at(2)));
        for second in [2, 4, 6, 8] {
            contact.heartbeat_at(true, at(second));
        }
        assert!(contact.lasted_at(timeout, at(9)));

        contact.heartbeat_at(false, at(10));
        assert!(!contact.lasted_at(timeout, at(30)), "out of reach");
        contact.heartbeat_at(true, at(12));
        assert!(!contact.lasted_at(timeout, at(19)));
        assert!(contact.lasted_at(timeout, at(20)));
    }

    #[test]
    fn a_frozen_process_waits_again() {
        let contact = Contact::begin();
        let start = Instant::now();
        contact.heartbeat_at(true, start);
        contact.heartbeat_at(true, start + Duration::from_secs(60));
        assert!(!contact.lasted_at(Duration::from_secs(8), start + Duration::from_secs(61)));
    }
}
