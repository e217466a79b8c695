//! Charts as inline SVG, which needs no script to be seen.

use std::fmt::Write as _;

use askama::filters::{Html, escape};
use chrono::{DateTime, TimeDelta, Utc};
use reelshift_plan::VerdictKind;
use reelshift_store::Sample;

use super::moment::tick;

/// The past that the overview's charts show.
pub(crate) const SPAN: TimeDelta = TimeDelta::minutes(15);

/// Units of the drawing; it is stretched to the width that there is.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 120.0;

/// Points are averaged into at most this many.
const COLUMNS: usize = 180;

/// Times along the axis.
const TICKS: i32 = 4;

/// Something that was changed, which a chart marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub at: DateTime<Utc>,
    pub text: String,
}

/// One curve.
pub(crate) struct Curve {
    /// What it is called where there are several.
    pub name: &'static str,
    pub value: fn(&Sample) -> Option<f64>,
}

/// Curves of one unit over the same time; the first has its area filled.
pub(crate) struct Chart<'a> {
    pub title: &'a str,
    pub points: &'a [Sample],
    pub curves: &'a [Curve],
    pub show: fn(f64) -> String,
    pub marks: &'a [Mark],
    /// What the axis spans; `None` where that is from the first point to the last.
    pub span: Option<Span>,
    /// Whether each column shows its time and values when the pointer is on it. Only documents
    /// do: a live part is sent every second and must stay small.
    pub explains: bool,
}

/// From when to when.
pub(crate) type Span = (DateTime<Utc>, DateTime<Utc>);

type Values = Vec<(DateTime<Utc>, f64)>;

impl Chart<'_> {
    /// The figure as HTML.
    pub(crate) fn html(&self) -> String {
        let values: Vec<Values> = self.curves.iter().map(|curve| self.values(curve)).collect();
        let last = self
            .curves
            .first()
            .and_then(|curve| self.points.iter().rev().find_map(|point| (curve.value)(point)));
        let (Some(first), Some(end), Some(now)) = (self.points.first(), self.points.last(), last)
        else {
            return format!(
                "<figure class=\"chart\"><figcaption><strong>{}</strong> <span class=\"quiet\">nothing \
                 to draw yet</span></figcaption></figure>",
                self.title
            );
        };
        let (begin, end) = self.span.unwrap_or((first.at, end.at));
        let most = values.iter().flatten().map(|(_, value)| *value).fold(0.0, f64::max);
        let (now, highest) = ((self.show)(now), (self.show)(most));
        let scale = Scale { begin, seconds: seconds(end - begin).max(1.0), most };
        let curves: String =
            values.iter().enumerate().map(|(n, values)| curve(values, &scale, n)).collect();
        format!(
            "<figure class=\"chart\"><figcaption><strong>{title}</strong> <span class=\"quiet\">{word} {now}, \
             highest {highest}</span></figcaption>{legend}\
             <div class=\"plot\"><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-label=\"{title} since {since} UTC: {word} {now}, highest {highest}\">{held}{grid}{curves}{marks}{columns}</svg>{levels}</div>\
             <div class=\"axis\" aria-hidden=\"true\">{ticks}</div></figure>",
            title = self.title,
            // A document is read later.
            word = if self.explains { "last" } else { "now" },
            since = begin.format("%H:%M:%S"),
            legend = self.legend(),
            held = self.held(&scale),
            grid = grid(),
            marks = self.marks(&scale),
            columns = if self.explains { self.columns(&values, &scale) } else { String::new() },
            levels = self.levels(most),
            ticks = ticks(begin, end),
        )
    }

    /// What is drawn: means of at most [`COLUMNS`] buckets.
    fn values(&self, curve: &Curve) -> Values {
        let of_point = |point: &Sample| Some((point.at, (curve.value)(point)?));
        let values: Values = self.points.iter().filter_map(of_point).collect();
        let bucket = values.len().div_ceil(COLUMNS).max(1);
        let mean = |bucket: &[(DateTime<Utc>, f64)]| {
            let size = f64::from(u32::try_from(bucket.len()).unwrap_or(1));
            let mean = bucket.iter().map(|(_, value)| value).sum::<f64>() / size;
            bucket.last().map(|(at, _)| (*at, mean))
        };
        values.chunks(bucket).filter_map(mean).collect()
    }

    /// What the lines of the grid stand for. Without a value above zero there is only one.
    fn levels(&self, most: f64) -> String {
        if most <= 0.0 {
            return String::new();
        }
        let level = |class: &str, value: f64| {
            format!("<li class=\"{class}\">{}</li>", escaped(&(self.show)(value)))
        };
        format!(
            "<ul class=\"levels\" aria-hidden=\"true\">{}{}</ul>",
            level("most", most),
            level("half", most / 2.0)
        )
    }

    /// What the drawing shows, beside the curve that the title names.
    fn legend(&self) -> String {
        let mut entries: Vec<(String, String)> = Vec::new();
        if self.curves.len() > 1 {
            for (n, curve) in self.curves.iter().enumerate() {
                entries.push((format!("curve-{n}"), curve.name.to_owned()));
            }
        }
        if self.points.iter().any(is_held) {
            entries.push(("held".to_owned(), "held back, paused or still".to_owned()));
        }
        if !self.marks.is_empty() {
            entries.push(("mark".to_owned(), "a change by somebody".to_owned()));
        }
        if entries.is_empty() {
            return String::new();
        }
        let items: String = entries
            .into_iter()
            .map(|(class, text)| format!("<li class=\"key {class}\">{}</li>", escaped(&text)))
            .collect();
        format!("<ul class=\"legend\">{items}</ul>")
    }

    /// Invisible columns with the time and the values as their titles.
    fn columns(&self, values: &[Values], scale: &Scale) -> String {
        let mut svg = String::new();
        let width = WIDTH / COLUMNS as f64;
        for n in 0..COLUMNS {
            let x = width * n as f64;
            let at = scale.time(x + width / 2.0);
            let lines = self.curves.iter().zip(values).filter_map(|(curve, values)| {
                let after = values.partition_point(|(time, _)| *time < at);
                let (_, value) = values.get(after).or(values.last())?;
                Some(format!("{} {}", curve.name, (self.show)(*value)))
            });
            let text = std::iter::once(format!("{} UTC", at.format("%m-%d %H:%M:%S")))
                .chain(lines)
                .collect::<Vec<_>>()
                .join("\n");
            push(
                &mut svg,
                format_args!(
                    "<rect class=\"column\" x=\"{x:.1}\" y=\"0\" width=\"{width:.1}\" height=\"{HEIGHT}\"><title>{}</title></rect>",
                    escaped(&text)
                ),
            );
        }
        svg
    }

    /// Stretches in which the fleet was throttled, paused or still.
    fn held(&self, scale: &Scale) -> String {
        let mut svg = String::new();
        let mut from: Option<f64> = None;
        let last = self.points.len().saturating_sub(1);
        for (n, point) in self.points.iter().enumerate() {
            let held = is_held(point);
            let x = scale.x(point.at);
            match (held, from) {
                (true, None) => from = Some(x),
                (false, Some(begun)) => {
                    held_rect(&mut svg, begun, x);
                    from = None;
                }
                _ => {}
            }
            if n == last
                && let Some(begun) = from
            {
                held_rect(&mut svg, begun, x);
            }
        }
        svg
    }

    fn marks(&self, scale: &Scale) -> String {
        let mut svg = String::new();
        for mark in self.marks.iter().filter(|mark| mark.at >= scale.begin) {
            let (x, text) = (scale.x(mark.at), escaped(&mark.text));
            push(
                &mut svg,
                format_args!(
                    "<line class=\"mark\" x1=\"{x:.1}\" y1=\"0\" x2=\"{x:.1}\" y2=\"{HEIGHT}\"><title>{text}</title></line>"
                ),
            );
        }
        svg
    }
}

/// Whether the fleet was throttled, paused or still.
fn is_held(point: &Sample) -> bool {
    matches!(
        point.verdict,
        VerdictKind::Throttled | VerdictKind::Paused | VerdictKind::Stalled | VerdictKind::Dead
    )
}

/// Lines at the highest value and at half of it.
fn grid() -> String {
    let line = |y: f64| {
        format!("<line class=\"grid\" x1=\"0\" y1=\"{y:.1}\" x2=\"{WIDTH}\" y2=\"{y:.1}\"/>")
    };
    [0.1, 0.55].map(|share| line(HEIGHT * share)).concat()
}

/// Times from `begin` to `end`, with the day where they are of several.
fn ticks(begin: DateTime<Utc>, end: DateTime<Utc>) -> String {
    (0..=TICKS)
        .map(|n| format!("<span>{}</span>", tick(begin + (end - begin) * n / TICKS, begin, end)))
        .collect()
}

struct Scale {
    begin: DateTime<Utc>,
    seconds: f64,
    most: f64,
}

impl Scale {
    fn x(&self, at: DateTime<Utc>) -> f64 {
        (seconds(at - self.begin) / self.seconds * WIDTH).clamp(0.0, WIDTH)
    }

    fn time(&self, x: f64) -> DateTime<Utc> {
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds of a migration")]
        let millis = (x / WIDTH * self.seconds * 1_000.0) as i64;
        self.begin + TimeDelta::milliseconds(millis)
    }

    /// A tenth stays free above the highest.
    fn y(&self, value: f64) -> f64 {
        HEIGHT - value / self.most.max(f64::MIN_POSITIVE) * HEIGHT * 0.9
    }
}

/// The `number`th curve of a chart.
fn curve(values: &[(DateTime<Utc>, f64)], scale: &Scale, number: usize) -> String {
    let mut line = String::new();
    for (n, (at, value)) in values.iter().enumerate() {
        let (x, y) = (scale.x(*at), scale.y(*value));
        push(&mut line, format_args!("{}{x:.1} {y:.1}", if n == 0 { "M" } else { "L" }));
    }
    // A single point is drawn as one, too.
    let point = if values.len() == 1 { "h0" } else { "" };
    let (Some((first, _)), Some((last, _))) = (values.first(), values.last()) else { return line };
    let area = if number == 0 {
        let (first, last) = (scale.x(*first), scale.x(*last));
        format!("<path class=\"area\" d=\"{line}L{last:.1} {HEIGHT}L{first:.1} {HEIGHT}Z\"/>")
    } else {
        String::new()
    };
    format!("{area}<path class=\"curve curve-{number}\" d=\"{line}{point}\"/>")
}

fn held_rect(svg: &mut String, from: f64, to: f64) {
    let width = (to - from).max(2.0);
    push(
        svg,
        format_args!(
            "<rect class=\"held\" x=\"{from:.1}\" y=\"0\" width=\"{width:.1}\" height=\"{HEIGHT}\"/>"
        ),
    );
}

/// A share of the whole for each state, as one bar.
pub(crate) fn strip(label: &str, shares: &[(&str, u64)]) -> String {
    let all: u64 = shares.iter().map(|(_, share)| share).sum();
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} 10\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">",
        escaped(label)
    );
    let mut x = 0.0;
    for (class, share) in shares {
        #[expect(clippy::cast_precision_loss, reason = "drawn, not counted")]
        let width = *share as f64 / all.max(1) as f64 * WIDTH;
        push(
            &mut svg,
            format_args!(
                "<rect class=\"{class}\" x=\"{x:.2}\" y=\"0\" width=\"{width:.2}\" height=\"10\"/>"
            ),
        );
        x += width;
    }
    svg.push_str("</svg>");
    svg
}

pub(crate) fn escaped(text: &str) -> String {
    escape(text, Html).map_or_else(|_| String::new(), |safe| safe.to_string())
}

fn push(text: &mut String, piece: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    text.write_fmt(piece).unwrap_or_default();
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of some minutes")]
fn seconds(time: TimeDelta) -> f64 {
    time.num_milliseconds() as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(verdicts: &[VerdictKind]) -> Vec<Sample> {
        (0..)
            .zip(verdicts)
            .map(|(second, verdict)| Sample {
                at: DateTime::UNIX_EPOCH + TimeDelta::seconds(second),
                rows_per_second: if second == 1 { 100.0 } else { 50.0 },
                bytes_per_second: 0.0,
                chunk_seconds: None,
                application_seconds: None,
                application_without_seconds: None,
                verdict: *verdict,
            })
            .collect()
    }

    fn chart<'a>(points: &'a [Sample], marks: &'a [Mark]) -> Chart<'a> {
        Chart {
            title: "Rows per second",
            points,
            curves: &[Curve { name: "rows", value: |point| Some(point.rows_per_second) }],
            show: |value| format!("{value:.0}/s"),
            marks,
            span: None,
            explains: false,
        }
    }

    #[test]
    fn a_chart_says_in_words_what_it_shows() {
        let points = points(&[
            VerdictKind::Running,
            VerdictKind::Throttled,
            VerdictKind::Throttled,
            VerdictKind::Running,
        ]);
        let mark = Mark { at: points[2].at, text: "5 % <b> → 10 %".to_owned() };
        let html = chart(&points, &[mark]).html();
        assert!(html.contains(
            "aria-label=\"Rows per second since 00:00:00 UTC: now 50/s, highest 100/s\""
        ));
        assert!(html.contains("d=\"M0.0 66.0L300.0 12.0L600.0 66.0L900.0 66.0\""), "{html}");
        assert!(html.contains("class=\"held\" x=\"300.0\" y=\"0\" width=\"600.0\""), "{html}");
        assert!(html.contains("<title>5 % &#60;b&#62; → 10 %</title>"), "{html}");
        let levels = "<li class=\"most\">100/s</li><li class=\"half\">50/s</li>";
        assert!(html.contains(levels), "{html}");
        assert!(!html.contains("style="), "the policy forbids styles in attributes");
    }

    #[test]
    fn without_points_it_says_so() {
        assert!(chart(&[], &[]).html().contains("nothing to draw yet"));
    }

    #[test]
    fn a_strip_has_a_part_for_each_state() {
        let svg = strip("3 done, 1 failed", &[("done", 3), ("failed", 1)]);
        assert!(svg.contains("class=\"failed\" x=\"675.00\" y=\"0\" width=\"225.00\""), "{svg}");
        assert!(strip("none", &[("done", 0)]).contains("width=\"0.00\""));
    }
}
