//! The brake against its limits, and what became of commands.

use chrono::{DateTime, Utc};
use reelshift_overview::figures::{plural, seconds, tail};
use reelshift_plan::Rollout;
use reelshift_plan::impact::{Slowed, StatementLatency};
use reelshift_plan::throttle::{Level, Signal};
use reelshift_store::report::ThrottleReport;

use super::{View, ago};

/// A signal against its limit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ReadingView {
    pub name: &'static str,
    pub host: String,
    pub text: String,
    /// 1 is the limit.
    pub pressure: f64,
    pub percent: String,
}

/// A statement of the application, and its mean latencies.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SlowedView {
    pub statement: String,
    pub with: String,
    pub without: String,
    pub added: String,
}

/// A change of a control or a run, and how far the fleet goes by it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CommandView {
    pub at: DateTime<Utc>,
    pub when: String,
    pub seconds: f64,
    pub what: String,
    pub by: String,
    pub reason: Option<String>,
    pub became: String,
    pub tone: &'static str,
    /// Whether somebody does not go by it yet.
    pub waits: bool,
}

impl View {
    /// What the brake does.
    pub(crate) fn throttle_line(&self) -> String {
        let Some(throttle) =
            self.overview().report.as_ref().and_then(|report| report.throttle.as_ref())
        else {
            return "The brake is not at work: no worker lives.".to_owned();
        };
        let word = match throttle.level {
            Level::Free => "Free: nothing stands in the way",
            Level::Held => "Held: one more chunk would be too many",
            Level::Slowed => "Slowed down",
            Level::Blind => "Slowed down to the least: a signal is missing",
            Level::Stopped => "Stopped: no chunk starts",
        };
        let why = throttle.reason.as_ref().map_or_else(String::new, |why| format!("; {why}"));
        let since =
            throttle.since.map_or_else(String::new, |at| format!(", since {}", self.ago(at)));
        let share = format!("{:.0} % of the fleet's capacity may work", throttle.share * 100.0);
        let sampled = throttle
            .sampled_seconds_ago
            .map_or_else(String::new, |ago| format!("; sampled {} ago", seconds(ago)));
        let application = throttle
            .application()
            .map_or_else(String::new, |application| format!(" {application}."));
        format!("{word}{why}{since}. {share}{sampled}.{application}")
    }

    /// What the fleet adds to the application's latency.
    pub(crate) fn application(&self) -> String {
        let throttle = self.overview().report.as_ref().and_then(|report| report.throttle.as_ref());
        match throttle.and_then(ThrottleReport::application) {
            Some(text) => text.trim_start_matches("application ").to_owned(),
            None => self.not_measured(),
        }
    }

    /// Why nothing is known of what the fleet adds.
    fn not_measured(&self) -> String {
        let throttle = self.overview().report.as_ref().and_then(|report| report.throttle.as_ref());
        let unavailable = throttle.iter().flat_map(|throttle| &throttle.unavailable);
        let why = unavailable
            .filter_map(|why| why.strip_prefix(Signal::ApplicationMedian.name()))
            .next()
            .unwrap_or(": no application is at work, or no worker");
        format!("not measured{why}")
    }

    pub(crate) fn readings(&self) -> Vec<ReadingView> {
        let throttle = self.overview().report.iter().filter_map(|report| report.throttle.as_ref());
        let readings = throttle.flat_map(|throttle| &throttle.readings).map(|reading| {
            let pressure = reading.pressure();
            let pressure = if pressure.is_finite() { pressure } else { 1.5 };
            ReadingView {
                name: reading.signal.name(),
                host: if reading.host.is_empty() {
                    "the fleet".to_owned()
                } else {
                    reading.host.clone()
                },
                text: reading.to_string(),
                pressure,
                percent: format!("{:.0} %", pressure * 100.0),
            }
        });
        readings.collect()
    }

    pub(crate) fn no_readings(&self) -> String {
        let unavailable = self
            .overview()
            .report
            .iter()
            .filter_map(|report| report.throttle.as_ref())
            .flat_map(|throttle| throttle.unavailable.clone())
            .collect::<Vec<_>>();
        if unavailable.is_empty() {
            "No signal was read yet: the first worker samples them.".to_owned()
        } else {
            format!("This database gives no signal: {}.", unavailable.join("; "))
        }
    }

    /// The application's statements that the fleet slows most.
    pub(crate) fn slowed(&self) -> Vec<SlowedView> {
        let Some(Slowed::Statements(statements)) = self.statements() else { return Vec::new() };
        let milliseconds = |seconds: f64| format!("{:.1} ms", seconds * 1e3);
        let view = |slowed: &StatementLatency| SlowedView {
            statement: slowed.statement.clone(),
            with: milliseconds(slowed.mean.with),
            without: milliseconds(slowed.mean.without),
            added: format!("{:.0} %", slowed.added() / slowed.mean.without * 100.0),
        };
        statements.iter().map(view).collect()
    }

    /// Why there is none of [`Self::slowed`].
    pub(crate) fn none_slowed(&self) -> Option<String> {
        match self.statements() {
            None => Some(format!("What the fleet adds is {}.", self.not_measured())),
            Some(Slowed::Unknown(why)) => Some(format!("Not known: {why}.")),
            Some(Slowed::Statements(statements)) if statements.is_empty() => {
                Some("None was seen to be slowed.".to_owned())
            }
            Some(Slowed::Statements(_)) => None,
        }
    }

    fn statements(&self) -> Option<&Slowed> {
        self.overview().report.as_ref()?.throttle.as_ref()?.slowed.as_ref()
    }

    /// The newest changes of controls and runs.
    pub(crate) fn commands(&self) -> Vec<CommandView> {
        let (Some(report), Some(now)) = (&self.overview().report, self.now()) else {
            return Vec::new();
        };
        let commands = report.commands.iter().map(|command| {
            let waits = !command.waiting_for.is_empty();
            let (became, tone) = if command.live == 0 {
                ("recorded; no worker lives to go by it".to_owned(), "off")
            } else if waits {
                let names: Vec<_> = command.waiting_for.iter().copied().take(5).map(tail).collect();
                let text = format!(
                    "acknowledged by {} of {}, waiting for {}",
                    command.acknowledged,
                    plural(u64::from(command.live), "worker", "workers"),
                    names.join(", ")
                );
                (text, "warn")
            } else {
                let live = plural(u64::from(command.live), "live worker", "live workers");
                (format!("in effect: acknowledged by {} of {live}", command.acknowledged), "good")
            };
            let at = command.change.changed_at;
            CommandView {
                at,
                when: format!("{} ago", ago(at, now)),
                seconds: (now - at).as_seconds_f64(),
                what: command.change.event.sentence(tail),
                by: command.change.changed_by.clone(),
                reason: command.change.reason.clone(),
                became,
                tone,
                waits,
            }
        });
        commands.collect()
    }
}

/// `off`, `on`, `on for 25 % of videos`
pub(crate) fn rollout(rollout: Rollout) -> String {
    match rollout {
        Rollout { enabled: false, .. } => "off".to_owned(),
        Rollout { percent: 0, .. } => "off (0 %)".to_owned(),
        Rollout { percent: 100, .. } => "on".to_owned(),
        Rollout { percent, .. } => format!("on for {percent} % of videos"),
    }
}
