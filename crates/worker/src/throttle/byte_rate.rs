//! The fleet's byte rate for hashing: a token bucket in each worker, whose rate is the
//! fleet's divided by its live workers. A change holds from the next look at the controls.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of this long a time may be read in one go.
const BURST: Duration = Duration::from_millis(250);

/// What a file is worth reading at, at least: more files at once are each read more slowly,
/// and none of them comes to its end.
const FILE_RATE: f64 = (1 << 20) as f64;

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

    /// Counts `bytes` that were read.
    pub(crate) fn charge(&self, bytes: u64) {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        self.bucket(|bucket| bucket.ahead += bytes as f64);
    }

    /// How long until more may be read; `None` where there is no limit.
    pub(crate) fn debt(&self) -> Option<Duration> {
        self.bucket(|bucket| {
            bucket.refill(Instant::now());
            let seconds = (bucket.ahead / bucket.rate?).max(0.0);
            Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
        })
    }

    /// How many of `most` files are read at once at this rate; `least` at any.
    pub(crate) fn files_at_once(&self, least: usize, most: usize) -> usize {
        let Some(rate) = self.bucket(|bucket| bucket.rate) else { return most };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and capped"
        )]
        let files = (rate / FILE_RATE) as usize;
        files.clamp(least.min(most), most)
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
        let read = || {
            while let Some(debt) = rate.debt().filter(|debt| !debt.is_zero()) {
                thread::sleep(debt);
            }
            rate.charge(MIB);
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..4).for_each(|_| read()));
            }
        });
        // 16 MiB, of which a burst of 5 MiB at most and the last four are not waited for.
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(340), "{took:?}");
    }

    #[test]
    fn a_low_rate_is_shared_by_few_files() {
        let rate = ByteRate::default();
        for (fleet, live, files) in [
            (None, 1, 160),
            (Some(300 << 10), 1, 2),
            (Some(40 * MIB), 4, 10),
            (Some(1 << 40), 1, 160),
        ] {
            rate.set(fleet, live);
            assert_eq!(rate.files_at_once(2, 160), files, "{fleet:?} among {live}");
        }
        rate.set(Some(1), 1);
        assert_eq!(rate.files_at_once(0, 0), 0, "a worker that hashes nothing");
    }

    #[test]
    fn a_change_of_the_rate_holds_at_once() {
        let rate = ByteRate::default();
        assert_eq!(rate.debt(), None);
        rate.set(Some(1), 1);
        rate.charge(MIB);
        assert!(rate.debt() > Some(Duration::from_hours(24)), "twelve days");
        rate.set(Some(1 << 40), 1);
        assert!(rate.debt() < Some(Duration::from_secs(1)));
        rate.set(None, 1);
        assert_eq!(rate.debt(), None);
    }
}
