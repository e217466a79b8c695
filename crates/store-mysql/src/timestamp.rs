//! Times and durations as they are bound.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reelshift_store::ledger::Since;
use sqlx::{MySql, QueryBuilder};

/// The last second that every server's TIMESTAMP holds; the first is 1.
const LAST_SECOND: i64 = i32::MAX as i64;

/// A duration for `INTERVAL ? MICROSECOND`.
pub(crate) fn microseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A time that somebody gave, as a bound for the ledger's TIMESTAMP columns: compared with a
/// time outside their range, no row matches.
pub(crate) fn bound(at: DateTime<Utc>) -> DateTime<Utc> {
    let end = |second| DateTime::from_timestamp(second, 0).unwrap_or(at);
    at.clamp(end(1), end(LAST_SECOND))
}

/// Appends that `column` is at or after a moment.
pub(crate) fn push_since(query: &mut QueryBuilder<MySql>, column: &'static str, since: Since) {
    query.push(" AND ").push(column).push(" >= ");
    match since {
        Since::At(at) => query.push_bind(bound(at)),
        Since::Ago(ago) => {
            query.push("NOW(6) - INTERVAL ").push_bind(microseconds(ago)).push(" MICROSECOND")
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_within_the_range_of_timestamps() {
        assert_eq!(bound(DateTime::<Utc>::MIN_UTC).to_string(), "1970-01-01 00:00:01 UTC");
        assert_eq!(bound(DateTime::<Utc>::MAX_UTC).to_string(), "2038-01-19 03:14:07 UTC");
        let within = DateTime::from_timestamp(1_700_000_000, 0).expect("a time");
        assert_eq!(bound(within), within);
    }
}
