//! The lines of the throttle: what holds the fleet back, since when, and how much is left;
//! and what the application notices of the fleet.

use std::time::Duration;

use owo_colors::OwoColorize;
use reelshift_plan::impact::Slowed;
use reelshift_plan::throttle::Level;
use reelshift_store::report::ThrottleReport;

use crate::style;

/// Statements of the application that are named.
const STATEMENTS: usize = 3;

pub(super) fn lines(report: &ThrottleReport) -> impl Iterator<Item = String> {
    let application = report.application().map(|text| text.dimmed().to_string());
    std::iter::once(line(report)).chain(application).chain(slowed(report))
}

/// The statements of the application that the fleet slows most, or why nobody knows.
fn slowed(report: &ThrottleReport) -> Vec<String> {
    let lines = match &report.slowed {
        None => Vec::new(),
        Some(Slowed::Unknown(why)) => vec![format!("  slowed statements: not known, {why}")],
        Some(Slowed::Statements(statements)) => statements
            .iter()
            .take(STATEMENTS)
            .map(|slowed| format!("  {}   {}", slowed.latencies(), slowed.statement))
            .collect(),
    };
    lines.iter().map(|line| line.dimmed().to_string()).collect()
}

/// `THROTTLED since 02:58 (14m 3s)   replica lag 7.1 s > 5.0 s on db-2:3306   no chunk runs`
fn line(report: &ThrottleReport) -> String {
    let amount = amount(report);
    let reason = report.reason.as_deref().unwrap_or_default();
    if !report.level.is_throttled() {
        let text = format!("throttle   {amount}");
        return if report.level == Level::Held { format!("{text}   {reason}") } else { text }
            .dimmed()
            .to_string();
    }
    let since = report.since.map_or_else(String::new, |since| {
        let lasting = Duration::try_from_secs_f64(report.seconds.unwrap_or_default());
        let lasting = style::duration(lasting.unwrap_or_default());
        format!(" since {} ({lasting})", since.format("%H:%M"))
    });
    let word = format!("THROTTLED{since}");
    let word = match report.level {
        Level::Stopped => word.red().bold().to_string(),
        _ => word.yellow().bold().to_string(),
    };
    let sampled = report.sampled_seconds_ago.map_or_else(String::new, |ago| {
        format!(
            "   sampled {} ago",
            style::duration(Duration::try_from_secs_f64(ago).unwrap_or_default())
        )
    });
    format!("{word}   {reason}   {amount}{sampled}")
}

fn amount(report: &ThrottleReport) -> String {
    if report.at_once == 0 {
        "no chunk runs".to_owned()
    } else if report.chunks < 1.0 {
        format!("one chunk at a time, {:.0} % of the time", report.chunks * 100.0)
    } else {
        // Before the workers have said their capacity it is 0.
        let most = report.capacity.max(report.at_once);
        format!("{} of {most} chunks at once", report.at_once)
    }
}

#[cfg(test)]
mod tests {
    use reelshift_plan::Tuning;
    use reelshift_plan::throttle::{MIN_CHUNKS, Reading, Signal, State};
    use reelshift_store::duties::Duty;

    use super::*;

    fn report(level: Level, chunks: f64, reason: Option<Reading>) -> ThrottleReport {
        let at = |text: &str| text.parse().expect("a time");
        let state = State {
            level,
            since: at("2026-01-01T02:58:00Z"),
            at: at("2026-01-01T03:12:00Z"),
            chunks,
            capacity: 8,
            workers: None,
            reason,
            readings: Vec::new(),
            unavailable: Vec::new(),
            rhythm: None,
            impact: None,
            slowed: None,
        };
        let state = Some(serde_json::to_value(state).expect("JSON"));
        let name = "throttle".to_owned();
        ThrottleReport::of(
            &[Duty { name, holder: None, silent_seconds: 1.2, state }],
            &Tuning::default(),
        )
    }

    fn plain(report: &ThrottleReport) -> String {
        anstream::adapter::strip_str(&line(report)).to_string()
    }

    #[test]
    fn it_says_what_since_when_and_how_much() {
        let lag = Reading::new(Signal::ReplicaLag, "db-2:3306", 7.1, 5.0);
        assert_eq!(
            plain(&report(Level::Stopped, 0.0, Some(lag))),
            "THROTTLED since 02:58 (14m 1s)   replica lag 7.1 s > 5.0 s on db-2:3306   \
             no chunk runs   sampled 1s ago"
        );
        let threads = |value| Some(Reading::new(Signal::ThreadsRunning, "db:3306", value, 8.0));
        assert_eq!(
            plain(&report(Level::Slowed, MIN_CHUNKS, threads(11.0))),
            "THROTTLED since 02:58 (14m 1s)   threads running 11.0 > 8.0 on db:3306   \
             one chunk at a time, 5 % of the time   sampled 1s ago"
        );
        assert_eq!(
            plain(&report(Level::Held, 4.2, threads(7.6))),
            "throttle   4 of 8 chunks at once   threads running 7.6 of 8.0 on db:3306"
        );
        assert_eq!(plain(&report(Level::Free, 8.0, None)), "throttle   8 of 8 chunks at once");
    }

    #[test]
    fn nothing_published_is_said() {
        assert_eq!(
            plain(&ThrottleReport::of(&[], &Tuning::default())),
            "THROTTLED   nothing was published yet: the first sample comes within seconds   \
             one chunk at a time, 5 % of the time"
        );
    }
}
