//! An average that forgets: for gauges that jump from look to look.

use std::time::{Duration, Instant};

use reelshift_store::signals::Figure;

/// A second look counts half as much after this: long enough to see past a jump, short
/// enough to brake within seconds.
const HALF_LIFE: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct Smooth(Option<(Instant, f64)>);

impl Smooth {
    /// Learns that the gauge stood at `value`.
    pub(super) fn observe(&mut self, value: f64, now: Instant) {
        let mean = self.0.map_or(value, |(at, mean)| {
            let passed = now.saturating_duration_since(at).as_secs_f64();
            let weight = 0.5_f64.powf(passed / HALF_LIFE.as_secs_f64());
            mean * weight + value * (1.0 - weight)
        });
        self.0 = Some((now, mean));
    }

    /// The average with `figure` in it; where that is not given, there is none.
    pub(super) fn of(&mut self, figure: Figure, now: Instant) -> Figure {
        let Figure::Is(value) = figure else {
            self.0 = None;
            return figure;
        };
        self.observe(value, now);
        self.0.map_or(figure, |(_, mean)| Figure::Is(mean))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_counts_little_and_a_stay_counts_whole() {
        let start = Instant::now();
        let mut smooth = Smooth::default();
        assert_eq!(smooth.of(Figure::Is(2.0), start), Figure::Is(2.0));
        let tick = |n: u32| start + Duration::from_millis(250) * n;
        let jumped = smooth.of(Figure::Is(10.0), tick(1)).value().expect("a mean");
        assert!((2.0..3.0).contains(&jumped), "{jumped}");
        (2..40).for_each(|n| smooth.observe(10.0, tick(n)));
        let stayed = smooth.of(Figure::Is(10.0), tick(40)).value().expect("a mean");
        assert!((9.7..=10.0).contains(&stayed), "{stayed}");
        let gone = Figure::NotGiven("denied".to_owned());
        assert_eq!(smooth.of(gone.clone(), tick(41)), gone);
    }
}
