//! All routes, with what goes around them.

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use serde_json::Value;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

use crate::app::Shared;
use crate::idempotency::{self, Answers};
use crate::openapi::{self, Api};
use crate::parameters::{self, Parameters};
use crate::prefix::PathPrefix;
use crate::{access, api, cors, etag, notifications, pages, prefix, request_id};

fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(Api::openapi())
        .merge(api::routes())
        .merge(access::routes())
        .merge(notifications::routes())
        .merge(pages::routes())
}

/// The OpenAPI document of all routes.
#[must_use]
pub fn document() -> Value {
    openapi::complete(&routes().split_for_parts().1)
}

/// The document as it is where this server's addresses begin with `prefix`.
fn below(mut document: Value, prefix: Option<&PathPrefix>) -> Value {
    if let Some(prefix) = prefix {
        document["servers"][0]["url"] = prefix.to_string().into();
    }
    document
}

/// Answers every request.
pub(crate) fn router(app: Shared) -> Router {
    let (routes, _) = routes().split_for_parts();
    let document = document();
    let parameters = Arc::new(Parameters::new(&document));
    let answers = Arc::new(Answers::default());
    // Inside of access control: what is refused there is not looked at further.
    let inner = routes
        .merge(api::described(&below(document, app.options.path_prefix.as_ref())))
        .layer(from_fn_with_state(parameters, parameters::check))
        .layer(from_fn_with_state(answers, idempotency::once))
        .layer(from_fn(etag::conditional));
    let path_prefix = app.options.path_prefix.clone();
    // Streams too: a live update is ten times as large without.
    let guarded = prefix::shown(access::protect(inner, &app), path_prefix.clone())
        .layer(CompressionLayer::new().gzip(true).compress_when(SizeAbove::default()))
        .layer(from_fn(request_id::identify));
    let routes = cors::allow(guarded, &app.options.allowed_origins).with_state(app);
    prefix::below(routes, path_prefix)
}
