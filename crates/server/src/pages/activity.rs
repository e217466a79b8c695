//! Who changed what, who was told?

use askama::Template;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reelshift_overview::figures::{tail, time};
use reelshift_store::audit::{AuditEntry, AuditSelection, Change, Subject};
use serde::Deserialize;

use super::frame::{Frame, Page, said};
use super::view::View;
use super::{begin, finish, unavailable};
use crate::access::Principal;
use crate::app::Shared;

/// Rows of a page.
const ROWS_PER_PAGE: u32 = 50;

/// Rows of an export: the newest. All of them are in the table `reelshift_audit`.
const EXPORTED: u32 = 10_000;

#[derive(Template)]
#[template(path = "activity.html", blocks = ["verdict", "notifications"])]
pub(super) struct Activity {
    pub frame: Frame,
    pub view: View,
    pub subjects: Vec<Choice>,
    pub filtered: bool,
    pub entries: Vec<Row>,
    pub older: Option<String>,
}

/// What the list can be narrowed to.
pub(super) struct Choice {
    name: &'static str,
    here: bool,
}

/// A change.
pub(super) struct Row {
    when: String,
    who: String,
    what: String,
    link: Option<String>,
    before: String,
    after: String,
    why: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PageQuery {
    subject: Option<String>,
    before: Option<i64>,
}

impl Activity {
    /// Only what its live parts need.
    pub(super) fn live(frame: Frame, view: View) -> Self {
        let (subjects, entries) = (Vec::new(), Vec::new());
        Self { frame, view, subjects, filtered: false, entries, older: None }
    }
}

pub(crate) async fn page(
    State(app): State<Shared>,
    who: Principal,
    headers: HeaderMap,
    Query(query): Query<PageQuery>,
) -> Result<Response, Response> {
    let (frame, view) = begin(&app, &who, &headers, Page::Activity, "/activity").await?;
    let subject = query.subject.as_deref().and_then(Subject::named);
    let selection = AuditSelection { subject, ..AuditSelection::default() };
    let entries = match app.store.audit(&selection, query.before, ROWS_PER_PAGE).await {
        Ok(entries) => entries,
        Err(error) => {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return Err(unavailable(frame, status, "The changes cannot be read.", &said(&error)));
        }
    };
    let flashed = frame.flash.is_some();
    let older = entries.last().filter(|_| entries.len() >= ROWS_PER_PAGE as usize).map(|last| {
        let of = subject.map_or_else(String::new, |of| format!("subject={}&", of.as_str()));
        format!("/activity?{of}before={}", last.seq)
    });
    let choice = |of: Subject| Choice { name: of.as_str(), here: subject == Some(of) };
    let page = Activity {
        subjects: Subject::ALL.into_iter().map(choice).collect(),
        filtered: subject.is_some(),
        entries: entries.into_iter().map(row).collect(),
        older,
        frame,
        view,
    };
    Ok(finish(&page, flashed))
}

fn row(entry: AuditEntry) -> Row {
    let Change { event, reason, changed_by, changed_at } = entry.change;
    let columns = event.columns();
    let or = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    Row {
        when: time(changed_at),
        who: changed_by,
        what: event.words(tail),
        link: event.run().map(|run| format!("/runs/{run}")),
        before: or(columns.previous),
        after: or(columns.value),
        why: or(reason),
    }
}

/// `GET /activity.csv`: the newest changes, oldest last.
pub(crate) async fn export(State(app): State<Shared>, _who: Principal) -> Response {
    let mut csv = "seq,when,who,subject,name,action,run,before,after,why\n".to_owned();
    let entries = match app.store.audit(&AuditSelection::default(), None, EXPORTED).await {
        Ok(entries) => entries,
        Err(error) => return crate::problem::Problem::from(error).into_response(),
    };
    for AuditEntry { seq, change } in entries {
        let columns = change.event.columns();
        let fields = [
            Some(seq.to_string()),
            Some(change.changed_at.to_rfc3339()),
            Some(change.changed_by),
            Some(columns.subject.as_str().to_owned()),
            Some(columns.name),
            Some(columns.action),
            columns.run.map(|run| run.to_string()),
            columns.previous,
            columns.value,
            change.reason,
        ];
        let fields = fields.map(|field| quoted(&field.unwrap_or_default()));
        csv += &fields.join(",");
        csv.push('\n');
    }
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"reelshift-activity.csv\""),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, csv).into_response()
}

/// A field as RFC 4180 has it. A spreadsheet takes a field that begins with one of these for
/// a formula: it is made text.
fn quoted(field: &str) -> String {
    let formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{field}") } else { field.to_owned() };
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_no_formula_and_no_two_fields() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted("a,\"b\"\nc"), "\"a,\"\"b\"\"\nc\"");
        assert_eq!(quoted("=1+1"), "'=1+1");
    }
}
