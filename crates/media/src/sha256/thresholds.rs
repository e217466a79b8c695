//! From how many streams on each way to run several at once is the fastest: measured once in
//! a process, as it differs from one processor to the next.

use std::time::Instant;

use super::backend::{Many, One};
use super::{Block, INITIAL, State, Work};

/// Blocks of each stream in one measurement, which takes a few microseconds.
const BLOCKS: usize = if cfg!(miri) { 1 } else { 64 };
/// The fastest of so many measurements counts: whatever else the machine does makes one only
/// slower. All of them together take a millisecond or two.
const ROUNDS: usize = if cfg!(miri) { 1 } else { 16 };
/// What a wider way must gain: putting streams into its lanes costs something too.
const GAIN: f64 = 1.03;

/// The threshold of each of `many`, which begin with the widest.
pub(super) fn measure(many: &[Many], one: One) -> Vec<usize> {
    let blocks: [Block; BLOCKS] = [[0x5a; 64]; BLOCKS];
    let seconds = |run: &mut dyn FnMut()| {
        let began = Instant::now();
        run();
        began.elapsed().as_secs_f64()
    };
    let mut ways: Vec<(usize, f64)> = many.iter().map(|way| (way.lanes, f64::INFINITY)).collect();
    let mut alone = f64::INFINITY;
    // All in turn, so that a change of the clock rate meets all.
    for _ in 0..ROUNDS {
        for (way, (lanes, best)) in many.iter().zip(&mut ways) {
            let stream = || Work { state: INITIAL, blocks: &blocks };
            let mut work: Vec<Work<'_>> = std::iter::repeat_with(stream).take(*lanes).collect();
            *best = best.min(seconds(&mut || (way.run)(std::hint::black_box(&mut work), 1)));
        }
        let mut state: State = INITIAL;
        alone = alone.min(seconds(&mut || one(std::hint::black_box(&mut state), &blocks)));
    }
    thresholds(&ways, alone)
}

/// The thresholds of ways with so many lanes and a time for equally many blocks of each,
/// where one stream alone takes `alone`. One that never pays has more than its lanes.
fn thresholds(ways: &[(usize, f64)], alone: f64) -> Vec<usize> {
    let rate =
        |&(lanes, seconds): &(usize, f64), streams: usize| lanes.min(streams) as f64 / seconds;
    let enough = |number: usize| {
        let (way, narrower) = (&ways[number], &ways[number + 1..]);
        let pays = |&streams: &usize| {
            let others = narrower.iter().map(|other| rate(other, streams));
            rate(way, streams) > others.fold(1.0 / alone, f64::max) * GAIN
        };
        (2..=way.0).find(pays).unwrap_or(usize::MAX)
    };
    (0..ways.len()).map(enough).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time of a way with so many lanes and such a rate in GB/s.
    fn way(lanes: usize, rate: f64) -> (usize, f64) {
        (lanes, lanes as f64 / rate)
    }

    #[test]
    fn thresholds_are_where_a_wider_way_gains() {
        const NEVER: usize = usize::MAX;
        // A Zen 4: sixteen lanes, four and two streams on the SHA extensions, one alone.
        let zen4 = [way(16, 2.83), way(4, 3.84), way(2, 3.29)];
        assert_eq!(thresholds(&zen4, 1.0 / 1.82), [NEVER, 4, 2]);
        // Sixteen lanes that gain where nearly all are busy.
        let other = [way(16, 2.72), way(4, 2.34), way(2, 2.34)];
        assert_eq!(thresholds(&other, 1.0 / 1.79), [15, NEVER, 2]);
        assert_eq!(thresholds(&[way(16, 2.72), way(8, 1.69)], 1.0 / 0.41), [11, 2]);
        // Four streams that gain, and sixteen lanes that do not.
        let other = [way(16, 2.0), way(4, 3.0), way(2, 2.0)];
        assert_eq!(thresholds(&other, 1.0 / 1.5), [NEVER, 3, 2]);
        // A single stream that nothing beats.
        assert_eq!(thresholds(&[way(2, 1.0)], 1.0), [NEVER]);
        assert_eq!(thresholds(&[], 1.0), Vec::<usize>::new());
    }
}
