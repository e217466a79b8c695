//! How many rows the next chunk takes. A chunk's time is what an application write can
//! wait for, so the size follows a target time rather than a fixed number. Only what grows with
//! the rows counts: the round trips of its statements are the same for one row, and where they
//! are slow (a far or a busy server) smaller chunks would only be more of them.

use std::time::Duration;

/// What a chunk may cost the application on one kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLimits {
    /// A chunk never aims at more than this, whatever target is set.
    pub max_target: Duration,
    /// Fewer rows than this are not worth a transaction.
    pub min_rows: u32,
    /// Where a worker starts.
    pub start_rows: u32,
    /// Chunks that are written at once, at most.
    pub max_at_once: usize,
}

impl ChunkLimits {
    /// A database that locks the rows of a chunk, and no others: 500 rows were measured at
    /// about 20 ms (`docs/benchmarks.md`).
    pub const ROW_LOCKS: Self =
        Self { max_target: Duration::MAX, min_rows: 50, start_rows: 500, max_at_once: usize::MAX };
}

/// Adapts the rows of a chunk to a target time.
#[derive(Debug, Clone)]
pub struct ChunkSizer {
    limits: ChunkLimits,
    target: Duration,
    rows: u32,
    /// Seconds that a chunk takes whatever its size, averaged over the last chunks.
    fixed: Option<f64>,
}

impl ChunkSizer {
    /// More rows than this lock too much at once, however fast the server is.
    pub const MAX_ROWS: u32 = 10_000;
    /// The time that a chunk aims at.
    pub const TARGET: Duration = Duration::from_millis(20);
    /// What one chunk changes the size by, at most: one fast or slow chunk proves little.
    const MAX_GROWTH: f64 = 1.5;
    const MAX_SHRINKAGE: f64 = 0.5;
    /// What the newest chunk counts in the average of the fixed part.
    const NEWEST: f64 = 0.2;
    /// The fixed part is left out up to this many times the target: a chunk is never meant to
    /// take longer than that and the target, however slow the server is.
    const MAX_FIXED: f64 = 4.0;

    #[must_use]
    pub fn new(limits: ChunkLimits) -> Self {
        let mut sizer = Self { limits, target: Self::TARGET, rows: limits.start_rows, fixed: None };
        sizer.aim_at(Self::TARGET);
        sizer
    }

    /// Aims at another time from now on; the size follows with the next chunks.
    pub fn aim_at(&mut self, target: Duration) {
        self.target = target.min(self.limits.max_target);
    }

    /// Rows for the next chunk.
    #[must_use]
    pub const fn rows(&self) -> u32 {
        self.rows
    }

    /// Learns from a chunk of `rows` rows that took `elapsed`, of which a chunk of one row
    /// would have taken `fixed` too.
    pub fn observe(&mut self, rows: u32, elapsed: Duration, fixed: Duration) {
        let newest = fixed.as_secs_f64();
        let average = self.fixed.map_or(newest, |before| before + Self::NEWEST * (newest - before));
        self.fixed = Some(average);
        // A chunk that was cut short by the end of its range says nothing about a full one.
        if rows < self.rows / 2 {
            return;
        }
        let elapsed = elapsed.as_secs_f64().max(1e-6);
        let target = self.target.as_secs_f64();
        let ratio = target / (elapsed - average.min(Self::MAX_FIXED * target)).max(1e-6);
        self.set(f64::from(self.rows) * ratio.clamp(Self::MAX_SHRINKAGE, Self::MAX_GROWTH));
    }

    /// Halves the chunk after a lock timeout: the application came first.
    pub fn yield_to_application(&mut self) {
        self.set(f64::from(self.rows) / 2.0);
    }

    fn set(&mut self, rows: f64) {
        let rows = rows.clamp(f64::from(self.limits.min_rows), f64::from(Self::MAX_ROWS));
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits() -> impl Strategy<Value = ChunkLimits> {
        let short = ChunkLimits {
            max_target: Duration::from_millis(5),
            min_rows: 5,
            start_rows: 20,
            max_at_once: 1,
        };
        prop::sample::select(vec![ChunkLimits::ROW_LOCKS, short])
    }

    proptest! {
        #[test]
        fn the_size_stays_in_its_bounds(
            limits in limits(),
            times in prop::collection::vec(0u64..10_000_000, 1..100),
        ) {
            let mut sizer = ChunkSizer::new(limits);
            for micros in times {
                let before = sizer.rows();
                sizer.observe(before, Duration::from_micros(micros), Duration::ZERO);
                prop_assert!((limits.min_rows..=ChunkSizer::MAX_ROWS).contains(&sizer.rows()));
                prop_assert!(f64::from(sizer.rows()) <= f64::from(before) * 1.5);
            }
        }

        #[test]
        fn the_size_settles_at_the_target(
            limits in limits(),
            per_row in 2u64..400,
            fixed in 0u64..60,
        ) {
            let fixed = Duration::from_millis(fixed);
            let mut sizer = ChunkSizer::new(limits);
            // More than the limits allow is not aimed at.
            sizer.aim_at(ChunkSizer::TARGET);
            for _ in 0..40 {
                let rows = sizer.rows();
                let growing = Duration::from_micros(per_row * u64::from(rows));
                sizer.observe(rows, fixed + growing, fixed);
            }
            let settled = Duration::from_micros(per_row * u64::from(sizer.rows()));
            let target = ChunkSizer::TARGET.min(limits.max_target);
            prop_assert!(settled <= target * 11 / 10, "{settled:?}");
            let most = (target.as_micros() / u128::from(per_row)).min(ChunkSizer::MAX_ROWS.into());
            let slow = fixed > target * 4;
            prop_assert!(slow || u128::from(sizer.rows()) >= most * 8 / 10, "{sizer:?}");
        }
    }
}
