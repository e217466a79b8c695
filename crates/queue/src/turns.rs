//! Who does what any worker could do for the fleet: looking for silent workers, settling
//! runs. A fleet of hundreds does it as often as one of [`ENOUGH`], not hundreds of times
//! as often.

use std::sync::atomic::{AtomicU32, Ordering};

use rand::RngExt;

/// Workers that take every turn: the next one's comes soon enough whichever dies.
const ENOUGH: f64 = 8.0;
/// Every worker takes one turn in so many at the least, however large the fleet seems: where
/// nearly all of it was lost in one moment, the few that are left find out within seconds.
const RAREST: f64 = 10.0;

/// The turns of one worker.
#[derive(Debug, Default)]
pub struct Turns {
    live: AtomicU32,
}

impl Turns {
    /// The fleet has `live` workers.
    pub fn among(&self, live: u32) {
        self.live.store(live, Ordering::Relaxed);
    }

    /// Whether this turn is taken here. By chance, so that nobody has to be told whose it is.
    #[must_use]
    pub fn mine(&self) -> bool {
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
        let turns = Turns::default();
        for (live, share) in [(0, 1.0), (1, 1.0), (8, 1.0), (16, 0.5), (80, 0.1), (5_000, 0.1)] {
            turns.among(live);
            assert!((turns.share() - share).abs() < 1e-9, "{live} workers");
        }
        let taken = (0..10_000).filter(|_| turns.mine()).count();
        assert!((700..1_300).contains(&taken), "about a tenth: {taken}");
    }
}
