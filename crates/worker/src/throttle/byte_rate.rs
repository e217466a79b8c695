//! The fleet's byte rate for hashing: a token bucket in each worker, whose rate is the
//! fleet's divided by its live workers. A change holds from the next look at the controls.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A reader that waits looks this often whether the rate was changed or it shall stop.
const LOOK: Duration = Duration::from_millis(100);

/// Bytes of this long a time may be read in one go.
const BURST: Duration = Duration::from_millis(250);

/// The bucket, as what has been read beyond it.
#[derive(Debug)]
pub(crate) struct ByteRate(Mutex<Bucket>);

#[derive(Debug)]
struct Bucket {
    /// Bytes a second; `None` is as fast as can be.
    rate: Option<f64>,
    /// Bytes that were read and not yet allowed; below zero what may be read at once.
    ahead: f64,
    at: Instant,
}

impl Bucket {
    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.ahead = match self.rate {
            Some(rate) => (self.ahead - rate * passed).max(-rate * BURST.as_secs_f64()),
            None => 0.0,
        };
    }
}

impl Default for ByteRate {
    fn default() -> Self {
        Self(Mutex::new(Bucket { rate: None, ahead: 0.0, at: Instant::now() }))
    }
}

impl ByteRate {
    /// This worker's rate: its part of `fleet` bytes a second among `live` workers.
    pub(crate) fn set(&self, fleet: Option<u64>, live: u32) {
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no last digit")]
        let rate = fleet.map(|fleet| fleet as f64 / f64::from(live.max(1)));
        self.bucket(|bucket| {
            bucket.refill(Instant::now());
            bucket.rate = rate;
        });
    }

    /// Counts `bytes` that were read, and waits until they were allowed or `stop` says so.
    /// Blocks its thread.
    pub(crate) fn pay(&self, bytes: u64, stop: impl Fn() -> bool) {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        self.bucket(|bucket| bucket.ahead += bytes as f64);
        loop {
            let left = self.bucket(|bucket| {
                bucket.refill(Instant::now());
                bucket.rate.map_or(0.0, |rate| bucket.ahead / rate)
            });
            if left <= 0.0 || stop() {
                return;
            }
            std::thread::sleep(Duration::try_from_secs_f64(left).unwrap_or(LOOK).min(LOOK));
        }
    }

    fn bucket<T>(&self, use_it: impl FnOnce(&mut Bucket) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn several_readers_together_keep_to_the_rate() {
        let rate = ByteRate::default();
        // A fleet of two that reads 40 MiB/s: 20 for this worker.
        rate.set(Some(40 * MIB), 2);
        let began = Instant::now();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..4).for_each(|_| rate.pay(MIB, || false)));
            }
        });
        // 16 MiB, of which a burst of 5 MiB at most is free.
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(540), "{took:?}");
    }

    #[test]
    fn a_reader_that_waits_is_told_of_changes() {
        let rate = ByteRate::default();
        rate.set(Some(1), 1);
        let began = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| rate.pay(MIB, || false));
            thread::sleep(Duration::from_millis(20));
            rate.set(None, 1);
        });
        rate.set(Some(1), 1);
        rate.pay(MIB, || true);
        assert!(began.elapsed() < Duration::from_secs(10), "neither waited twelve days");
    }
}
