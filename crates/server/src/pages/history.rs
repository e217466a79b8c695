//! The course of the migration, as far back as somebody wants to see: read from the ledger when
//! the page is opened, where the overview shows the last minutes live.

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};
use reelshift_overview::figures::tail;
use reelshift_store::audit::AuditSelection;
use reelshift_store::{Result, Sample, SharedStore};
use serde::Deserialize;

use super::chart::Mark;
use super::frame::{Frame, Page};
use super::moment::time;
use super::view::{self, View};
use super::{begin, finish, unreadable};
use crate::access::Principal;
use crate::app::Shared;
use crate::extract::Query;

/// Samples that one statement reads.
const SAMPLES_PER_READ: u32 = 1_000;

/// Changes that are marked, the newest.
const MARKS: u32 = 100;

#[derive(Template)]
#[template(path = "history.html")]
struct History {
    frame: Frame,
    view: View,
    ranges: Vec<Choice>,
    charts: String,
    has_samples: bool,
    marks: Vec<Change>,
}

/// A range that can be chosen.
struct Choice {
    name: &'static str,
    text: &'static str,
    here: bool,
}

/// A change in the range, the newest first.
struct Change {
    when: String,
    what: String,
}

/// How far back the charts go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    Hour,
    SixHours,
    Day,
    Week,
    All,
}

impl Range {
    /// Each with its name in the address, and its text.
    const ALL: [(Self, &str, &str); 5] = [
        (Self::Hour, "1h", "1 hour"),
        (Self::SixHours, "6h", "6 hours"),
        (Self::Day, "24h", "24 hours"),
        (Self::Week, "7days", "7 days"),
        (Self::All, "all", "all of it"),
    ];

    /// The range of that name; the first where there is none.
    fn named(wanted: Option<&str>) -> Self {
        let named = Self::ALL.into_iter().find(|(_, name, _)| Some(*name) == wanted);
        named.map_or(Self::Hour, |(range, ..)| range)
    }

    fn since(self, now: DateTime<Utc>) -> DateTime<Utc> {
        let hours = match self {
            Self::Hour => 1,
            Self::SixHours => 6,
            Self::Day => 24,
            Self::Week => 7 * 24,
            Self::All => return DateTime::UNIX_EPOCH,
        };
        now - TimeDelta::hours(hours)
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct PageQuery {
    range: Option<String>,
}

pub(crate) async fn page(
    State(app): State<Shared>,
    who: Principal,
    headers: HeaderMap,
    Query(query): Query<PageQuery>,
) -> Result<Response, Response> {
    let (frame, view) = begin(&app, &who, &headers, Page::Overview, "/history").await?;
    let frame = frame.titled("History");
    let flashed = frame.flash.is_some();
    let range = Range::named(query.range.as_deref());
    // Before expand and after a rollback there is no report, and so no time.
    let now = view.overview().at();
    let since = now.map_or(DateTime::UNIX_EPOCH, |now| range.since(now));
    let (points, marks) = match read(&app.store, since).await {
        Ok(read) => read,
        Err(error) => return Err(unreadable(frame, "The history cannot be read.", &error)),
    };
    let first = points.iter().map(|point| point.at).chain(marks.iter().map(|mark| mark.at)).min();
    let begin = if range == Range::All { first } else { Some(since) };
    let span = begin.zip(now);
    let page = History {
        frame,
        view,
        ranges: Range::ALL
            .map(|(each, name, text)| Choice { name, text, here: each == range })
            .into(),
        charts: view::charts(&points, &marks, span, true),
        has_samples: !points.is_empty(),
        marks: marks
            .into_iter()
            .map(|mark| Change { when: time(mark.at), what: mark.text })
            .collect(),
    };
    Ok(finish(&page, flashed))
}

/// The samples and the changes after `since`; the newest changes first.
async fn read(store: &SharedStore, since: DateTime<Utc>) -> Result<(Vec<Sample>, Vec<Mark>)> {
    let selection = AuditSelection { since: Some(since), ..AuditSelection::default() };
    let entries = store.audit(&selection, None, MARKS).await?;
    let marks = entries.into_iter().map(|entry| Mark {
        at: entry.change.changed_at,
        text: format!("{} by {}", entry.change.event.sentence(tail), entry.change.changed_by),
    });
    Ok((samples(store, since).await?, marks.collect()))
}

/// Every sample that the ledger keeps after `after`, the oldest first.
pub(super) async fn samples(store: &SharedStore, mut after: DateTime<Utc>) -> Result<Vec<Sample>> {
    let mut all = Vec::new();
    loop {
        let samples = store.samples(after, SAMPLES_PER_READ).await?;
        let Some(last) = samples.last() else { return Ok(all) };
        after = last.at;
        all.extend(samples);
    }
}
