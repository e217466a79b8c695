//! The figures of the overview.

use chrono::{DateTime, Utc};
use reelshift_overview::Progress;
use reelshift_overview::figures::{count, float_bytes, float_count, plural, range, seconds, tail};
use reelshift_plan::{VerdictKind, WorkerState};
use reelshift_store::Sample;
use reelshift_store::report::RunReport;

use super::{View, ago};
use crate::pages::chart::{Chart, Curve, Mark, SPAN, Span, escaped};
use crate::pages::moment::{clock, second};

/// A command that the fleet does not go by after this is worth a look: it takes 2 s, and
/// the heartbeat that says so another 2.
const HEARD_SECONDS: f64 = 8.0;

/// The newest marks that are listed under the charts.
const MARKS: usize = 5;

/// Something that a person should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attention {
    pub tone: &'static str,
    pub text: String,
    pub link: String,
}

impl View {
    /// `1,840/s (mean of 12m 3s: 4,210)`
    pub(crate) fn rows_rate(&self) -> String {
        let pace = &self.overview().pace;
        let (now, mean) =
            (float_count(pace.rows_per_second), float_count(pace.mean_rows_per_second));
        format!("{now} rows/s{}", self.mean(&mean))
    }

    pub(crate) fn bytes_rate(&self) -> String {
        let pace = &self.overview().pace;
        let (now, mean) =
            (float_bytes(pace.bytes_per_second), float_bytes(pace.mean_bytes_per_second));
        format!("{now}/s{}", self.mean(&mean))
    }

    /// Whether any file was or is to be hashed.
    pub(crate) fn hashes(&self) -> bool {
        self.runs().iter().any(|run| run.kind() == reelshift_plan::JobKind::Hash)
    }

    fn mean(&self, mean: &str) -> String {
        match (self.overview().pace.since, self.now()) {
            (Some(since), Some(now)) if now > since => {
                format!(" (mean of {}: {mean})", ago(since, now))
            }
            _ => String::new(),
        }
    }

    /// `05:10 to 07:40 (in 2h 3m to 4h 33m), without throttled time`
    pub(crate) fn estimate(&self) -> String {
        let Some(estimate) = self.overview().pace.estimate else {
            let rests =
                matches!(self.overview().verdict.kind, VerdictKind::Done | VerdictKind::Idle);
            let why = if rests { "nothing is left" } else { "no estimate: nothing moves" };
            return why.to_owned();
        };
        let (soon, late) = (seconds(estimate.soonest_seconds), seconds(estimate.latest_seconds));
        if estimate.latest_seconds < 60.0 {
            return format!("about {}, without throttled time", range(soon, &late));
        }
        let now = self.now().unwrap_or(estimate.soonest);
        format!(
            "{} (in {}), without throttled time; an estimate",
            range(clock(estimate.soonest, now), &clock(estimate.latest, now)),
            range(soon, &late)
        )
    }

    pub(crate) fn limited_by(&self) -> String {
        let overview = self.overview();
        if let Some(pause) = overview.report.as_ref().and_then(|report| report.pause()) {
            return format!("a pause by {}", pause.changed_by);
        }
        match (&overview.limiting, &overview.limiting_setting) {
            (Some(limiting), _) if limiting.limits => {
                let since = limiting
                    .since
                    .map_or_else(String::new, |at| format!(" since {}", self.ago(at)));
                format!("{}{since}", limiting.text)
            }
            (_, Some(setting)) => setting.clone(),
            (Some(limiting), None) => format!("nothing; closest: {}", limiting.text),
            (None, None) => "nothing is measured: no worker lives".to_owned(),
        }
    }

    /// What a person should look at, the most urgent first.
    pub(crate) fn attention(&self) -> Vec<Attention> {
        let Some(report) = &self.overview().report else { return Vec::new() };
        let mut items = Vec::new();
        let mut push =
            |tone, text: String, link: String| items.push(Attention { tone, text, link });
        for worker in report.workers.iter().filter(|worker| worker.state == WorkerState::Lost) {
            let seen = seconds(worker.seen_seconds_ago);
            let text = format!("Worker {} on {} was lost {seen} ago", tail(worker.id), worker.host);
            push("bad", text, format!("/workers#{}", tail(worker.id)));
        }
        for row in &report.unreadable {
            push("bad", format!("Not readable: {row}"), "/runs".to_owned());
        }
        for run in &report.runs {
            let link = format!("/runs/{}", run.run.id);
            if run.failed_open > 0 {
                push(
                    "bad",
                    format!("{} of the {} run", failed(run), run.run.kind),
                    format!("{link}?state=failed#batches"),
                );
            }
            if run.run.state == reelshift_plan::RunState::Paused {
                let why = run.run.reason.as_deref().unwrap_or("no reason was given");
                push("warn", format!("The {} run is paused: {why}", run.run.kind), link);
            }
        }
        let aside: u64 = report.runs.iter().map(|run| run.quarantined).sum();
        if aside > 0 {
            let text =
                format!("{} in quarantine", plural(aside, "row or file is", "rows or files are"));
            push("warn", text, "/failures#quarantine".to_owned());
        }
        let missing = report.throttle.iter().flat_map(|throttle| &throttle.readings);
        for reading in missing.filter(|reading| reading.value.is_none()) {
            push("warn", format!("A signal is missing: {reading}"), "/controls".to_owned());
        }
        for command in self.commands() {
            if command.waits && command.seconds > HEARD_SECONDS {
                push(
                    "warn",
                    format!("{}: {}", command.what, command.became),
                    "/controls".to_owned(),
                );
            }
        }
        for group in report.errors.iter().filter(|group| group.last_hour > group.hour_before) {
            let text = format!(
                "{} in the last hour, {} in the one before: {}",
                plural(group.last_hour, "failure", "failures"),
                count(group.hour_before),
                group.error_type
            );
            push("warn", text, "/failures".to_owned());
        }
        items
    }

    /// Rates, latencies and chunk times of the last quarter of an hour, and the changes in it.
    pub(crate) fn charts(&self) -> String {
        let newest = self.latest.history.points().next_back().map(|point| point.at);
        let recent = |at: DateTime<Utc>| newest.is_some_and(|newest| newest - at <= SPAN);
        let points: Vec<_> =
            self.latest.history.points().copied().filter(|point| recent(point.at)).collect();
        let marks: Vec<_> = self.marks().into_iter().filter(|mark| recent(mark.at)).collect();
        let mut html = charts(&points, &marks, None, false);
        if !marks.is_empty() {
            html += "<p class=\"quiet\">Changes in this time:</p><ul class=\"marks\">";
            for mark in marks.iter().take(MARKS) {
                html += &format!("<li>{} {}</li>", second(mark.at), escaped(&mark.text));
            }
            html += "</ul>";
        }
        html
    }

    /// What stopping now would mean.
    pub(crate) fn stopping(&self) -> Vec<String> {
        let stopping = &self.overview().stopping;
        let draining = if stopping.draining == 0 {
            "Nothing is at work: stopping costs nothing.".to_owned()
        } else {
            let end =
                if stopping.draining == 1 { "its chunk or file" } else { "their chunks or files" };
            format!(
                "{} would end {end} and go back, within {} at the longest.",
                plural(stopping.draining, "batch", "batches"),
                seconds(stopping.longest_seconds.ceil())
            )
        };
        let mut lines = vec![draining];
        if let Some(phase) = stopping.last_phase {
            lines.push(format!(
                "The last phase that can be rolled back is {phase}; back to {} with nothing lost: reelshift rollback --archive DIR",
                stopping.back_to
            ));
        }
        lines
    }

    /// `Schema steps: 38 of 41 done`
    pub(crate) fn steps_line(&self) -> String {
        let steps = &self.overview().steps;
        let done = steps.iter().filter(|step| step.progress == Progress::Done).count();
        let half = steps.iter().find(|step| step.progress == Progress::Underway);
        let half = half.map_or_else(String::new, |step| format!(", {} under way", step.name));
        format!("Schema steps: {done} of {} done{half}", steps.len())
    }

    /// `17 notifications are queued`
    pub(crate) fn notifications(&self) -> String {
        let Some(report) = &self.overview().report else {
            return "There is no queue yet.".to_owned();
        };
        let more = if report.monitor.notifications_queued_or_more { " or more" } else { "" };
        format!(
            "{}{more} in the queue, whatever their state.",
            plural(report.monitor.notifications_queued, "notification is", "notifications are")
        )
    }
}

/// A chart of each unit that was anything but zero.
pub(crate) fn charts(
    points: &[Sample],
    marks: &[Mark],
    span: Option<Span>,
    explains: bool,
) -> String {
    let chart = |title, curves: &[Curve], show| {
        Chart { title, points, curves, show, marks, span, explains }.html()
    };
    let rows = [Curve { name: "rows/s", value: |point| Some(point.rows_per_second) }];
    let mut html = chart("Rows per second", &rows, float_count);
    if points.iter().any(|point| point.bytes_per_second > 0.0) {
        let bytes = [Curve { name: "bytes/s", value: |point| Some(point.bytes_per_second) }];
        html += &chart("Bytes per second", &bytes, |value| format!("{}/s", float_bytes(value)));
    }
    if points.iter().any(|point| point.application_seconds.is_some()) {
        let application = [
            Curve { name: "with the fleet", value: |point| point.application_seconds },
            Curve { name: "without it", value: |point| point.application_without_seconds },
        ];
        let show = |value: f64| format!("{:.1} ms", value * 1_000.0);
        html += &chart("The application's median latency", &application, show);
    }
    let chunk = [Curve { name: "a chunk", value: |point| point.chunk_seconds }];
    html + &chart("Time of a chunk", &chunk, |value| format!("{:.0} ms", value * 1_000.0))
}

fn failed(run: &RunReport) -> String {
    plural(run.failed_open, "failed batch", "failed batches")
}
