//! How many hashing threads the disk is worth.
//!
//! A thread reads for its files itself. From memory or a fast disk that is a fifth of its
//! time, and as many threads as cores are right. Where it is most of the time the cores
//! idle, and another thread may get more out of the disk, or may not: it is tried, and
//! kept if the rate rose.

/// Threads are added while more of their time than this is reading.
const READS_MOSTLY: f64 = 0.6;
/// An added thread must raise the rate by this factor: less is noise.
const WORTH_IT: f64 = 1.1;
/// Observations for which nothing is tried after a thread that was not worth it.
const REST: u32 = 20;

/// Finds the number of threads.
#[derive(Debug)]
pub(crate) struct Pace {
    least: usize,
    most: usize,
    threads: usize,
    /// The rate before the last thread was added; none when it was found worth it or not.
    tried: Option<f64>,
    rest: u32,
}

impl Pace {
    pub(crate) const fn new(least: usize, most: usize) -> Self {
        Self { least, most, threads: least, tried: None, rest: 0 }
    }

    /// Takes what was seen since the last call, bytes a second and the share of the
    /// threads' time that was reading, and says how many threads there are to be.
    pub(crate) fn observe(&mut self, rate: f64, reading: f64) -> usize {
        if let Some(before) = self.tried.take()
            && rate < before * WORTH_IT
        {
            self.threads -= 1;
            self.rest = REST;
        } else if self.rest > 0 {
            self.rest -= 1;
        } else if reading <= READS_MOSTLY {
            self.threads = (self.threads - 1).max(self.least);
        } else if self.threads < self.most {
            self.tried = Some(rate);
            self.threads += 1;
        }
        self.threads
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lets a pace watch a disk that gives `rate(threads)`.
    fn settle(pace: &mut Pace, rate: impl Fn(usize) -> f64, reading: f64) -> usize {
        (0..15).fold(pace.threads, |threads, _| pace.observe(rate(threads), reading))
    }

    #[test]
    fn a_disk_that_gives_more_to_more_threads_gets_them() {
        let mut pace = Pace::new(2, 8);
        assert_eq!(settle(&mut pace, |threads| threads as f64, 0.9), 8);
    }

    #[test]
    fn a_disk_that_gives_no_more_keeps_the_first_threads() {
        let mut pace = Pace::new(2, 8);
        assert_eq!(settle(&mut pace, |_| 100.0, 0.9), 2);
    }

    #[test]
    fn threads_are_added_up_to_where_the_disk_is_full() {
        let mut pace = Pace::new(2, 16);
        assert_eq!(settle(&mut pace, |threads| threads.min(5) as f64, 0.9), 5);
    }

    #[test]
    fn reading_from_memory_needs_no_more_threads_than_cores() {
        let mut pace = Pace::new(2, 8);
        assert_eq!(settle(&mut pace, |threads| threads as f64, 0.2), 2);
    }

    #[test]
    fn threads_leave_when_the_disk_has_become_fast() {
        let mut pace = Pace::new(2, 8);
        settle(&mut pace, |threads| threads as f64, 0.9);
        assert_eq!(settle(&mut pace, |threads| threads as f64, 0.2), 2);
    }

    proptest! {
        #[test]
        fn there_are_never_fewer_or_more_than_allowed(
            least in 1..5_usize,
            more in 0..5_usize,
            seen in prop::collection::vec((0.0..1e10_f64, 0.0..1.0_f64), 0..200),
        ) {
            let mut pace = Pace::new(least, least + more);
            for (rate, reading) in seen {
                let threads = pace.observe(rate, reading);
                prop_assert!((least..=least + more).contains(&threads));
            }
        }
    }
}
