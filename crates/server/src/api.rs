//! The HTTP API: one file a resource.
//!
//! Lists are read by keyset with an opaque cursor ([`page`]); what would be counted over a
//! huge table is counted beside the requests and says how old it is ([`aged`]). What changes
//! something calls what the command line calls, and goes on when the client goes away
//! ([`command`]).

mod aged;
mod apply;
mod audit;
mod batches;
mod checks;
mod command;
mod controls;
mod enqueue;
mod errors;
mod flags;
mod notifications;
mod page;
mod phases;
mod probes;
mod quarantine;
mod rerun;
mod runs;
mod status;
mod validation;
mod videos;
mod workers;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use reelshift_store::StoreError;
use reelshift_store::ids::{self, IdKind, IdPart};
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(crate) use aged::Aged;
pub(crate) use apply::Applications;
pub(crate) use enqueue::begin_usual_run;
pub(crate) use runs::cancel_run;
pub(crate) use validation::{Validations, begin_validation};

use crate::app::Shared;
use crate::pages;
use crate::problem::Problem;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(videos::status))
        .routes(routes!(probes::livez))
        .routes(routes!(probes::readyz))
        .routes(routes!(probes::metrics))
        .routes(routes!(flags::list))
        .routes(routes!(flags::set))
        .routes(routes!(flags::emergency_disable))
        .routes(routes!(controls::list, controls::tune))
        .routes(routes!(controls::pause))
        .routes(routes!(controls::resume))
        .routes(routes!(status::status))
        .routes(routes!(status::follow))
        .routes(routes!(runs::list, enqueue::enqueue))
        .routes(routes!(runs::one))
        .routes(routes!(runs::pause))
        .routes(routes!(runs::resume))
        .routes(routes!(runs::cancel))
        .routes(routes!(checks::checks))
        .routes(routes!(checks::differences))
        .routes(routes!(batches::list))
        .routes(routes!(batches::one))
        .routes(routes!(workers::list))
        .routes(routes!(workers::drain))
        .routes(routes!(errors::list))
        .routes(routes!(errors::groups))
        .routes(routes!(quarantine::list))
        .routes(routes!(rerun::rerun))
        .routes(routes!(rerun::accept))
        .routes(routes!(audit::list))
        .routes(routes!(validation::last, validation::validate))
        .routes(routes!(phases::apply))
        .routes(routes!(apply::last, apply::apply))
        .routes(routes!(phases::rollback))
        .routes(routes!(notifications::list, notifications::send))
}

/// What the path names by its id, or by a part of it.
async fn of_path(app: &Shared, kind: IdKind, part: &IdPart) -> Result<Uuid, Problem> {
    ids::find(&*app.store, kind, part).await.map_err(|error| match error {
        StoreError::Invalid(why) => Problem::not_found(why),
        error => error.into(),
    })
}

/// `/openapi.json`: the document of all routes, and `/docs`, the same as a page.
pub(crate) fn described(document: &Value) -> Router<Shared> {
    let json = Bytes::from(document.to_string());
    let page = Arc::new(pages::Reference::new(document));
    Router::new()
        .route("/openapi.json", get(async move || ([(CONTENT_TYPE, "application/json")], json)))
        .route("/docs", get(async move |State(app): State<Shared>| page.shown(&app)))
}
