//! Times of the ledger: text that sorts as the times do, written and compared by the
//! database's clock.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};

/// The database's clock, in milliseconds, as a fragment of SQL.
macro_rules! now {
    () => {
        "strftime('%Y-%m-%d %H:%M:%f', 'now')"
    };
}
pub(crate) use now;

/// The database's clock, which is this machine's, in seconds since 1970.
pub(crate) fn seconds_now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// The modifier for `strftime` that goes `time` back.
pub(crate) fn ago(time: Duration) -> String {
    // SQLite ignores a modifier that leads out of its calendar; a century is in it.
    format!("-{:.3} seconds", time.as_secs_f64().min(3_155_760_000.0))
}

/// The modifier for `strftime` that goes `time` forward.
pub(crate) fn hence(time: Duration) -> String {
    ago(time).replacen('-', "+", 1)
}

/// Reads `YYYY-MM-DD HH:MM:SS[.fff]`, which is UTC.
pub(crate) fn parse(text: &str) -> Option<DateTime<Utc>> {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").ok().map(|time| time.and_utc())
}

/// A time as it is bound, to be compared by `julianday`.
pub(crate) fn text(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_it_was_written() {
        for written in ["2026-01-02 03:04:05.678", "2026-01-02 03:04:05.000"] {
            assert_eq!(parse(written).map(text).as_deref(), Some(written));
        }
        assert_eq!(
            parse("2026-01-02 03:04:05").map(text).as_deref(),
            Some("2026-01-02 03:04:05.000")
        );
        assert_eq!(parse("yesterday"), None);
    }

    #[test]
    fn an_offset_goes_both_ways_and_stays_in_the_calendar() {
        assert_eq!(ago(Duration::from_millis(1_500)), "-1.500 seconds");
        assert_eq!(hence(Duration::from_secs(2)), "+2.000 seconds");
        assert_eq!(ago(Duration::MAX), "-3155760000.000 seconds");
    }
}
