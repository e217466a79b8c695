//! All routes, with what goes around them.

use axum::Router;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;
use utoipa_axum::router::OpenApiRouter;

use crate::app::Shared;
use crate::{access, api, notifications, pages, problem::Problem};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "reelshift",
        description = "Status of videos, flags, runs and notifications of a migration."
    ),
    components(schemas(Problem))
)]
struct Api;

fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(Api::openapi())
        .merge(api::routes())
        .merge(access::routes())
        .merge(notifications::routes())
        .merge(pages::routes())
}

/// The OpenAPI document of all routes.
#[must_use]
pub fn document() -> Document {
    routes().split_for_parts().1
}

/// Answers every request.
pub(crate) fn router(app: Shared) -> Router {
    let (routes, document) = routes().split_for_parts();
    let described = api::described(document);
    access::protect(routes.merge(described), &app).with_state(app)
}
