//! `docs/runbook.md`, which alerts link to: an entry for each of them.

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::frame::{Frame, Page};
use super::view::View;
use super::{begin, finish};
use crate::access::Principal;
use crate::app::Shared;

const TEXT: &str = include_str!("../../../../docs/runbook.md");

#[derive(Template)]
#[template(path = "runbook.html")]
struct Runbook {
    frame: Frame,
    view: View,
    entries: Vec<Entry>,
}

/// An entry, under the anchor that its alert links to.
struct Entry {
    alert: &'static str,
    anchor: String,
    text: &'static str,
}

fn entries() -> Vec<Entry> {
    let sections = TEXT.split("\n## ").skip(1);
    let entry = |section: &'static str| {
        let (alert, text) = section.split_once('\n')?;
        Some(Entry { alert, anchor: alert.to_lowercase(), text: text.trim() })
    };
    sections.filter_map(entry).collect()
}

pub(crate) async fn page(
    State(app): State<Shared>,
    who: Principal,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let (frame, view) = begin(&app, &who, &headers, Page::Overview, "/runbook").await?;
    let frame = frame.titled("Runbook");
    let flashed = frame.flash.is_some();
    Ok(finish(&Runbook { frame, view, entries: entries() }, flashed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_has_its_anchor() {
        let entries = entries();
        assert_eq!(entries.len(), TEXT.matches("\n## ").count());
        let stalled = entries.iter().find(|entry| entry.alert == "ReelshiftStalled");
        let stalled = stalled.expect("an entry");
        assert_eq!(stalled.anchor, "reelshiftstalled");
        assert!(stalled.text.starts_with("**Means.**"), "{}", stalled.text);
    }
}
