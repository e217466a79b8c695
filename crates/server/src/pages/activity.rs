//! Who changed what, who was told?

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use reelshift_overview::figures::tail;
use reelshift_store::StoreError;
use reelshift_store::audit::{self, AuditEntry, AuditSelection, Subject};
use reelshift_store::failures::Pattern;
use reelshift_store::ledger::Since;
use reelshift_store::notifications::{
    NotificationReport, NotificationSelection, NotificationState,
};
use serde::Deserialize;

use super::csv;
use super::frame::{Frame, Page};
use super::moment::time;
use super::view::View;
use super::{begin, finish, no_such_page, unreadable};
use crate::access::Principal;
use crate::app::{App, Shared};
use crate::extract::Query;
use crate::problem::Problem;

/// Rows of a page.
const ROWS_PER_PAGE: u32 = 50;

/// Notifications that were given up, on the page; `reelshift notifications` lists all.
const FAILED_SHOWN: u32 = 20;

/// How far back the list can go.
const AGES: [&str; 4] = ["1h", "24h", "7days", "30days"];

/// Rows of an export: the newest. All of them are in the table `reelshift_audit`.
const EXPORTED: u32 = 10_000;

#[derive(Template)]
#[template(path = "activity.html", blocks = ["verdict", "notifications"])]
pub(super) struct Activity {
    pub frame: Frame,
    pub view: View,
    pub subjects: Vec<Choice>,
    pub ages: Vec<Choice>,
    pub by: String,
    /// The query of what the list is narrowed to; empty where it shows all.
    pub narrowed: String,
    pub entries: Vec<Change>,
    pub older: Option<String>,
    /// Notifications that were given up.
    pub failed: Vec<Failed>,
}

/// A notification that was given up.
pub(super) struct Failed {
    id: String,
    event_type: String,
    attempts: String,
    why: String,
    when: String,
}

/// What the list can be narrowed to.
pub(super) struct Choice {
    name: &'static str,
    here: bool,
}

/// A change.
pub(super) struct Change {
    pub when: String,
    pub who: String,
    pub what: String,
    link: Option<String>,
    pub before: String,
    pub after: String,
    pub why: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PageQuery {
    subject: Option<String>,
    by: Option<String>,
    since: Option<String>,
    before: Option<i64>,
}

impl PageQuery {
    fn subject(&self) -> Option<Subject> {
        self.subject.as_deref().and_then(Subject::named)
    }

    fn by(&self) -> Option<&str> {
        self.by.as_deref().filter(|by| !by.is_empty())
    }

    fn since(&self) -> Option<(&str, Since)> {
        let text = self.since.as_deref()?;
        Some((text, reelshift_operate::since(text).ok()?))
    }

    async fn selection(&self, app: &App) -> Result<AuditSelection, StoreError> {
        let since = self.since().map(|(_, since)| since);
        let since = reelshift_operate::time_of(&*app.store, since).await?;
        let by = self.by().map(Pattern::containing);
        Ok(AuditSelection { subject: self.subject(), by, since, ..AuditSelection::default() })
    }

    /// What is wrong with a filter that was given.
    fn check(&self) -> Result<(), Problem> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(subject) = given(&self.subject).filter(|_| self.subject().is_none()) {
            let names: Vec<_> = Subject::ALL.iter().map(Subject::into_str).collect();
            let why = format!("subject={subject}: give one of {}", names.join(", "));
            return Err(Problem::bad_request(why));
        }
        match given(&self.since).map(|since| reelshift_operate::since(&since)) {
            Some(Err(why)) => Err(Problem::bad_request(format!("since: {why}"))),
            _ => Ok(()),
        }
    }

    /// The same list from its newest entry on.
    fn narrowed(&self) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        if let Some(subject) = self.subject() {
            query.append_pair("subject", subject.into_str());
        }
        if let Some(by) = self.by() {
            query.append_pair("by", by);
        }
        if let Some((since, _)) = self.since() {
            query.append_pair("since", since);
        }
        query.finish()
    }
}

impl Activity {
    /// Only what its live parts need.
    pub(super) fn live(frame: Frame, view: View) -> Self {
        Self {
            frame,
            view,
            subjects: Vec::new(),
            ages: Vec::new(),
            by: String::new(),
            narrowed: String::new(),
            entries: Vec::new(),
            older: None,
            failed: Vec::new(),
        }
    }
}

pub(crate) async fn page(
    State(app): State<Shared>,
    who: Principal,
    headers: HeaderMap,
    Query(query): Query<PageQuery>,
) -> Result<Response, Response> {
    let (frame, view) = begin(&app, &who, &headers, Page::Activity, "/activity").await?;
    if let Err(wrong) = query.check() {
        return Err(no_such_page(frame, &wrong));
    }
    let given_up =
        NotificationSelection { state: Some(NotificationState::Failed), event_type: None };
    let read = async {
        let selection = query.selection(&app).await?;
        let entries = app.store.audit(&selection, query.before, ROWS_PER_PAGE).await?;
        // A rollback drops the queue, not the audit.
        let failed = if view.overview().expanded {
            app.store.notifications(&given_up, None, FAILED_SHOWN).await?
        } else {
            Vec::new()
        };
        Ok::<_, StoreError>((entries, failed))
    };
    let (entries, failed) = match read.await {
        Ok(read) => read,
        Err(error) => return Err(unreadable(frame, "The changes cannot be read.", &error)),
    };
    let flashed = frame.flash.is_some();
    let older = entries
        .last()
        .filter(|_| entries.len() >= ROWS_PER_PAGE as usize)
        .map(|last| format!("/activity?{}&before={}", query.narrowed(), last.seq));
    let subject = |of: Subject| Choice { name: of.into_str(), here: query.subject() == Some(of) };
    let age = |of| Choice { name: of, here: query.since().is_some_and(|(since, _)| since == of) };
    let page = Activity {
        subjects: Subject::ALL.iter().copied().map(subject).collect(),
        ages: AGES.map(age).into(),
        by: query.by().unwrap_or_default().to_owned(),
        narrowed: query.narrowed(),
        entries: entries.into_iter().map(change).collect(),
        failed: failed.into_iter().map(given_up_as).collect(),
        older,
        frame,
        view,
    };
    Ok(finish(&page, flashed))
}

fn given_up_as(report: NotificationReport) -> Failed {
    Failed {
        id: report.id,
        event_type: report.event_type,
        attempts: report.attempts.to_string(),
        why: report.last_error.unwrap_or_else(|| "-".to_owned()),
        when: report.created_at.map_or_else(|| "-".to_owned(), time),
    }
}

/// An entry of the audit as text.
pub(super) fn change(entry: AuditEntry) -> Change {
    let audit::Change { event, reason, changed_by, changed_at } = entry.change;
    let columns = event.columns();
    let or = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    Change {
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
pub(crate) async fn export(
    State(app): State<Shared>,
    _who: Principal,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    query.check()?;
    let selection = query.selection(&app).await?;
    let entries = app.store.audit(&selection, query.before, EXPORTED).await?;
    let rows = entries.into_iter().map(|AuditEntry { seq, change }| {
        let columns = change.event.columns();
        [
            Some(seq.to_string()),
            Some(change.changed_at.to_rfc3339()),
            Some(change.changed_by),
            Some(columns.subject.into_str().to_owned()),
            Some(columns.name),
            Some(columns.action),
            columns.run.map(|run| run.to_string()),
            columns.previous,
            columns.value,
            change.reason,
        ]
    });
    let header =
        ["seq", "when", "who", "subject", "name", "action", "run", "before", "after", "why"];
    Ok(csv::file("reelshift-activity.csv", header, rows))
}
