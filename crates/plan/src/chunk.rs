//! How many rows the next chunk takes. A chunk's time is what an application write can
//! wait for, so the size follows a target time rather than a fixed number.

use std::time::Duration;

/// Adapts the rows of a chunk to a target time.
#[derive(Debug, Clone)]
pub struct ChunkSizer {
    target: Duration,
    rows: u32,
}

impl ChunkSizer {
    /// Fewer rows than this are not worth a transaction.
    pub const MIN_ROWS: u32 = 50;
    /// More rows than this lock too much at once, however fast the server is.
    pub const MAX_ROWS: u32 = 10_000;
    /// Where a worker starts: measured at about 20 ms (`docs/benchmarks.md`).
    pub const START_ROWS: u32 = 500;
    /// The time that a chunk aims at.
    pub const TARGET: Duration = Duration::from_millis(20);
    /// Growth is slow, since one fast chunk proves little; shrinking is immediate.
    const MAX_GROWTH: f64 = 1.5;

    #[must_use]
    pub fn new(target: Duration) -> Self {
        Self { target, rows: Self::START_ROWS }
    }

    /// Aims at another time from now on; the size follows with the next chunks.
    pub const fn aim_at(&mut self, target: Duration) {
        self.target = target;
    }

    /// Rows for the next chunk.
    #[must_use]
    pub const fn rows(&self) -> u32 {
        self.rows
    }

    /// Learns from a chunk of `rows` rows that took `elapsed`.
    pub fn observe(&mut self, rows: u32, elapsed: Duration) {
        // A chunk that was cut short by the end of its range says nothing about a full one.
        if rows < self.rows / 2 {
            return;
        }
        let ratio = self.target.as_secs_f64() / elapsed.as_secs_f64().max(1e-6);
        self.set(f64::from(self.rows) * ratio.min(Self::MAX_GROWTH));
    }

    /// Halves the chunk after a lock timeout: the application came first.
    pub fn yield_to_application(&mut self) {
        self.set(f64::from(self.rows) / 2.0);
    }

    fn set(&mut self, rows: f64) {
        let rows = rows.clamp(f64::from(Self::MIN_ROWS), f64::from(Self::MAX_ROWS));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to a range of u32"
        )]
        {
            self.rows = rows as u32;
        }
    }
}

impl Default for ChunkSizer {
    fn default() -> Self {
        Self::new(Self::TARGET)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_size_stays_in_its_bounds(times in prop::collection::vec(0u64..10_000_000, 1..100)) {
            let mut sizer = ChunkSizer::default();
            for micros in times {
                let before = sizer.rows();
                sizer.observe(before, Duration::from_micros(micros));
                prop_assert!((ChunkSizer::MIN_ROWS..=ChunkSizer::MAX_ROWS).contains(&sizer.rows()));
                prop_assert!(f64::from(sizer.rows()) <= f64::from(before) * 1.5);
            }
        }

        #[test]
        fn the_size_settles_at_the_target(per_row in 2u64..400) {
            let mut sizer = ChunkSizer::default();
            for _ in 0..40 {
                let rows = sizer.rows();
                sizer.observe(rows, Duration::from_micros(per_row * u64::from(rows)));
            }
            let settled = Duration::from_micros(per_row * u64::from(sizer.rows()));
            prop_assert!(settled <= ChunkSizer::TARGET * 11 / 10);
        }
    }
}
