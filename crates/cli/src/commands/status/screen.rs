//! The snapshot on a terminal, redrawn in place, and as a line where there is none.

use std::time::Duration;

use console::{Term, measure_text_width, pad_str, truncate_str};
use owo_colors::OwoColorize;
use reelshift_plan::WorkerState;
use reelshift_server::snapshot::{Kind, Progress, Snapshot};
use reelshift_store::report::{RunReport, Snapshot as Report, WorkerReport};

use crate::{escape, look};

/// Wide enough for every line of a usual migration, where nobody says how wide it is.
const WIDTH: usize = 100;

/// Groups of failures and commands that are shown.
const MOST: usize = 3;

/// Figures older than this are marked: two looks were missed and more.
const STALE: Duration = Duration::from_secs(10);

/// What one frame shows.
pub(super) struct Shown<'a> {
    pub looked: &'a Snapshot,
    /// The database.
    pub place: &'a str,
    pub age: Duration,
    /// Why there is nothing newer.
    pub trouble: Option<&'a str>,
}

/// A frame drawn over the one before: every line to its end, and nothing left below.
pub(super) fn frame(lines: &[String]) -> String {
    let (height, width) = Term::stdout().size_checked().unwrap_or((u16::MAX, 0));
    let width = if width == 0 { WIDTH } else { usize::from(width) };
    let mut text = String::from("\x1b[H");
    let shown: Vec<_> = lines.iter().take(usize::from(height.max(2)) - 1).collect();
    for line in shown {
        text.push_str(&truncate_str(&escape::line(line), width, "…"));
        text.push_str("\x1b[0m\x1b[K\r\n");
    }
    text.push_str("\x1b[J");
    text
}

impl Shown<'_> {
    /// The frame's lines, as wide as they come.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.head(), verdict(self.looked)];
        if let Some(next) = &self.looked.verdict.next {
            lines.push(format!("next: {next}"));
        }
        lines.push(phases_and_way_back(self.looked));
        if let Some(trouble) = self.trouble {
            lines.push(format!("{} {trouble}", "cannot look:".red().bold()));
        }
        let Some(report) = &self.looked.report else { return lines };
        for run in report.runs.iter().filter(|run| run.run.finished_at.is_none()) {
            lines.push(progress(run));
        }
        lines.push(pace(self.looked));
        lines.push(batches(report));
        lines.extend(workers(report));
        lines.extend(errors(report));
        lines.push(flags(self.looked));
        lines.extend(commands(report));
        lines
    }

    fn head(&self) -> String {
        let run = self.looked.report.iter().flat_map(|report| &report.runs);
        let run = run
            .filter(|run| run.run.finished_at.is_none())
            .map(|run| format!("{} {}", run.run.kind, look::tail(run.run.id)));
        let what = run.take(2).collect::<Vec<_>>().join(", ");
        let at = self.looked.at().map_or_else(String::new, |at| at.format("%H:%M:%S").to_string());
        let age = format!("data {} s old", self.age.as_secs());
        let age = if self.age > STALE { age.red().bold().to_string() } else { age };
        format!("reelshift status --watch    {}    {what}    {at} UTC  {age}", self.place.bold())
    }
}

fn coloured(kind: Kind, text: &str) -> String {
    match kind.tone() {
        "good" => text.green().bold().to_string(),
        "warn" => text.yellow().bold().to_string(),
        "bad" => text.red().bold().to_string(),
        _ => text.cyan().bold().to_string(),
    }
}

/// `THROTTLED since 02:58 (14m 3s)   replica lag 7.1 s > 5.0 s on db-2   The fleet's …`
fn verdict(looked: &Snapshot) -> String {
    let verdict = &looked.verdict;
    let since = match (verdict.since, looked.at()) {
        (Some(since), Some(at)) => {
            let lasting = look::seconds((at - since).as_seconds_f64());
            format!(" since {} ({lasting})", look::clock(since, at))
        }
        _ => String::new(),
    };
    let reason = verdict.reason.as_ref().map_or_else(String::new, |why| format!("   {why}"));
    format!("{}{since}{reason}   {}", coloured(verdict.kind, verdict.kind.word()), verdict.sentence)
}

/// `expand ok > BACKFILL 58.1 % > rollout > index > automate`
pub(super) fn phases(looked: &Snapshot) -> String {
    let next = looked.phases.iter().position(|phase| phase.progress != Progress::Done);
    let phases = looked.phases.iter().enumerate().map(|(place, phase)| {
        let name = phase.phase.as_str();
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
    phases.collect::<Vec<_>>().join(" > ")
}

fn phases_and_way_back(looked: &Snapshot) -> String {
    let back = looked.stopping.last_phase.map_or_else(String::new, |_| {
        format!("         can roll back to: {}", looked.stopping.back_to)
    });
    format!("{}{back}", phases(looked))
}

/// `[####....] 58.1 %   6.97 M of about 12.00 M rows`
fn progress(run: &RunReport) -> String {
    let (done, total) = run.progress();
    let unit = match run.run.kind {
        reelshift_plan::JobKind::Backfill | reelshift_plan::JobKind::Validate => {
            format!("{} of about {} rows", look::short(done), look::short(total))
        }
        reelshift_plan::JobKind::Hash => {
            format!("{} of about {}", look::bytes(done), look::bytes(total))
        }
    };
    let state = look::state(run.run.state);
    format!(
        "{} {}   {unit}   {} {state}",
        look::bar(done, total, 24),
        look::percent(done, total),
        run.run.kind
    )
}

/// `rate 1,840 rows/s (12m 3s: 4,210)    ETA 05:10 to 07:40 UTC without throttled time`
fn pace(looked: &Snapshot) -> String {
    let pace = &looked.pace;
    let mean = match (pace.since, looked.at()) {
        (Some(since), Some(at)) if at > since => {
            let lasting = look::seconds((at - since).as_seconds_f64());
            format!(" ({lasting}: {})", look::float_count(pace.mean_rows_per_second))
        }
        _ => String::new(),
    };
    let rows = format!("{} rows/s{mean}", look::float_count(pace.rows_per_second));
    let bytes = format!("{}/s", look::float_bytes(pace.bytes_per_second));
    let eta = pace.estimate.map_or("no ETA: nothing moves".to_owned(), |estimate| {
        format!(
            "ETA {} to {} UTC without throttled time",
            estimate.soonest.format("%H:%M:%S"),
            estimate.latest.format("%H:%M:%S")
        )
    });
    format!("rate {rows}   {bytes}    {eta}")
}

fn batches(report: &Report) -> String {
    let sum = |of: fn(&RunReport) -> u64| look::count(report.runs.iter().map(of).sum());
    format!(
        "batches   done {}   leased {}   pending {}   failed {}   quarantined {} rows",
        sum(|run| run.batches.done),
        sum(|run| run.batches.leased),
        sum(|run| run.batches.pending),
        sum(|run| run.failed_open),
        sum(|run| run.quarantined),
    )
}

/// A row of the worker table; the last column is as wide as it likes.
fn row(cells: [&str; 6]) -> String {
    const WIDTHS: [usize; 6] = [13, 8, 9, 12, 7, 0];
    let padded = cells.iter().zip(WIDTHS).enumerate().map(|(n, (cell, width))| {
        let side =
            if (2..4).contains(&n) { console::Alignment::Right } else { console::Alignment::Left };
        pad_str(cell, width.max(measure_text_width(cell)), side, None).into_owned()
    });
    padded.collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

fn workers(report: &Report) -> Vec<String> {
    if report.workers.is_empty() {
        return vec!["0 workers. Next: reelshift work".yellow().to_string()];
    }
    let mut lines =
        vec![row(["WORKER", "STATE", "ROWS/S", "BYTES/S", "BEAT", "DOING"]).bold().to_string()];
    let known = |worker: &&WorkerReport| worker.state != WorkerState::Left;
    for worker in report.workers.iter().filter(known) {
        let live = worker.state == WorkerState::Live;
        let rate = |text: String| if live { text } else { "-".to_owned() };
        let doing = if live { worker.activity.doing.clone() } else { taken_over(report, worker) };
        let line = row([
            &look::tail(worker.id),
            worker.state.as_str(),
            &rate(look::float_count(worker.activity.rows_per_second)),
            &rate(look::float_bytes(worker.activity.bytes_per_second)),
            &look::seconds(worker.seen_seconds_ago),
            &doing,
        ]);
        lines.push(if live { line } else { line.red().to_string() });
    }
    lines
}

/// `3 batches taken over by w-03; its late writes are refused`
fn taken_over(report: &Report, worker: &WorkerReport) -> String {
    let lost: Vec<_> =
        report.lost_leases.iter().filter(|lease| lease.worker == worker.id).collect();
    let mut heirs: Vec<_> =
        lost.iter().filter_map(|lease| lease.taken_over_by).map(look::tail).collect();
    heirs.sort_unstable();
    heirs.dedup();
    let batches = look::plural(lost.len() as u64, "batch", "batches");
    let by = if heirs.is_empty() {
        "by nobody yet".to_owned()
    } else {
        format!("by {}", heirs.join(", "))
    };
    format!("{batches} taken over {by}; its late writes are refused")
}

fn errors(report: &Report) -> Option<String> {
    let recent: Vec<_> = report
        .errors
        .iter()
        .filter(|group| group.last_hour > 0)
        .take(MOST)
        .map(|group| {
            let last = group.last_at.format("%H:%M");
            format!("{} × {} (last {last})", look::count(group.last_hour), group.error_type)
        })
        .collect();
    (!recent.is_empty()).then(|| format!("errors 1 h:  {}", recent.join("   ").red()))
}

fn flags(looked: &Snapshot) -> String {
    let on = looked.flags.iter().filter(|flag| flag.stored.rollout.is_on());
    let each = on.map(|flag| {
        let at = flag.stored.updated_at.format("%H:%M");
        format!("{} {} % ({at})", flag.stored.flag, flag.stored.rollout.percent)
    });
    let each = each.collect::<Vec<_>>();
    format!("flags:  {}", if each.is_empty() { "all off".to_owned() } else { each.join("   ") })
}

/// `command:  concurrency default → 12 by ops@host: acknowledged by 4 of 5, waiting for …`
fn commands(report: &Report) -> Vec<String> {
    let newest = report.commands.iter().take(MOST).map(|command| {
        let change = &command.change;
        let became = if command.waiting_for.is_empty() {
            format!("in effect, acknowledged by {} of {}", command.acknowledged, command.live)
                .green()
                .to_string()
        } else {
            let names = command.waiting_for.iter().take(3).copied().map(look::tail);
            let names = names.collect::<Vec<_>>().join(", ");
            let text = format!(
                "acknowledged by {} of {}, waiting for {names}",
                command.acknowledged, command.live
            );
            text.yellow().to_string()
        };
        format!(
            "command:  {} by {}: {became}",
            change.event.sentence(look::tail),
            change.changed_by
        )
    });
    newest.collect()
}

/// The snapshot as one line, for logs and pipes.
pub(super) fn line(looked: &Snapshot, age: Duration, trouble: Option<&str>) -> String {
    let at = looked.at().map_or_else(String::new, look::time);
    let verdict = &looked.verdict;
    let reason = verdict.reason.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
    let runs = looked.report.iter().flat_map(|report| &report.runs);
    let open = runs.filter(|run| run.run.finished_at.is_none()).map(|run| {
        let (done, total) = run.progress();
        format!("; {} {}", run.run.kind, look::percent(done, total))
    });
    let counts =
        looked.report.as_ref().map_or_else(String::new, |report| format!("; {}", batches(report)));
    let trouble = trouble.map_or_else(String::new, |why| {
        format!("; data {} s old, cannot look: {why}", age.as_secs())
    });
    let open = open.collect::<String>();
    format!("{at} {}: {}{reason}{open}{counts}{trouble}", verdict.kind.word(), verdict.sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_leaves_nothing_of_the_one_before() {
        let text = frame(&["one".to_owned(), "x".repeat(500)]);
        assert!(text.starts_with("\x1b[H") && text.ends_with("\x1b[J"));
        let lines: Vec<_> = text.split("\r\n").collect();
        assert!(lines[0].ends_with("one\x1b[0m\x1b[K"));
        assert!(measure_text_width(lines[1]) <= WIDTH.max(500), "no line wraps");
        assert!(lines[1].contains('…'), "{}", lines[1]);
    }

    #[test]
    fn columns_stand_under_each_other() {
        let head = row(["WORKER", "STATE", "ROWS/S", "BYTES/S", "BEAT", "DOING"]);
        let one = row(["0123456789ab", "live", "1,840", "1.50 GiB", "1s", "backfill"]);
        assert_eq!(head.find("DOING"), one.find("backfill"));
        assert_eq!(head.find("ROWS/S").map(|at| at + 6), one.find("1,840").map(|at| at + 5));
    }
}
