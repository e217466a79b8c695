//! What `status` shows, from the most urgent to the least: the same lines once and redrawn.

use std::time::Duration;

use chrono::{DateTime, Utc};
use owo_colors::OwoColorize;
use reelshift_overview::figures::range;
use reelshift_overview::{Overview, Progress};
use reelshift_plan::VerdictKind;
use reelshift_store::controls::{Control, PAUSE};
use reelshift_store::report::LedgerReport;

use super::{monitor, runs, throttle, workers};
use crate::commands::errors::group_table;
use crate::style;

/// The newest commands that are shown.
const COMMANDS_SHOWN: usize = 3;

/// Workers that do not follow a command yet and are named.
const WAITING_SHOWN: usize = 3;

/// Figures older than this are marked: two samples and more were missed.
const STALE: Duration = Duration::from_secs(10);

/// An overview on a terminal.
pub(in crate::commands) struct Layout<'a> {
    pub overview: &'a Overview,
    /// The database.
    pub database: &'a str,
    /// How old the figures are.
    pub age: Duration,
    /// Why there is nothing newer.
    pub trouble: Option<&'a str>,
}

impl Layout<'_> {
    /// The lines above the lists of runs, workers and failures. They are not wrapped.
    pub(in crate::commands) fn summary(&self) -> Vec<String> {
        let overview = self.overview;
        let mut lines = vec![self.head(), verdict(overview)];
        lines.extend(overview.verdict.next.as_ref().map(|next| format!("Next: {next}")));
        lines.push(phases(overview));
        if let Some(trouble) = self.trouble {
            lines.push(format!("{} {trouble}", "cannot read the database:".red().bold()));
        }
        let Some(report) = &overview.report else { return lines };
        lines.push(String::new());
        lines.extend(report.load.map(|load| {
            let connections = style::plural(load.active_connections, "connection", "connections");
            format!(
                "{connections} at work   queries {:.1} s on average, {} s at most",
                load.avg_query_seconds, load.max_query_seconds
            )
        }));
        lines.extend(report.controls.iter().map(control));
        lines.extend(report.throttle.iter().flat_map(throttle::lines));
        if report.runs.is_empty() {
            lines.push("no runs yet".to_owned());
        } else {
            lines.push(pace(overview));
            lines.push(monitor::line(&report.monitor));
        }
        lines
    }

    /// The summary and the lists. The lines are not wrapped.
    pub(in crate::commands) fn lines(&self) -> Vec<String> {
        let overview = self.overview;
        let mut lines = self.summary();
        let Some(report) = &overview.report else { return lines };
        lines.extend(report.runs.iter().flat_map(runs::lines));
        let unreadable = |row: &String| format!("{} {row}", "UNREADABLE".red().bold());
        lines.extend(report.unreadable.iter().map(unreadable));
        if report.runs_left_out > 0 {
            let older = style::plural(report.runs_left_out, "older run", "older runs");
            lines.push(format!("and {older} that did not end well, or have not ended"));
        }
        lines.extend(workers::lines(report));
        if !report.errors.is_empty() {
            lines.push(String::new());
            lines.extend(group_table(&report.errors).lines(0));
            lines.push("Details: reelshift errors".to_owned());
        }
        lines.push(String::new());
        lines.push(flags(overview));
        lines.extend(commands(report));
        lines
    }

    fn head(&self) -> String {
        let Some(report) = &self.overview.report else { return self.database.bold().to_string() };
        let age = format!("data {} s old", self.age.as_secs());
        let age = if self.age > STALE { age.red().bold().to_string() } else { age };
        format!(
            "{}   {}   {} UTC   {age}",
            self.database.bold(),
            report.server.dimmed(),
            style::time(report.at)
        )
    }
}

fn coloured(kind: VerdictKind, text: &str) -> String {
    match kind.tone() {
        "good" => text.green().bold().to_string(),
        "warn" => text.yellow().bold().to_string(),
        "bad" => text.red().bold().to_string(),
        _ => text.cyan().bold().to_string(),
    }
}

/// `PAUSED since 02:58 UTC (14m 3s)   the backup runs   The whole fleet is paused by …`
fn verdict(overview: &Overview) -> String {
    let verdict = &overview.verdict;
    let since = match (verdict.since, overview.at()) {
        (Some(since), Some(at)) => {
            let lasting = style::seconds((at - since).as_seconds_f64());
            format!(" since {} UTC ({lasting})", style::clock(since, at))
        }
        _ => String::new(),
    };
    let reason = verdict.reason.as_ref().map_or_else(String::new, |why| format!("   {why}"));
    format!("{}{since}{reason}   {}", coloured(verdict.kind, verdict.kind.word()), verdict.sentence)
}

/// `expand ok > BACKFILL 58.1 % > rollout > index > automate   can roll back to: legacy`
fn phases(overview: &Overview) -> String {
    let next = overview.phases.iter().position(|phase| phase.progress != Progress::Done);
    let phases = overview.phases.iter().enumerate().map(|(place, phase)| {
        let name = phase.phase.into_str();
        match phase.progress {
            Progress::Done => format!("{name} {}", "ok".green()),
            Progress::Underway => {
                let note = phase.note.as_ref().map_or_else(String::new, |note| format!(" {note}"));
                format!("{}{note}", name.to_uppercase().bold())
            }
            Progress::NotStarted if Some(place) == next => format!("{name} not started"),
            Progress::NotStarted => name.dimmed().to_string(),
        }
    });
    let back = overview.stopping.last_phase.map_or_else(String::new, |_| {
        format!("   can roll back to: {}", overview.stopping.back_to)
    });
    format!("{}{back}", phases.collect::<Vec<_>>().join(" > "))
}

/// What an operator set, with who, when and why.
fn control(control: &Control) -> String {
    let what = if control.name == PAUSE {
        "PAUSED, the whole fleet".yellow().bold().to_string()
    } else {
        format!("tuned {}={}", control.name, control.value)
    };
    let why = control.reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
    let end = control.ends_at.map(|end| format!(", until {}", style::time(end)));
    format!(
        "{what}{why} ({}, since {}{} UTC)",
        control.changed_by,
        style::time(control.changed_at),
        end.unwrap_or_default()
    )
}

/// `rate 1,840 rows/s (mean of 12m 3s: 4,210)   364 MiB/s   left 2h 3m to 4h 33m, 05:10 to 07:40 UTC`
fn pace(overview: &Overview) -> String {
    let pace = &overview.pace;
    let mean = match (pace.since, overview.at()) {
        (Some(since), Some(at)) if at > since => {
            let lasting = style::seconds((at - since).as_seconds_f64());
            format!(" (mean of {lasting}: {})", style::float_count(pace.mean_rows_per_second))
        }
        _ => String::new(),
    };
    let rows = format!("{} rows/s{mean}", style::float_count(pace.rows_per_second));
    let bytes = format!("{}/s", style::float_bytes(pace.bytes_per_second));
    let still = match overview.verdict.kind {
        VerdictKind::Done | VerdictKind::Idle => "nothing is left",
        _ => "left: no estimate, nothing moves",
    };
    let left = pace.estimate.map_or(still.to_owned(), |estimate| {
        let clock = |at: DateTime<Utc>| at.format("%H:%M:%S").to_string();
        let time = style::seconds;
        format!(
            "left {}, {} UTC without throttled time",
            range(time(estimate.soonest_seconds), &time(estimate.latest_seconds)),
            range(clock(estimate.soonest), &clock(estimate.latest))
        )
    });
    format!("rate {rows}   {bytes}   {left}")
}

fn flags(overview: &Overview) -> String {
    let on = overview.flags.iter().filter(|flag| flag.stored.rollout.is_on());
    let each = on.map(|flag| {
        let at = flag.stored.updated_at.format("%H:%M");
        format!("{} {} % ({at})", flag.stored.flag, flag.stored.rollout.percent)
    });
    let each = each.collect::<Vec<_>>();
    format!("flags   {}", if each.is_empty() { "all off".to_owned() } else { each.join("   ") })
}

/// `command   concurrency 16 → 12 by ops@host: acknowledged by 4 of 5, waiting for …`
fn commands(report: &LedgerReport) -> Vec<String> {
    let newest = report.commands.iter().take(COMMANDS_SHOWN).map(|command| {
        let change = &command.change;
        let effect = if command.waiting_for.is_empty() {
            format!("in effect, acknowledged by {} of {}", command.acknowledged, command.live)
                .green()
                .to_string()
        } else {
            let names = command.waiting_for.iter().take(WAITING_SHOWN).copied().map(style::tail);
            let names = names.collect::<Vec<_>>().join(", ");
            let text = format!(
                "acknowledged by {} of {}, waiting for {names}",
                command.acknowledged, command.live
            );
            text.yellow().to_string()
        };
        format!(
            "command   {} by {}: {effect}",
            change.event.sentence(style::tail),
            change.changed_by
        )
    });
    newest.collect()
}
