//! One failure: where, why, and what became of it.

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use reelshift_overview::figures::tail;
use reelshift_store::failures::{ErrorEntry, ErrorSelection};
use reelshift_store::ids::IdKind;
use uuid::Uuid;

use super::failures::recovered;
use super::found::Place;
use super::frame::Frame;
use super::moment::time;
use super::view::View;
use super::{PRUNED, begin_one, finish, no_such, unreadable};
use crate::access::Principal;
use crate::app::Shared;
use crate::extract::Path;

/// What an error names in its `system_state`, and the pages of it.
const NAMED: [(&str, &str, &str); 3] =
    [("Run", "run", "/runs"), ("Batch", "batch", "/batches"), ("Worker", "worker", "/workers")];

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    frame: Frame,
    view: View,
    error: ErrorEntry,
    when: String,
    recovered: &'static str,
    places: Vec<Place>,
    trace: Option<String>,
    more: Option<String>,
    /// What finds it.
    query: String,
}

pub(crate) async fn page(
    State(app): State<Shared>,
    who: Principal,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Response> {
    let (frame, view, id) = begin_one(&app, &who, &headers, IdKind::Error, &id).await?;
    let selection = ErrorSelection { ids: vec![id], ..ErrorSelection::default() };
    let error = match app.store.errors(&selection, 1).await {
        Ok(errors) => errors.into_iter().next(),
        Err(error) => return Err(unreadable(frame, "This failure cannot be read.", &error)),
    };
    let Some(error) = error else {
        return Err(no_such(frame, IdKind::Error, PRUNED));
    };
    let flashed = frame.flash.is_some();
    let page = ErrorPage {
        frame: frame.titled(format!("Failure {}", tail(id))),
        when: time(error.created_at),
        recovered: recovered(&error),
        places: places(&error),
        trace: view.trace(error.correlation_id.as_deref()),
        more: more(&error),
        query: format!("error:{id}"),
        error,
        view,
    };
    Ok(finish(&page, flashed))
}

/// The error before it, and what its state names.
fn places(error: &ErrorEntry) -> Vec<Place> {
    let place =
        |name: &str, page: &str, id: Uuid| (name.to_owned(), format!("{page}/{id}"), tail(id));
    let before = error.parent_error_id.as_deref().and_then(|id| id.parse().ok());
    let before = before.map(|id| place("Failure before it", "/errors", id));
    let state = error.system_state.as_ref();
    let named = NAMED.iter().filter_map(|(name, key, page)| {
        let id = state?.get(key)?.as_str()?.parse().ok()?;
        Some(place(name, page, id))
    });
    before.into_iter().chain(named).collect()
}

/// The chain of causes, and the state of the worker.
fn more(error: &ErrorEntry) -> Option<String> {
    let state = error.system_state.as_ref().map(|state| format!("{state:#}"));
    let parts: Vec<_> = error.stack_trace.clone().into_iter().chain(state).collect();
    (!parts.is_empty()).then(|| parts.join("\n\n"))
}
