//! Times on pages: local time where there is a script, UTC on hover and without one.
//!
//! A text has a time between two marks, which no keyboard has; a finished page has an element
//! there, or, within an attribute, the plain text.

use chrono::{DateTime, SecondsFormat, Utc};
use reelshift_overview::figures;

const BEGIN: char = '\u{e000}';
const END: char = '\u{e001}';

/// Date and time.
pub(crate) fn time(at: DateTime<Utc>) -> String {
    marked(at, "", &figures::time(at))
}

/// The time of day where that is enough: within a day of `now`.
pub(crate) fn clock(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let text = figures::clock(at, now);
    let shape = if text.len() == "02:58".len() { "clock" } else { "" };
    marked(at, shape, &text)
}

/// The time of day, with seconds.
pub(crate) fn second(at: DateTime<Utc>) -> String {
    marked(at, "second", &at.format("%H:%M:%S").to_string())
}

fn marked(at: DateTime<Utc>, shape: &str, text: &str) -> String {
    let at = at.to_rfc3339_opts(SecondsFormat::Secs, true);
    format!("{BEGIN}{at}|{shape}|{text}{END}")
}

/// Puts elements where a page has marks. Whatever else stands between two marks stays.
pub(crate) fn with_elements(page: &str) -> String {
    let mut made = String::with_capacity(page.len());
    let mut rest = page;
    while let Some((before, after)) = rest.split_once(BEGIN) {
        made.push_str(before);
        let in_tag = made.rfind('<') > made.rfind('>');
        match after
            .split_once(END)
            .and_then(|(inner, after)| Some((element(inner, in_tag)?, after)))
        {
            Some((element, after)) => {
                made.push_str(&element);
                rest = after;
            }
            None => rest = after,
        }
    }
    made.push_str(rest);
    made
}

fn element(inner: &str, in_tag: bool) -> Option<String> {
    let mut parts = inner.splitn(3, '|');
    let (at, shape, text) = (parts.next()?, parts.next()?, parts.next()?);
    let parsed: DateTime<Utc> = at.parse().ok()?;
    let of_a_time = |letter: char| letter.is_ascii_digit() || matches!(letter, ':' | '-' | ' ');
    if !matches!(shape, "" | "clock" | "second") || !text.chars().all(of_a_time) {
        return None;
    }
    let whole = figures::time(parsed);
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
             datetime=\"2026-11-28T02:58:07Z\" data-shape=\"\" title=\"2026-11-28 02:58:07 UTC\">\
             2026-11-28 02:58:07 UTC</time></p>"
        );
    }

    #[test]
    fn marks_of_somebody_else_make_nothing() {
        for inner in
            ["", "x", "2026-11-28T02:58:07Z|clock|<b>", "2026-11-28T02:58:07Z|\"|1", "x||1"]
        {
            let page = format!("a{BEGIN}{inner}{END}b");
            assert!(!with_elements(&page).contains("<time"), "{inner}");
        }
        assert_eq!(with_elements(&format!("a{BEGIN}b")), "ab");
    }
}
