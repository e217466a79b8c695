//! The hours in which the fleet works: `22:00-06:00 Europe/Berlin`.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveTime, Utc};
use chrono_tz::Tz;

/// From a time of day up to another, which may be of the next day, by the clocks of a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkWindow {
    from: NaiveTime,
    to: NaiveTime,
    zone: Tz,
}

/// A text that names no window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongWindow {
    #[error("expected times and a zone, as 22:00-06:00 Europe/Berlin")]
    Form,
    #[error("`{0}` is no time of day from 00:00 to 23:59")]
    Time(String),
    #[error("`{0}` is no time zone: expected a name such as Europe/Berlin, or UTC")]
    Zone(String),
    #[error("it ends when it begins: `default` is any hour")]
    Empty,
}

impl WorkWindow {
    #[must_use]
    pub fn contains(&self, at: DateTime<Utc>) -> bool {
        let now = at.with_timezone(&self.zone).time();
        if self.from < self.to {
            self.from <= now && now < self.to
        } else {
            self.from <= now || now < self.to
        }
    }
}

impl FromStr for WorkWindow {
    type Err = WrongWindow;

    /// Without a zone: UTC.
    fn from_str(text: &str) -> Result<Self, WrongWindow> {
        let (hours, zone) = text.trim().split_once(' ').unwrap_or((text.trim(), "UTC"));
        let (from, to) = hours.split_once(['-', '–']).ok_or(WrongWindow::Form)?;
        let time = |text: &str| {
            NaiveTime::parse_from_str(text.trim(), "%H:%M")
                .map_err(|_| WrongWindow::Time(text.trim().to_owned()))
        };
        let (from, to) = (time(from)?, time(to)?);
        let zone = zone.trim();
        let zone = zone.parse().map_err(|_| WrongWindow::Zone(zone.to_owned()))?;
        if from == to { Err(WrongWindow::Empty) } else { Ok(Self { from, to, zone }) }
    }
}

impl fmt::Display for WorkWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from.format("%H:%M"), self.to.format("%H:%M"));
        write!(f, "{from}-{to} {}", self.zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(window: &str, at: &str) -> bool {
        let window: WorkWindow = window.parse().expect(window);
        window.contains(at.parse().expect("a time"))
    }

    #[test]
    fn a_window_may_pass_midnight_and_follows_its_zones_clocks() {
        let night = "22:00-06:00 Europe/Berlin";
        // One hour ahead of UTC in winter, two in summer.
        for (at, inside) in [
            ("2026-01-15T20:59:59Z", false),
            ("2026-01-15T21:00:00Z", true),
            ("2026-01-16T04:59:59Z", true),
            ("2026-01-16T05:00:00Z", false),
            ("2026-07-15T19:59:59Z", false),
            ("2026-07-15T20:00:00Z", true),
            ("2026-07-16T03:59:59Z", true),
            ("2026-07-16T04:00:00Z", false),
        ] {
            assert_eq!(contains(night, at), inside, "{at}");
        }
        assert!(contains("09:30-17:00", "2026-01-15T09:30:00Z"));
        assert!(!contains("09:30-17:00", "2026-01-15T17:00:00Z"));
    }

    #[test]
    fn nonsense_is_refused() {
        for (text, wrong) in [
            ("", WrongWindow::Form),
            ("22:00", WrongWindow::Form),
            ("22-06", WrongWindow::Time("22".to_owned())),
            ("22:00-24:00", WrongWindow::Time("24:00".to_owned())),
            ("25:00-06:00", WrongWindow::Time("25:00".to_owned())),
            ("22:00-22:00", WrongWindow::Empty),
            ("22:00-06:00 Berlin", WrongWindow::Zone("Berlin".to_owned())),
        ] {
            assert_eq!(text.parse::<WorkWindow>(), Err(wrong), "{text}");
        }
        let read: WorkWindow = "22:00–06:00 Europe/Berlin".parse().expect("a dash");
        assert_eq!(read.to_string(), "22:00-06:00 Europe/Berlin");
    }
}
