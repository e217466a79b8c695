//! How long to wait before the next attempt: exponential, with full jitter, so that
//! workers that failed together do not come back together.

use std::time::Duration;

use rand::{Rng, RngExt};

/// Exponential backoff with full jitter: a delay drawn evenly from nothing to
/// `base * 2^(attempt - 1)`, at most `cap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    pub base: Duration,
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_secs(1), cap: Duration::from_mins(5) }
    }
}

impl Backoff {
    /// The longest delay after `attempt` failed attempts (the first is 1).
    #[must_use]
    pub fn ceiling(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        self.base.checked_mul(1 << doublings).unwrap_or(self.cap).min(self.cap)
    }

    /// A delay after `attempt` failed attempts (the first is 1).
    pub fn delay(&self, attempt: u32, rng: &mut impl Rng) -> Duration {
        self.ceiling(attempt).mul_f64(rng.random::<f64>())
    }
}

/// How long a backfill's next sweep waits after `idle` rounds in a row that wrote nothing:
/// what they left is held by the application, which a walk over the whole table only slows.
/// Nothing after a round that wrote, then half a second, doubled each time, at most a minute.
#[must_use]
pub fn sweep_delay(idle: u32) -> Duration {
    const IDLE: Backoff = Backoff { base: Duration::from_millis(500), cap: Duration::from_mins(1) };
    if idle == 0 { Duration::ZERO } else { IDLE.ceiling(idle) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;

    use super::*;

    proptest! {
        #[test]
        fn a_delay_is_at_most_its_ceiling(attempt in 0u32..200, seed: u64) {
            let backoff = Backoff::default();
            let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
            let delay = backoff.delay(attempt, &mut rng);
            prop_assert!(delay <= backoff.ceiling(attempt));
            prop_assert!(backoff.ceiling(attempt) <= backoff.cap);
            prop_assert!(backoff.ceiling(attempt) <= backoff.ceiling(attempt + 1));
        }
    }

    #[test]
    fn a_sweep_waits_longer_the_more_found_nothing_to_write() {
        let delays = [0, 1, 2, 3, 8, 1_000].map(|idle| sweep_delay(idle).as_millis());
        assert_eq!(delays, [0, 500, 1_000, 2_000, 60_000, 60_000]);
    }

    #[test]
    fn the_ceiling_doubles() {
        let backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(60) };
        let ceilings = [1, 2, 3, 7].map(|attempt| backoff.ceiling(attempt).as_secs());
        assert_eq!(ceilings, [1, 2, 4, 60]);
    }
}
