//! How long the rest takes, from what was measured.

use std::time::Duration;

/// The time that `remaining` units take at `per_second`; `None` while nothing moves.
#[must_use]
pub fn remaining(remaining: u64, per_second: f64) -> Option<Duration> {
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let seconds = remaining as f64 / per_second;
    (per_second > 0.0).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

/// The times that `left` units take at the rates at which comparable work went: the
/// shortest first. One in ten of the rates on either side is left out, so that a moment's
/// stall does not make it endless. `None` while none of them moves.
#[must_use]
pub fn range(left: u64, rates: &[f64]) -> Option<(Duration, Duration)> {
    let mut rates: Vec<f64> = rates.iter().copied().filter(|rate| *rate > 0.0).collect();
    rates.sort_unstable_by(f64::total_cmp);
    let tenth = rates.len() / 10;
    let (slow, fast) = (rates.get(tenth)?, rates.get(rates.len() - 1 - tenth)?);
    Some((remaining(left, *fast)?, remaining(left, *slow)?))
}

/// A rate that follows recent work: an average in which a unit of time counts half as
/// much after `half_life`.
#[derive(Debug, Clone)]
pub struct Rate {
    half_life: Duration,
    per_second: Option<f64>,
}

impl Rate {
    #[must_use]
    pub const fn new(half_life: Duration) -> Self {
        Self { half_life, per_second: None }
    }

    /// Learns that `units` were done in the last `elapsed`.
    pub fn observe(&mut self, units: u64, elapsed: Duration) {
        if elapsed.is_zero() {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let now = units as f64 / elapsed.as_secs_f64();
        let weight = 0.5_f64.powf(elapsed.as_secs_f64() / self.half_life.as_secs_f64());
        self.per_second =
            Some(self.per_second.map_or(now, |old| old * weight + now * (1.0 - weight)));
    }

    /// Units per second; zero before anything was observed.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.per_second.unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moving_has_no_estimate() {
        assert_eq!(remaining(10, 0.0), None);
        assert_eq!(remaining(100, 50.0), Some(Duration::from_secs(2)));
        assert_eq!(remaining(0, 50.0), Some(Duration::ZERO));
    }

    #[test]
    fn a_range_goes_from_the_fast_to_the_slow() {
        let seconds = |range: Option<(Duration, Duration)>| {
            range.map(|(low, high)| (low.as_secs(), high.as_secs()))
        };
        assert_eq!(range(100, &[]), None);
        assert_eq!(range(100, &[0.0]), None, "a stall says nothing");
        assert_eq!(seconds(range(100, &[10.0])), Some((10, 10)));
        assert_eq!(seconds(range(100, &[10.0, 0.0, 50.0, 20.0])), Some((2, 10)));
        let mut rates = vec![10.0; 18];
        rates.extend([0.001, 1_000.0]);
        assert_eq!(seconds(range(100, &rates)), Some((10, 10)), "odd ones are left out");
    }

    #[test]
    fn a_rate_follows_what_it_sees() {
        let mut rate = Rate::new(Duration::from_secs(5));
        rate.observe(1_000, Duration::from_secs(1));
        assert!((rate.per_second() - 1_000.0).abs() < 1e-9);
        for _ in 0..60 {
            rate.observe(100, Duration::from_secs(1));
        }
        assert!((rate.per_second() - 100.0).abs() < 1.0);
    }
}
