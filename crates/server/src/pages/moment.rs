//! Times on pages: local time where there is a script, UTC on hover and without one.
//!
//! A text has a time between two marks, which no keyboard has; a finished page has an element
//! there, or, within an attribute, the plain text.

use std::ops::Range;

use chrono::{DateTime, SecondsFormat, Utc};
use reelshift_overview::figures;

const BEGIN: char = '\u{e000}';
const END: char = '\u{e001}';

/// What is shown of `2026-11-28 02:58:07`, by name; `reelshift.js` has the same.
const SHAPES: [(&str, Range<usize>); 5] =
    [("whole", 0..19), ("minute", 0..16), ("day", 5..16), ("clock", 11..16), ("second", 11..19)];

/// Date and time.
pub(crate) fn time(at: DateTime<Utc>) -> String {
    marked(at, "whole")
}

/// The time of day where that is enough: within a day of `now`.
pub(crate) fn clock(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    marked(at, if figures::is_near(at, now) { "clock" } else { "minute" })
}

/// The time of day, with seconds.
pub(crate) fn second(at: DateTime<Utc>) -> String {
    marked(at, "second")
}

/// Along the axis of a chart from `begin` to `end`.
pub(crate) fn tick(at: DateTime<Utc>, begin: DateTime<Utc>, end: DateTime<Utc>) -> String {
    let shape = match (begin.date_naive() != end.date_naive(), (end - begin).num_minutes() > 30) {
        (true, _) => "day",
        (false, true) => "clock",
        (false, false) => "second",
    };
    marked(at, shape)
}

fn marked(at: DateTime<Utc>, shape: &str) -> String {
    let at = at.to_rfc3339_opts(SecondsFormat::Secs, true);
    format!("{BEGIN}{at} {shape}{END}")
}

/// Puts elements where a page has marks. Whatever else stands between two marks stays.
pub(crate) fn with_elements(page: &str) -> String {
    let mut made = String::with_capacity(page.len());
    let mut rest = page;
    while let Some((before, after)) = rest.split_once(BEGIN) {
        made.push_str(before);
        let in_tag = made.rfind('<') > made.rfind('>');
        let element =
            after.split_once(END).and_then(|(inner, after)| Some((element(inner, in_tag)?, after)));
        if let Some((element, _)) = &element {
            made.push_str(element);
        }
        rest = element.map_or(after, |(_, after)| after);
    }
    made.push_str(rest);
    made
}

fn element(inner: &str, in_tag: bool) -> Option<String> {
    let (at, shape) = inner.split_once(' ')?;
    let (shape, shown) = SHAPES.into_iter().find(|(name, _)| *name == shape)?;
    let at: DateTime<Utc> = at.parse().ok()?;
    let whole = figures::time(at);
    let text = whole.get(shown)?;
    let at = at.to_rfc3339_opts(SecondsFormat::Secs, true);
    Some(if in_tag {
        format!("{text} UTC")
    } else {
        format!(
            "<time datetime=\"{at}\" data-shape=\"{shape}\" title=\"{whole} UTC\">{text} UTC</time>"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_an_element_or_a_text() {
        let at = "2026-11-28T02:58:07Z".parse().expect("a time");
        let now = "2026-11-28T03:12:10Z".parse().expect("a time");
        let page = format!("<p title=\"{}\">{}, {}</p>", clock(at, now), second(at), time(at));
        assert_eq!(
            with_elements(&page),
            "<p title=\"02:58 UTC\"><time datetime=\"2026-11-28T02:58:07Z\" data-shape=\"second\" \
             title=\"2026-11-28 02:58:07 UTC\">02:58:07 UTC</time>, <time \
             datetime=\"2026-11-28T02:58:07Z\" data-shape=\"whole\" title=\"2026-11-28 02:58:07 UTC\">\
             2026-11-28 02:58:07 UTC</time></p>"
        );
        let later = "2026-11-30T03:12:10Z".parse().expect("a time");
        assert!(with_elements(&clock(at, later)).contains(">2026-11-28 02:58 UTC<"));
        assert!(with_elements(&tick(at, at, now)).contains(">02:58:07 UTC<"));
        assert!(with_elements(&tick(at, at, later)).contains(">11-28 02:58 UTC<"));
    }

    #[test]
    fn marks_of_somebody_else_make_nothing() {
        for inner in ["", "x", "2026-11-28T02:58:07Z <b>", "2026-11-28T02:58:07Z", "x clock"] {
            let page = format!("a{BEGIN}{inner}{END}b");
            assert!(!with_elements(&page).contains("<time"), "{inner}");
        }
        assert_eq!(with_elements(&format!("a{BEGIN}b")), "ab");
    }
}
