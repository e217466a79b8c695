//! Charts of the recent past as inline SVG, which needs no script to be seen.

use std::fmt::Write as _;

use askama::filters::{Html, escape};
use chrono::{DateTime, TimeDelta, Utc};
use reelshift_overview::{Point, VerdictKind};

/// The past that a chart shows.
pub(crate) const SPAN: TimeDelta = TimeDelta::minutes(15);

/// Units of the drawing; it is stretched to the width that there is.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 120.0;

/// Points are averaged into at most this many.
const COLUMNS: usize = 180;

/// Something that was changed, which a chart marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub at: DateTime<Utc>,
    pub text: String,
}

/// One curve.
pub(crate) struct Chart<'a> {
    pub title: &'a str,
    pub points: &'a [Point],
    pub value: fn(&Point) -> Option<f64>,
    pub show: fn(f64) -> String,
    pub marks: &'a [Mark],
}

impl Chart<'_> {
    /// The figure as HTML.
    pub(crate) fn html(&self) -> String {
        let end = self.points.last().map(|point| point.at);
        let values: Vec<(DateTime<Utc>, f64)> =
            self.points.iter().filter_map(|point| Some((point.at, (self.value)(point)?))).collect();
        let (Some(end), Some(now)) = (end, values.last()) else {
            return format!(
                "<figure class=\"chart\"><figcaption><strong>{}</strong> <span class=\"quiet\">nothing \
                 to draw yet</span></figcaption></figure>",
                self.title
            );
        };
        let begin = self.points.first().map_or(end, |point| point.at).max(end - SPAN);
        let most = values.iter().map(|(_, value)| *value).fold(0.0, f64::max);
        let (now, highest) = ((self.show)(now.1), (self.show)(most));
        let scale = Scale { begin, seconds: seconds(end - begin).max(1.0), most };
        format!(
            "<figure class=\"chart\"><figcaption><strong>{title}</strong> <span class=\"quiet\">now {now}, \
             highest {highest}</span></figcaption>\
             <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-label=\"{title} since {since} UTC: now {now}, highest {highest}\">{held}{curve}{marks}</svg>\
             <div class=\"axis\" aria-hidden=\"true\"><span>{since}</span><span>{until}</span></div></figure>",
            title = self.title,
            since = begin.format("%H:%M:%S"),
            until = end.format("%H:%M:%S"),
            held = self.held(&scale),
            curve = curve(&values, &scale),
            marks = self.marks(&scale),
        )
    }

    /// Stretches in which the fleet was throttled, paused or still.
    fn held(&self, scale: &Scale) -> String {
        let mut svg = String::new();
        let mut from: Option<f64> = None;
        let last = self.points.len().saturating_sub(1);
        for (n, point) in
            self.points.iter().enumerate().filter(|(_, point)| point.at >= scale.begin)
        {
            let held = matches!(
                point.verdict,
                VerdictKind::Throttled
                    | VerdictKind::Paused
                    | VerdictKind::Stalled
                    | VerdictKind::Dead
            );
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

struct Scale {
    begin: DateTime<Utc>,
    seconds: f64,
    most: f64,
}

impl Scale {
    fn x(&self, at: DateTime<Utc>) -> f64 {
        (seconds(at - self.begin) / self.seconds * WIDTH).clamp(0.0, WIDTH)
    }

    /// A tenth stays free above the highest.
    fn y(&self, value: f64) -> f64 {
        HEIGHT - value / self.most.max(f64::MIN_POSITIVE) * HEIGHT * 0.9
    }
}

fn curve(values: &[(DateTime<Utc>, f64)], scale: &Scale) -> String {
    let shown: Vec<_> = values.iter().filter(|(at, _)| *at >= scale.begin).collect();
    let bucket = shown.len().div_ceil(COLUMNS).max(1);
    let mut line = String::new();
    let mut ends = (0.0, 0.0);
    for (n, bucket) in shown.chunks(bucket).enumerate() {
        let Some((at, _)) = bucket.last() else { continue };
        let size = f64::from(u32::try_from(bucket.len()).unwrap_or(1));
        let mean = bucket.iter().map(|(_, value)| value).sum::<f64>() / size;
        let (x, y) = (scale.x(*at), scale.y(mean));
        if n == 0 {
            ends.0 = x;
        }
        ends.1 = x;
        push(&mut line, format_args!("{}{x:.1} {y:.1}", if n == 0 { "M" } else { "L" }));
    }
    if line.is_empty() {
        return line;
    }
    format!(
        "<path class=\"area\" d=\"{line}L{:.1} {HEIGHT}L{:.1} {HEIGHT}Z\"/><path class=\"curve\" d=\"{line}\"/>",
        ends.1, ends.0
    )
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

    fn points(verdicts: &[VerdictKind]) -> Vec<Point> {
        (0..)
            .zip(verdicts)
            .map(|(second, verdict)| Point {
                at: DateTime::UNIX_EPOCH + TimeDelta::seconds(second),
                rows_per_second: if second == 1 { 100.0 } else { 50.0 },
                bytes_per_second: 0.0,
                chunk_seconds: None,
                verdict: *verdict,
            })
            .collect()
    }

    fn chart<'a>(points: &'a [Point], marks: &'a [Mark]) -> Chart<'a> {
        Chart {
            title: "Rows per second",
            points,
            value: |point| Some(point.rows_per_second),
            show: |value| format!("{value:.0}/s"),
            marks,
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
