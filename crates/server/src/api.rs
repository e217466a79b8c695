//! The HTTP API: one file a resource.
//!
//! Lists are read by keyset with an opaque cursor ([`page`]); what would be counted over a
//! huge table is counted beside the requests and says how old it is ([`aged`]). What changes
//! something calls what the command line calls, and goes on when the client goes away
//! ([`command`]).

mod aged;
mod audit;
mod batches;
mod command;
mod controls;
mod errors;
mod flags;
mod page;
mod probes;
mod quarantine;
mod rerun;
mod runs;
mod validation;
mod videos;
mod workers;

use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router};
use reelshift_store::StoreError;
use reelshift_store::ids::{self, IdKind, IdPart};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(crate) use aged::Aged;
pub(crate) use runs::cancel_run;
pub(crate) use validation::{Validations, begin_validation};

use crate::app::Shared;
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
        .routes(routes!(runs::list))
        .routes(routes!(runs::one))
        .routes(routes!(runs::pause))
        .routes(routes!(runs::resume))
        .routes(routes!(runs::cancel))
        .routes(routes!(batches::list))
        .routes(routes!(batches::one))
        .routes(routes!(workers::list))
        .routes(routes!(errors::list))
        .routes(routes!(errors::groups))
        .routes(routes!(quarantine::list))
        .routes(routes!(rerun::rerun))
        .routes(routes!(audit::list))
        .routes(routes!(validation::last, validation::validate))
}

/// What the path names by its id, or by a part of it.
async fn of_path(app: &Shared, kind: IdKind, part: &IdPart) -> Result<Uuid, Problem> {
    ids::find(&*app.store, kind, part).await.map_err(|error| match error {
        StoreError::Invalid(why) => Problem::not_found(why),
        error => error.into(),
    })
}

/// `/openapi.json`: the document of all routes.
pub(crate) fn described(document: OpenApi) -> Router<Shared> {
    let document = Arc::new(document);
    Router::new().route("/openapi.json", get(async move || Json(document.as_ref().clone())))
}
