//! The daily window in which an operator lets schema changes happen.

use std::time::Duration;

use chrono::{Local, NaiveTime};

use crate::patience::{Options, Waiting};
use crate::schema::Step;

/// Between two looks at the clock.
const CLOCK_PAUSE: Duration = Duration::from_secs(1);

/// A part of each day, in the time zone of the process (`TZ`); one that ends before it
/// begins goes over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DailyWindow {
    from: NaiveTime,
    to: NaiveTime,
}

impl DailyWindow {
    fn holds(self, time: NaiveTime) -> bool {
        if self.from <= self.to {
            (self.from..self.to).contains(&time)
        } else {
            time >= self.from || time < self.to
        }
    }
}

impl std::str::FromStr for DailyWindow {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let time = |text: &str| NaiveTime::parse_from_str(text.trim(), "%H:%M").ok();
        let bounds = text.split_once('-').and_then(|(from, to)| Some((time(from)?, time(to)?)));
        match bounds {
            Some((from, to)) if from != to => Ok(Self { from, to }),
            _ => Err("expected two times of the day, as in 02:00-04:00".to_owned()),
        }
    }
}

impl std::fmt::Display for DailyWindow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.from.format("%H:%M"), self.to.format("%H:%M"))
    }
}

/// Whether something may begin now.
pub(crate) fn is_open(options: &Options<'_>) -> bool {
    options.window.is_none_or(|window| window.holds(Local::now().time()))
}

/// Waits for the window. The operator's patience does not count this.
pub(crate) async fn wait<Sleep, Slept>(step: &Step, options: &Options<'_>, sleep: &Sleep)
where
    Sleep: Fn(Duration) -> Slept + Send + Sync,
    Slept: Future<Output = ()> + Send,
{
    let mut waited = Duration::ZERO;
    while !is_open(options) {
        (options.waiting)(Waiting { step, holders: &[], waited, asking: None, for_window: true });
        sleep(CLOCK_PAUSE).await;
        waited += CLOCK_PAUSE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_may_go_over_midnight() {
        let time = |text: &str| NaiveTime::parse_from_str(text, "%H:%M").expect("a time");
        let night: DailyWindow = "02:00-04:00".parse().expect("a window");
        assert!(night.holds(time("02:00")) && night.holds(time("03:59")));
        assert!(!night.holds(time("04:00")) && !night.holds(time("23:00")));
        let late: DailyWindow = "22:30-01:00".parse().expect("a window");
        assert!(late.holds(time("23:59")) && late.holds(time("00:59")));
        assert!(!late.holds(time("01:00")) && !late.holds(time("22:29")));
        assert_eq!(late.to_string(), "22:30-01:00");
        for wrong in ["", "2-4", "02:00", "02:00-02:00", "25:00-26:00"] {
            wrong.parse::<DailyWindow>().expect_err(wrong);
        }
    }
}
