//! The dashboard: pages made on the server from one overview, whose live parts are replaced
//! through one stream. Everything can be read, and every form works, without a script.
//!
//! - [`frame`]: what is around every page; [`mod@view`]: figures as text; [`chart`]: SVG;
//! - one file a page; [`found`]: the search field; [`live`]: the stream; [`actions`]: what forms do; [`assets`].

mod actions;
mod activity;
mod assets;
pub(crate) mod bare;
mod batch;
mod chart;
mod controls;
mod csv;
mod demo;
mod duplicates;
mod error;
mod failures;
mod flash;
mod found;
mod frame;
mod history;
mod live;
mod moment;
mod overview;
mod reference;
pub(crate) mod report;
mod run;
mod runbook;
mod runs;
#[cfg(test)]
mod tests;
mod video;
mod view;
mod worker;
mod workers;

use askama::Template;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use reelshift_store::StoreError;
use reelshift_store::ids::{self, IdKind};
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use crate::access::Principal;
use crate::app::Shared;
use crate::cursor::{self, Cursor};
use crate::problem::Problem;
use crate::sampling::Latest;
use flash::Flash;
use frame::{Frame, Page, said};
pub(crate) use live::Made;
use moment::with_elements;
pub(crate) use reference::Reference;
use view::View;

/// The pages are no part of the API's document.
pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .route("/", get(overview::page))
        .route("/runs", get(runs::page))
        .route("/runs/{id}", get(run::page))
        .route("/batches/{id}", get(batch::page))
        .route("/find", get(found::find))
        .route("/select", get(found::select))
        .route("/videos/{id}", get(video::page))
        .route("/errors/{id}", get(error::page))
        .route("/workers/{id}", get(worker::page))
        .route("/failures", get(failures::page))
        .route("/failures.csv", get(failures::export))
        .route("/failures.json", get(failures::export_json))
        .route("/workers", get(workers::page))
        .route("/controls", get(controls::page))
        .route("/activity", get(activity::page))
        .route("/activity.csv", get(activity::export))
        .route("/duplicates", get(duplicates::page))
        .route("/history", get(history::page))
        .route(demo::PATH, get(demo::page))
        .route("/runbook", get(runbook::page))
        .route("/report", get(report::page))
        .route("/actions/enqueue", post(actions::enqueue))
        .route("/actions/pause", post(actions::pause))
        .route("/actions/resume", post(actions::resume))
        .route("/actions/cancel", post(actions::cancel))
        .route("/actions/rerun", post(actions::rerun))
        .route("/actions/accept", post(actions::accept))
        .route("/actions/flag", post(actions::flag))
        .route("/actions/emergency", post(actions::emergency))
        .route("/actions/tune", post(actions::tune))
        .route("/actions/validate", post(actions::validate))
        .route("/actions/drain", post(actions::drain))
        .route("/actions/demo", post(demo::play))
        .route("/live/{page}", get(live::stream))
        .route("/assets/{name}", get(assets::asset))
}

/// Begins a page: its frame and its figures.
///
/// # Errors
/// The page that says why there are no figures.
async fn begin(
    app: &Shared,
    who: &Principal,
    headers: &HeaderMap,
    page: Page,
    here: &str,
) -> Result<(Frame, View), Response> {
    let flash = Flash::of(headers);
    // The page that answers a form shows what the form did.
    let looked = match &flash {
        Some(flash) if !flash.failed => app.overviews.after_now().await,
        _ => app.overviews.current().await,
    };
    let frame = Frame::new(app, who, page, here).showing(flash);
    match looked {
        Ok(latest) => Ok((frame.over(&latest), view(app, latest))),
        Err(why) => Err(no_figures(frame, &why)),
    }
}

fn view(app: &Shared, latest: Latest) -> View {
    let validation = latest.overview.at().map(|at| app.validations.at(at).said(at));
    View::new(latest, app.options.jaeger.as_deref()).validated(validation.unwrap_or_default())
}

/// A page, or the one that says why there is none.
fn finish(template: &impl Template, said: bool) -> Response {
    match template.render() {
        Ok(html) => {
            let html = Html(with_elements(&html));
            let mut response = ([(header::CACHE_CONTROL, "no-store")], html).into_response();
            if said {
                response.headers_mut().append(header::SET_COOKIE, Flash::over());
            }
            response
        }
        Err(error) => {
            tracing::error!(%error, "a page could not be made");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[derive(Template)]
#[template(path = "trouble.html")]
struct Trouble<'a> {
    frame: Frame,
    word: &'a str,
    sentence: &'a str,
    reason: &'a str,
    next: &'a str,
}

fn no_figures(frame: Frame, why: &str) -> Response {
    let page = Trouble {
        frame,
        word: "UNKNOWN",
        sentence: "The database has not said anything since this server was started.",
        reason: why,
        next: "see that the database is reachable; this server tries again by itself",
    };
    (StatusCode::SERVICE_UNAVAILABLE, finish(&page, false)).into_response()
}

/// Where what has an id is shown: its page in the navigation, its path, and what it is called.
const fn shown_at(kind: IdKind) -> (Page, &'static str, &'static str) {
    match kind {
        IdKind::Run => (Page::Runs, "/runs", "Run"),
        IdKind::Batch => (Page::Runs, "/batches", "Batch"),
        IdKind::Worker => (Page::Workers, "/workers", "Worker"),
        IdKind::Error => (Page::Failures, "/errors", "Failure"),
    }
}

/// Begins the page of one thing, whose id or a part of it stands in the address.
///
/// # Errors
/// The page that says why there are no figures, or no such thing.
async fn begin_one(
    app: &Shared,
    who: &Principal,
    headers: &HeaderMap,
    kind: IdKind,
    text: &str,
) -> Result<(Frame, View, Uuid), Response> {
    let (page, path, title) = shown_at(kind);
    let here = format!("{path}/{}", encoded(text));
    let (frame, view) = begin(app, who, headers, page, &here).await?;
    let frame = frame.titled(title);
    let part = match text.parse() {
        Ok(part) => part,
        Err(error) => return Err(no_such(frame, kind, &format!("{text}: {error}"))),
    };
    match ids::find(&*app.store, kind, &part).await {
        Ok(id) => Ok((frame, view, id)),
        Err(StoreError::Invalid(why)) => Err(no_such(frame, kind, &why)),
        Err(error) => Err(unreadable(frame, "The ids cannot be looked up.", &error)),
    }
}

/// The page in place of one thing that is not there.
fn no_such(frame: Frame, kind: IdKind, why: &str) -> Response {
    let (_, _, title) = shown_at(kind);
    let sentence = format!("No single {} has this id.", title.to_lowercase());
    unavailable(frame, StatusCode::NOT_FOUND, &sentence, why)
}

/// What the ledger had, and has no more.
const PRUNED: &str = "it may have been pruned";

/// `text` as one part of a path.
fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// The part of a link that says where the page before ended.
fn next_link(parameter: &str, end: &impl Cursor) -> String {
    format!("{parameter}={}", cursor::encode(end).unwrap_or_default())
}

/// A page of a list that the address does not name rightly.
fn no_such_page(frame: Frame, wrong: &Problem) -> Response {
    unavailable(frame, wrong.code(), "There is no such part of this list.", &wrong.detail)
}

/// The page in place of one that cannot be read.
fn unreadable(frame: Frame, sentence: &str, error: &StoreError) -> Response {
    let status = match error {
        StoreError::Refused(_) | StoreError::NotExpanded(_) => StatusCode::CONFLICT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    unavailable(frame, status, sentence, &said(error))
}

/// A part of a page that cannot be shown, or is not there.
fn unavailable(frame: Frame, status: StatusCode, sentence: &str, reason: &str) -> Response {
    let (word, next) = match status {
        StatusCode::NOT_FOUND => ("NOT FOUND", "look for it in the list; what was pruned is gone"),
        StatusCode::BAD_REQUEST => ("NOT FOUND", "begin with the first page of the list"),
        StatusCode::CONFLICT => ("NOT YET", "do that first, then open this page again"),
        _ => ("UNAVAILABLE", "try again; if it stays so, look at this server's log"),
    };
    (status, finish(&Trouble { frame, word, sentence, reason, next }, false)).into_response()
}
