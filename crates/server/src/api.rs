//! The HTTP API: one file a resource.

mod videos;

use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::Shared;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(videos::status))
}

/// `/openapi.json`: the document of all routes.
pub(crate) fn described(document: OpenApi) -> Router<Shared> {
    let document = Arc::new(document);
    Router::new().route("/openapi.json", get(async move || Json(document.as_ref().clone())))
}
