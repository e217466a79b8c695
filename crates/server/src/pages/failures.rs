//! One cause or many?

use askama::Template;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use reelshift_overview::figures::{tail, time};
use reelshift_store::StoreError;
use reelshift_store::failures::{ErrorCursor, ErrorEntry, ErrorSelection};
use reelshift_store::listings::{QuarantineCursor, QuarantineSelection, Quarantined};
use serde::Deserialize;
use uuid::Uuid;

use super::frame::{Frame, Page, said};
use super::view::View;
use super::{begin, finish, next_link, no_such_page, unavailable};
use crate::access::Principal;
use crate::app::Shared;
use crate::cursor;

/// Rows of a page.
const ROWS_PER_PAGE: u32 = 50;

#[derive(Template)]
#[template(path = "failures.html", blocks = ["verdict", "open", "groups"])]
pub(super) struct Failures {
    pub frame: Frame,
    pub view: View,
    pub filter: Option<String>,
    pub entries: Vec<Entry>,
    pub older: Option<String>,
    pub quarantine: Vec<Item>,
    pub more_quarantine: Option<String>,
}

/// A failed attempt or item.
pub(super) struct Entry {
    when: String,
    error_type: String,
    video: String,
    message: String,
    recovered: &'static str,
    trace: Option<String>,
}

/// What was set aside.
pub(super) struct Item {
    video: String,
    kind: String,
    error_type: String,
    since: String,
    run: Uuid,
    run_name: String,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct PageQuery {
    #[serde(rename = "type")]
    error_type: Option<String>,
    before: Option<String>,
    after: Option<String>,
}

impl Failures {
    /// Only what its live parts need.
    pub(super) const fn live(frame: Frame, view: View) -> Self {
        Self {
            frame,
            view,
            filter: None,
            entries: Vec::new(),
            older: None,
            quarantine: Vec::new(),
            more_quarantine: None,
        }
    }
}

pub(crate) async fn page(
    State(app): State<Shared>,
    who: Principal,
    headers: HeaderMap,
    Query(query): Query<PageQuery>,
) -> Result<Response, Response> {
    let filter = query.error_type.clone().filter(|of_type| !of_type.is_empty());
    let here = address(filter.as_deref(), "");
    let (frame, view) = begin(&app, &who, &headers, Page::Failures, &here).await?;
    let ends = cursor::decode::<ErrorCursor>(query.before.as_deref()).and_then(|before| {
        Ok((before, cursor::decode::<QuarantineCursor>(query.after.as_deref())?))
    });
    let (before, after) = match ends {
        Ok(ends) => ends,
        Err(wrong) => return Err(no_such_page(frame, &wrong)),
    };
    let read = async {
        let selection =
            ErrorSelection { error_type: filter.clone(), before, ..ErrorSelection::default() };
        let errors = app.store.errors(&selection, ROWS_PER_PAGE).await?;
        let all =
            QuarantineSelection { error_type: filter.clone(), ..QuarantineSelection::default() };
        let items = app.store.quarantine(&all, after.as_ref(), ROWS_PER_PAGE).await?;
        Ok::<_, StoreError>((errors, items))
    };
    let (errors, items) = match read.await {
        Ok(read) => read,
        Err(error) => {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return Err(unavailable(frame, status, "The failures cannot be read.", &said(&error)));
        }
    };
    let flashed = frame.flash.is_some();
    let full = |rows: usize| rows >= ROWS_PER_PAGE as usize;
    let older = errors
        .last()
        .filter(|_| full(errors.len()))
        .map(|last| address(filter.as_deref(), &next_link("before", &last.cursor())) + "#entries");
    let more_quarantine = items.last().filter(|_| full(items.len())).map(|last| {
        address(filter.as_deref(), &next_link("after", &last.cursor())) + "#quarantine"
    });
    let page = Failures {
        entries: errors.into_iter().map(entry).collect(),
        quarantine: items.into_iter().map(item).collect(),
        frame,
        view,
        filter,
        older,
        more_quarantine,
    };
    Ok(finish(&page, flashed))
}

fn address(filter: Option<&str>, rest: &str) -> String {
    let of = filter.map(|of| {
        format!("type={}", url::form_urlencoded::byte_serialize(of.as_bytes()).collect::<String>())
    });
    let query = [of.as_deref().unwrap_or_default(), rest];
    let query = query.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("&");
    if query.is_empty() { "/failures".to_owned() } else { format!("/failures?{query}") }
}

fn entry(error: ErrorEntry) -> Entry {
    Entry {
        when: time(error.created_at),
        error_type: error.error_type,
        video: error.video_id.unwrap_or_else(|| "-".to_owned()),
        message: error.error_message,
        recovered: match error.recovery_successful {
            Some(true) => "yes",
            Some(false) => "no",
            None => "open",
        },
        trace: error.correlation_id,
    }
}

fn item(item: Quarantined) -> Item {
    Item {
        video: item.video_id,
        kind: item.kind.to_string(),
        error_type: item.error_type,
        since: time(item.created_at),
        run: item.run_id,
        run_name: tail(item.run_id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_stays_with_every_link() {
        assert_eq!(address(None, ""), "/failures");
        assert_eq!(address(Some("a b&c"), ""), "/failures?type=a+b%26c");
        assert_eq!(address(Some("x"), "before=1"), "/failures?type=x&before=1");
    }
}
