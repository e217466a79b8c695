//! How long each phase may take, from figures measured on two cores (`docs/benchmarks.md`).
//! A forecast is for deciding when to begin; while a phase runs, its own rate counts
//! ([`crate::eta`]).

use std::time::Duration;

use crate::eta::remaining;
use crate::throttle::CLEAR;

/// Rows that one worker backfills beside an application that keeps writing.
pub const BACKFILL_ROWS_PER_SECOND: f64 = 12_000.0;

/// Rows that one worker backfills in the time in which a server reads one by its key: MariaDB
/// 10.11 0.010, MySQL 9.7 0.013, doing nothing else.
pub const BACKFILLED_PER_READ: f64 = 0.012;

/// Entries of secondary indexes that a server builds in place: MySQL 9.7 beside an application
/// of three threads; MariaDB is twice as fast. Whether indexes are built under a gate goes by
/// it, so it must not promise too much.
pub const INDEX_ENTRIES_PER_SECOND: f64 = 250_000.0;

/// Indexes on `videos`, whose entries are what the phase `index` takes its time for.
pub const INDEXES_OF_VIDEOS: u64 = 8;

/// Bytes that one processor reads and hashes, without AVX-512 or SHA instructions.
pub const HASH_BYTES_PER_SECOND: f64 = 330_000_000.0;

/// One change of metadata, without waiting for a lock.
pub const STEP: Duration = Duration::from_millis(100);

/// One worker over all rows.
#[must_use]
pub fn backfill(rows: u64, rows_per_second: f64) -> Duration {
    remaining(rows, rows_per_second).unwrap_or_default()
}

/// Rows a second of the whole fleet beside an application that has `running` statements at once
/// executed by `processors`, if the fleet alone had `alone` from one of them and may add `percent`
/// to the application's latency.
///
/// Processors that are shared, as in a queue with processor sharing: with a utilization of
/// ρ = running / (running + processors) a statement takes 1 / (1 − ρ) of its time alone, so that
/// the fleet's own utilization may be (1 − ρ) · percent / (100 + percent). It is given 80 % of that.
#[must_use]
pub fn beside(alone: f64, running: f64, processors: f64, percent: f64) -> f64 {
    let free = processors / (running + processors);
    alone * processors * free * CLEAR * percent / (100.0 + percent)
}

/// One processor over all files.
#[must_use]
pub fn hash(bytes: u64) -> Duration {
    remaining(bytes, HASH_BYTES_PER_SECOND).unwrap_or_default()
}

/// `steps` changes of metadata, whatever the number of rows.
#[must_use]
pub fn metadata(steps: usize) -> Duration {
    STEP * u32::try_from(steps).unwrap_or(u32::MAX)
}

/// All indexes on `videos`.
#[must_use]
pub fn index(rows: u64) -> Duration {
    index_entries(rows, INDEXES_OF_VIDEOS)
}

/// `indexes` of one table.
#[must_use]
pub fn index_entries(rows: u64, indexes: u64) -> Duration {
    remaining(rows.saturating_mul(indexes), INDEX_ENTRIES_PER_SECOND).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_million_rows_take_less_than_a_minute() {
        assert_eq!(backfill(500_000, BACKFILL_ROWS_PER_SECOND).as_secs(), 41);
        assert_eq!(index(500_000), Duration::from_secs(16));
        assert_eq!(metadata(20), Duration::from_secs(2));
        assert_eq!(hash(0), Duration::ZERO);
    }

    #[test]
    fn a_busier_application_leaves_less_and_a_larger_server_more() {
        let of = |running, processors| beside(10_000.0, running, processors, 25.0).round();
        assert_eq!((of(1.0, 2.0), of(6.0, 2.0), of(6.0, 32.0)), (2_133.0, 800.0, 43_116.0));
        assert!(beside(10_000.0, 1.0, 2.0, 5.0) < of(1.0, 2.0));
    }
}
