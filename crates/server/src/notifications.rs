//! Notifications: from the platform's queue to subscribers and webhooks.

use utoipa_axum::router::OpenApiRouter;

use crate::app::Shared;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
}

/// Starts what works beside the requests, among `app.tasks`, until `app.stop`.
pub(crate) fn start(_app: &Shared) {}
