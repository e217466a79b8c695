//! The report of a migration: one document that needs nothing else, to be printed or sent to
//! somebody who has no access: what was done, its course, the proof, the exceptions, the audit.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use chrono::DateTime;
use reelshift_overview::Sampler;
use reelshift_overview::figures::{count, tail, time};
use reelshift_plan::{JobKind, RunState};
use reelshift_rollout::FlagCache;
use reelshift_store::audit::AuditSelection;
use reelshift_store::failures::ErrorGroup;
use reelshift_store::ledger::Run;
use reelshift_store::listings::{QuarantineSelection, Quarantined, RunSelection};
use reelshift_store::report::Check;
use reelshift_store::{Result, SharedStore, StoreError};

use super::activity::{self, Change};
use super::failures::accepted;
use super::moment::with_elements;
use super::view::View;
use super::{assets, history, view};
use crate::access::Principal;
use crate::app::Shared;
use crate::problem::Problem;
use crate::sampling::Latest;

/// Rows that one statement reads.
const ROWS_PER_READ: u32 = 1_000;

/// Runs, and items of the quarantine, that are listed.
const LISTED: u32 = 1_000;

/// What the document may use: the styles that are in it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

#[derive(Template)]
#[template(path = "report.html")]
struct Report {
    css: &'static str,
    version: &'static str,
    environment: Option<String>,
    database: String,
    server: Option<String>,
    made_at: String,
    view: View,
    charts: String,
    runs: Vec<RunRow>,
    proof: Option<Proof>,
    groups: Vec<Group>,
    aside: Vec<Item>,
    aside_more: bool,
    entries: Vec<Change>,
}

struct RunRow {
    name: String,
    kind: JobKind,
    state: RunState,
    begun: String,
    ended: String,
    by: String,
}

/// The newest run of the fleet that compared every row.
struct Proof {
    run: String,
    ended: String,
    checks: Vec<CheckRow>,
}

struct CheckRow {
    name: String,
    what: String,
    rows: String,
    different: String,
    tone: &'static str,
}

struct Group {
    cause: String,
    stage: String,
    count: String,
    recovered: String,
    first: String,
    last: String,
    example: String,
}

struct Item {
    video: String,
    kind: JobKind,
    cause: String,
    since: String,
    accepted: String,
}

/// The report of the migration of `store`, as HTML.
///
/// # Errors
/// As the store. `Refused` before `apply expand`: there is nothing to report.
pub async fn document(
    store: &SharedStore,
    flags: Arc<FlagCache>,
    environment: Option<&str>,
) -> Result<String> {
    let mut sampler = Sampler::new(store.clone(), flags);
    let overview = sampler.sample().await?;
    write(store, Latest::new(overview, sampler.history().clone()), environment).await
}

async fn write(store: &SharedStore, latest: Latest, environment: Option<&str>) -> Result<String> {
    let overview = Arc::clone(&latest.overview);
    let Some(report) = &overview.report else {
        let why =
            "nothing to report yet: this database is not expanded. Next: reelshift apply expand";
        return Err(StoreError::Refused(why.to_owned()));
    };
    let (made_at, server) = (time(report.at), Some(report.server.clone()));
    let groups = report.errors.iter().map(Group::from).collect();
    let view = View::new(latest, None);
    let points = history::samples(store, DateTime::UNIX_EPOCH).await?;
    let aside = store.quarantine(&QuarantineSelection::default(), None, LISTED + 1).await?;
    let listed = LISTED as usize;
    let runs = store.runs(&RunSelection::default(), None, LISTED).await?;
    let marks = view.marks();
    let times = points.iter().map(|point| point.at).chain(marks.iter().map(|mark| mark.at));
    let span = times.clone().min().zip(times.max());
    let document = Report {
        css: assets::CSS,
        version: env!("CARGO_PKG_VERSION"),
        environment: environment.map(str::to_owned),
        database: store.address().namespace,
        server,
        made_at,
        charts: view::charts(&points, &marks, span, true),
        proof: proof(store, &runs).await?,
        runs: runs.into_iter().map(RunRow::from).collect(),
        groups,
        aside_more: aside.len() > listed,
        aside: aside.into_iter().take(listed).map(Item::from).collect(),
        entries: entries(store).await?,
        view,
    };
    document
        .render()
        .map(|html| with_elements(&html))
        .map_err(|error| StoreError::Invalid(format!("the report cannot be written: {error}")))
}

/// Every change that the audit has, the newest first.
async fn entries(store: &SharedStore) -> Result<Vec<Change>> {
    let (mut changes, mut before) = (Vec::new(), None);
    loop {
        let entries = store.audit(&AuditSelection::default(), before, ROWS_PER_READ).await?;
        let Some(last) = entries.last() else { return Ok(changes) };
        before = Some(last.seq);
        changes.extend(entries.into_iter().map(activity::change));
    }
}

async fn proof(store: &SharedStore, runs: &[Run]) -> Result<Option<Proof>> {
    let done = |run: &&Run| run.kind == JobKind::Validate && run.state == RunState::Done;
    let Some(run) = runs.iter().find(done) else { return Ok(None) };
    let checks = store.run_checks(run.id).await?;
    Ok(Some(Proof {
        run: tail(run.id),
        ended: run.finished_at.map_or_else(|| "-".to_owned(), time),
        checks: checks.into_iter().map(CheckRow::from).collect(),
    }))
}

impl From<Run> for RunRow {
    fn from(run: Run) -> Self {
        Self {
            name: tail(run.id),
            kind: run.kind,
            state: run.state,
            begun: time(run.created_at),
            ended: run.finished_at.map_or_else(|| "-".to_owned(), time),
            by: run.created_by,
        }
    }
}

impl From<Check> for CheckRow {
    fn from(check: Check) -> Self {
        Self {
            tone: if check.is_valid() { "good" } else { "bad" },
            rows: count(check.rows),
            different: count(check.differences),
            name: check.name,
            what: check.description,
        }
    }
}

impl From<&ErrorGroup> for Group {
    fn from(group: &ErrorGroup) -> Self {
        Self {
            cause: group.error_type.clone(),
            stage: group.processing_stage.clone(),
            count: count(group.count),
            recovered: count(group.recovered),
            first: time(group.first_at),
            last: time(group.last_at),
            example: group.sample.clone(),
        }
    }
}

impl From<Quarantined> for Item {
    fn from(item: Quarantined) -> Self {
        Self {
            video: item.video_id,
            kind: item.kind,
            cause: item.error_type,
            since: time(item.created_at),
            accepted: accepted(item.accepted.as_ref()),
        }
    }
}

/// `GET /report`.
pub(crate) async fn page(
    State(app): State<Shared>,
    _who: Principal,
) -> std::result::Result<Response, Problem> {
    let environment = app.options.environment.as_deref();
    let latest = app.overviews.current().await.map_err(Problem::unavailable)?;
    let html = write(&app.store, latest, environment).await?;
    let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, POLICY)];
    Ok((headers, html).into_response())
}
