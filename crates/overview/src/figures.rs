//! How figures are written: the same on pages, on terminals and in sentences.

use std::time::Duration;

use chrono::{DateTime, Utc};
use indicatif::{HumanBytes, HumanCount};
use uuid::Uuid;

/// 12,345
#[must_use]
pub fn count(value: u64) -> String {
    HumanCount(value).to_string()
}

/// 1.5 GiB
#[must_use]
pub fn bytes(value: u64) -> String {
    HumanBytes(value).to_string()
}

/// 1.5 GiB, from a sum or a mean that the database gave as a float.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
pub fn float_bytes(value: f64) -> String {
    bytes(value.max(0.0) as u64)
}

/// 12,345 of a rate that the database or a clock gave as a float.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
pub fn float_count(value: f64) -> String {
    count(value.max(0.0).round() as u64)
}

/// 2h 3m, 4m 5s, 7s
#[must_use]
pub fn duration(value: Duration) -> String {
    let seconds = value.as_secs();
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (0, hours, minutes, _) => format!("{hours}h {minutes}m"),
        (days, hours, ..) => format!("{days}d {hours}h"),
    }
}

/// As [`duration`], of seconds that a database counted.
#[must_use]
pub fn seconds(value: f64) -> String {
    duration(Duration::try_from_secs_f64(value.max(0.0)).unwrap_or_default())
}

/// Date and time, UTC.
#[must_use]
pub fn time(value: DateTime<Utc>) -> String {
    value.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// The time of day where that is enough: within a day of `now`.
#[must_use]
pub fn clock(value: DateTime<Utc>, now: DateTime<Utc>) -> String {
    value.format(if is_near(value, now) { "%H:%M" } else { "%Y-%m-%d %H:%M" }).to_string()
}

/// Whether `value` is so near to `now` that its time of day is enough: less than 20 hours away.
#[must_use]
pub fn is_near(value: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    (now - value).num_hours().abs() < 20
}

/// `2h 3m to 4h 33m`; where both read the same, once.
#[must_use]
pub fn range(from: String, to: &str) -> String {
    if from == to { from } else { format!("{from} to {to}") }
}

/// "1 batch", "2 batches"
#[must_use]
pub fn plural(value: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(value), if value == 1 { one } else { many })
}

/// The share in percent, with one decimal. Rounded down, so that 100 is said only of a
/// whole.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
pub fn share(done: u64, total: u64) -> f64 {
    let share = if total == 0 { 100.0 } else { done.min(total) as f64 / total as f64 * 100.0 };
    (share * 10.0).floor() / 10.0
}

/// 58.1 %
#[must_use]
pub fn percent(done: u64, total: u64) -> String {
    format!("{:.1} %", share(done, total))
}

/// A worker's or a batch's short name: the end of a UUIDv7 is its random part, the start is
/// alike for all of a minute.
#[must_use]
pub fn tail(id: Uuid) -> String {
    id.simple().to_string()[24..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_is_a_hundred_percent() {
        assert_eq!(percent(999_999, 1_000_000), "99.9 %");
        assert_eq!(percent(7, 7), "100.0 %");
        assert_eq!(percent(0, 0), "100.0 %");
    }

    #[test]
    fn durations_are_short() {
        let shown = [5, 65, 3_700, 90_000].map(|value| duration(Duration::from_secs(value)));
        assert_eq!(shown, ["5s", "1m 5s", "1h 1m", "1d 1h"]);
        assert_eq!(seconds(-3.0), "0s");
        assert_eq!(seconds(f64::NAN), "0s");
    }
}
