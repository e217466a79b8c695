//! One cause or many?

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use chrono::SecondsFormat;
use reelshift_operate::Query as FailureQuery;
use reelshift_overview::figures::tail;
use reelshift_store::StoreError;
use reelshift_store::failures::{ErrorCursor, ErrorEntry, ErrorSelection};
use reelshift_store::listings::{Acceptance, QuarantineCursor, QuarantineSelection, Quarantined};
use serde::Deserialize;
use uuid::Uuid;

use super::csv;
use super::frame::{Frame, Page};
use super::moment::time;
use super::view::View;
use super::{begin, finish, next_link, no_such_page, unreadable};
use crate::access::Principal;
use crate::app::Shared;
use crate::cursor;
use crate::extract::{Json, Query};
use crate::problem::Problem;

/// Rows of a page.
pub(super) const ROWS_PER_PAGE: u32 = 50;

/// Rows of an export: the newest.
const EXPORTED: u32 = 10_000;

/// The columns of an export, as `reelshift find -o csv` has them.
const COLUMNS: [&str; 12] = [
    "id",
    "when",
    "cause",
    "stage",
    "video",
    "code",
    "message",
    "recovered",
    "run",
    "batch",
    "worker",
    "trace",
];

#[derive(Template)]
#[template(path = "failures.html", blocks = ["verdict", "open", "groups"])]
pub(super) struct Failures {
    pub frame: Frame,
    pub view: View,
    /// What is looked for, as it is typed; empty for all.
    pub query: String,
    /// Why it finds nothing.
    pub wrong: Option<String>,
    /// The address of what is found, as a file.
    pub csv: String,
    pub json: String,
    pub entries: Vec<Entry>,
    pub older: Option<String>,
    pub quarantine: Vec<Item>,
    pub more_quarantine: Option<String>,
}

/// A failed attempt or item.
pub(super) struct Entry {
    pub id: String,
    pub when: String,
    pub error_type: String,
    pub video: Option<String>,
    pub message: String,
    pub recovered: &'static str,
    pub trace: Option<String>,
}

/// What was set aside.
pub(super) struct Item {
    pub video: String,
    pub kind: String,
    pub error_type: String,
    pub since: String,
    /// By whom, and why; `no` where nobody has.
    pub accepted: String,
    pub run: Uuid,
    pub run_name: String,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct PageQuery {
    query: Option<String>,
    before: Option<String>,
    after: Option<String>,
}

impl Failures {
    /// Only what its live parts need.
    pub(super) const fn live(frame: Frame, view: View) -> Self {
        Self {
            frame,
            view,
            query: String::new(),
            wrong: None,
            csv: String::new(),
            json: String::new(),
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
    let typed = query.query.clone().unwrap_or_default();
    let typed = typed.trim();
    let here = address("/failures", typed, "");
    let (frame, view) = begin(&app, &who, &headers, Page::Failures, &here).await?;
    let ends = cursor::decode::<ErrorCursor>(query.before.as_deref()).and_then(|before| {
        Ok((before, cursor::decode::<QuarantineCursor>(query.after.as_deref())?))
    });
    let (before, after) = match ends {
        Ok(ends) => ends,
        Err(wrong) => return Err(no_such_page(frame, &wrong)),
    };
    let read = async {
        let found = ErrorSelection { before, ..selection(&app, typed).await? };
        let errors = app.store.errors(&found, ROWS_PER_PAGE).await?;
        // A query finds failures; those that are in quarantine too.
        let items = if typed.is_empty() {
            let all = QuarantineSelection::default();
            app.store.quarantine(&all, after.as_ref(), ROWS_PER_PAGE).await?
        } else {
            Vec::new()
        };
        Ok::<_, StoreError>((errors, items))
    };
    let (errors, items, wrong) = match read.await {
        Ok((errors, items)) => (errors, items, None),
        Err(StoreError::Invalid(why)) => (Vec::new(), Vec::new(), Some(why)),
        Err(error) => return Err(unreadable(frame, "The failures cannot be read.", &error)),
    };
    let flashed = frame.flash.is_some();
    let full = |rows: usize| rows >= ROWS_PER_PAGE as usize;
    let older = errors
        .last()
        .filter(|_| full(errors.len()))
        .map(|last| address("/failures", typed, &next_link("before", &last.cursor())) + "#entries");
    let more_quarantine = items.last().filter(|_| full(items.len())).map(|last| {
        address("/failures", typed, &next_link("after", &last.cursor())) + "#quarantine"
    });
    let page = Failures {
        entries: errors.into_iter().map(entry).collect(),
        quarantine: items.into_iter().map(item).collect(),
        frame,
        view,
        query: typed.to_owned(),
        wrong,
        csv: address("/failures.csv", typed, ""),
        json: address("/failures.json", typed, ""),
        older,
        more_quarantine,
    };
    Ok(finish(&page, flashed))
}

/// What a query that was typed asks for.
async fn selection(app: &Shared, typed: &str) -> Result<ErrorSelection, StoreError> {
    let query: FailureQuery =
        typed.parse().map_err(|wrong| StoreError::Invalid(format!("{wrong}")))?;
    query.selection(&*app.store).await
}

/// The failures of an export.
async fn exported(app: &Shared, query: &PageQuery) -> Result<Vec<ErrorEntry>, StoreError> {
    let selection = selection(app, query.query.as_deref().unwrap_or_default().trim()).await?;
    app.store.errors(&selection, EXPORTED).await
}

/// `GET /failures.csv`: what a query finds, the newest first.
pub(crate) async fn export(
    State(app): State<Shared>,
    _who: Principal,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let rows = exported(&app, &query).await?.into_iter().map(|error| {
        [
            Some(error.id.clone()),
            Some(error.created_at.to_rfc3339_opts(SecondsFormat::Secs, true)),
            Some(error.error_type.clone()),
            Some(error.processing_stage.clone()),
            error.video_id.clone(),
            error.error_code.clone(),
            Some(error.error_message.clone()),
            error.recovery_successful.map(|recovered| recovered.to_string()),
            error.state("run").map(str::to_owned),
            error.state("batch").map(str::to_owned),
            error.state("worker").map(str::to_owned),
            error.correlation_id,
        ]
    });
    Ok(csv::file("reelshift-failures.csv", COLUMNS, rows))
}

/// `GET /failures.json`: the same with all that is known of each.
pub(crate) async fn export_json(
    State(app): State<Shared>,
    _who: Principal,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let found = exported(&app, &query).await?;
    let headers = [
        (header::CONTENT_DISPOSITION, "attachment; filename=\"reelshift-failures.json\""),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Json(found)).into_response())
}

pub(super) fn address(page: &str, query: &str, rest: &str) -> String {
    let encoded = || url::form_urlencoded::byte_serialize(query.as_bytes()).collect::<String>();
    let of = if query.is_empty() { String::new() } else { format!("query={}", encoded()) };
    let parts = [of.as_str(), rest];
    let all = parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("&");
    if all.is_empty() { page.to_owned() } else { format!("{page}?{all}") }
}

pub(super) fn entry(error: ErrorEntry) -> Entry {
    Entry {
        recovered: recovered(&error),
        id: error.id,
        when: time(error.created_at),
        error_type: error.error_type,
        video: error.video_id,
        message: error.error_message,
        trace: error.correlation_id,
    }
}

/// Whether a later attempt has succeeded.
pub(super) const fn recovered(error: &ErrorEntry) -> &'static str {
    match error.recovery_successful {
        Some(true) => "yes",
        Some(false) => "no",
        None => "open",
    }
}

pub(super) fn item(item: Quarantined) -> Item {
    Item {
        video: item.video_id,
        kind: item.kind.to_string(),
        error_type: item.error_type,
        since: time(item.created_at),
        accepted: accepted(item.accepted.as_ref()),
        run: item.run_id,
        run_name: tail(item.run_id),
    }
}

/// `ann@10.0.0.1: the trailers were deleted in 2024`, or `no`.
pub(super) fn accepted(acceptance: Option<&Acceptance>) -> String {
    acceptance
        .map_or_else(|| "no".to_owned(), |Acceptance { by, reason, .. }| format!("{by}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_stays_with_every_link() {
        let address = |query: &str, rest: &str| address("/failures", query, rest);
        assert_eq!(address("", ""), "/failures");
        assert_eq!(address("is:open &", ""), "/failures?query=is%3Aopen+%26");
        assert_eq!(address("a:x", "before=1"), "/failures?query=a%3Ax&before=1");
    }
}
