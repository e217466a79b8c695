//! Where the lines go: drawn over the ones before on a terminal, or one line a sample
//! elsewhere.

use std::time::Duration;

use console::{Term, strip_ansi_codes, truncate_str};
use owo_colors::OwoColorize;
use reelshift_overview::Overview;

use crate::{escape, style};

/// The width of a terminal that does not report one: wide enough for every line of a usual
/// migration.
const DEFAULT_WIDTH: usize = 100;

/// A frame drawn over the one before: every line to its end, and nothing left below.
pub(super) fn frame(lines: &[String]) -> String {
    let (height, width) = Term::stdout().size_checked().unwrap_or((u16::MAX, 0));
    let width = if width == 0 { DEFAULT_WIDTH } else { usize::from(width) };
    sized(lines, usize::from(height.max(3)) - 1, width)
}

/// At most `height` lines. If there are more, the last one says how many are left out.
fn sized(lines: &[String], height: usize, width: usize) -> String {
    let shown = if lines.len() > height { height - 1 } else { lines.len() };
    let left_out = (shown < lines.len()).then(|| {
        let more = style::plural((lines.len() - shown) as u64, "line", "lines");
        format!("and {more} more: reelshift top, or a higher window").dimmed().to_string()
    });
    let mut text = String::from("\x1b[H");
    for line in lines.iter().take(shown).chain(&left_out) {
        let line = escape::line(line);
        let line = if style::colours() { line } else { strip_ansi_codes(&line).into_owned() };
        text.push_str(&truncate_str(&line, width, "…"));
        text.push_str("\x1b[0m\x1b[K\r\n");
    }
    text.push_str("\x1b[J");
    text
}

/// The overview as one line, for logs and pipes.
pub(super) fn line(overview: &Overview, age: Duration, trouble: Option<&str>) -> String {
    let at = overview.at().map_or_else(String::new, style::time);
    let verdict = &overview.verdict;
    let reason = verdict.reason.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
    let runs = overview.report.iter().flat_map(|report| &report.runs);
    let open = runs.filter(|run| run.run.finished_at.is_none()).map(|run| {
        let (done, total) = run.progress();
        format!("; {} {}", run.run.kind, style::percent(done, total))
    });
    let trouble = trouble.map_or_else(String::new, |why| {
        format!("; data {} s old, cannot read the database: {why}", age.as_secs())
    });
    let open = open.collect::<String>();
    format!("{at} {}: {}{reason}{open}{trouble}", verdict.kind.word(), verdict.sentence)
}

#[cfg(test)]
mod tests {
    use console::measure_text_width;

    use super::*;

    #[test]
    fn a_frame_leaves_nothing_of_the_one_before() {
        let text = frame(&["one".to_owned(), "x".repeat(500)]);
        assert!(text.starts_with("\x1b[H") && text.ends_with("\x1b[J"));
        let lines: Vec<_> = text.split("\r\n").collect();
        assert!(lines[0].ends_with("one\x1b[0m\x1b[K"));
        assert!(measure_text_width(lines[1]) <= DEFAULT_WIDTH.max(500), "no line wraps");
        assert!(lines[1].contains('…'), "{}", lines[1]);
    }

    #[test]
    fn a_frame_says_what_it_has_no_place_for() {
        let lines = ["one", "two", "three", "four"].map(str::to_owned);
        assert!(sized(&lines, 4, 80).contains("four"));
        let text = sized(&lines, 3, 80);
        assert!(text.contains("two") && !text.contains("three"));
        assert!(text.contains("and 2 lines more"), "{text:?}");
    }
}
