//! Periodic work that any worker could do for the fleet: looking for silent workers, settling
//! runs. A fleet of hundreds does it as often as one of [`ENOUGH`], not hundreds of times
//! as often.

use std::sync::atomic::{AtomicU32, Ordering};

use rand::RngExt;

/// Workers that take every turn: the next one's comes soon enough whichever dies.
const ENOUGH: f64 = 8.0;
/// Every worker takes one turn in so many at the least, however large the fleet seems: where
/// nearly all of it was lost in one moment, the few that are left find out within seconds.
const RAREST: f64 = 10.0;

/// Which periodic work for the fleet falls to this worker.
#[derive(Debug, Default)]
pub struct Lottery {
    live: AtomicU32,
}

impl Lottery {
    /// The fleet has `live` workers.
    pub fn set_live(&self, live: u32) {
        self.live.store(live, Ordering::Relaxed);
    }

    /// Whether this worker does it this time: drawn, so that workers need not agree.
    #[must_use]
    pub fn wins(&self) -> bool {
        rand::rng().random_bool(self.share())
    }

    fn share(&self) -> f64 {
        let live = f64::from(self.live.load(Ordering::Relaxed));
        (ENOUGH / live.max(1.0)).clamp(1.0 / RAREST, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_fleet_takes_every_turn_and_a_large_one_its_part() {
        let lottery = Lottery::default();
        for (live, share) in [(0, 1.0), (1, 1.0), (8, 1.0), (16, 0.5), (80, 0.1), (5_000, 0.1)] {
            lottery.set_live(live);
            assert!((lottery.share() - share).abs() < 1e-9, "{live} workers");
        }
        let taken = (0..10_000).filter(|_| lottery.wins()).count();
        assert!((700..1_300).contains(&taken), "about a tenth: {taken}");
    }
}
