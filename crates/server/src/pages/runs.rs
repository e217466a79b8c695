//! Where is it, what gates the next phase?

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use reelshift_overview::figures::tail;
use reelshift_store::listings::RunSelection;
use serde::Deserialize;
use uuid::Uuid;

use super::frame::{Frame, Page};
use super::moment::time;
use super::view::View;
use super::{begin, finish, unreadable};
use crate::access::Principal;
use crate::app::Shared;
use crate::extract::Query;

/// Rows of a page.
pub(super) const ROWS_PER_PAGE: u32 = 50;

#[derive(Template)]
#[template(path = "runs.html", blocks = ["verdict", "runs", "gates", "verified"])]
pub(super) struct Runs {
    pub frame: Frame,
    pub view: View,
    pub first_page: bool,
    pub older: Vec<OlderRun>,
    pub next: Option<String>,
}

/// A run that is not counted: there may be very many.
pub(super) struct OlderRun {
    id: Uuid,
    name: String,
    kind: String,
    state: String,
    begun: String,
    ended: String,
    by: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PageQuery {
    before: Option<Uuid>,
}

pub(crate) async fn page(
    State(app): State<Shared>,
    who: Principal,
    headers: HeaderMap,
    Query(query): Query<PageQuery>,
) -> Result<Response, Response> {
    let (frame, view) = begin(&app, &who, &headers, Page::Runs, "/runs").await?;
    let flashed = frame.flash.is_some();
    let Some(before) = query.before else {
        let some = !view.runs().is_empty();
        let next = some.then(|| format!("/runs?before={}", Uuid::max()));
        return Ok(finish(
            &Runs { frame, view, first_page: true, older: Vec::new(), next },
            flashed,
        ));
    };
    let runs = match app.store.runs(&RunSelection::default(), Some(before), ROWS_PER_PAGE).await {
        Ok(runs) => runs,
        Err(error) => return Err(unreadable(frame, "The older runs cannot be read.", &error)),
    };
    let next = (runs.len() >= ROWS_PER_PAGE as usize)
        .then(|| runs.last().map(|run| format!("/runs?before={}", run.id)))
        .flatten();
    let older = runs
        .into_iter()
        .map(|run| OlderRun {
            id: run.id,
            name: tail(run.id),
            kind: run.kind.to_string(),
            state: run.state.to_string(),
            begun: time(run.created_at),
            ended: view.time(&run.finished_at),
            by: run.created_by,
        })
        .collect();
    Ok(finish(&Runs { frame, view, first_page: false, older, next }, flashed))
}
