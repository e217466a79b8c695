//! What an orchestrator asks. The answers come from what the process knows.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use reelshift_telemetry::probes::{self, Probe as _};

use crate::app::Shared;
use crate::problem::Problem;

fn answer(said: Result<(), String>) -> Result<&'static str, Problem> {
    said.map(|()| "ok\n").map_err(Problem::unavailable)
}

/// Whether the process works.
#[utoipa::path(
    get,
    path = "/livez",
    operation_id = "check_liveness",
    tag = "probes",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain")),
    security(())
)]
pub(super) async fn livez(State(app): State<Shared>) -> Result<&'static str, Problem> {
    answer(app.clock.live())
}

/// Whether the database answers.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "check_readiness",
    tag = "probes",
    responses(
        (status = 200, description = "It does", body = String, content_type = "text/plain"),
        (status = 503, description = "It does not, and since when", body = Problem, content_type = "application/problem+json"),
    ),
    security(())
)]
pub(super) async fn readyz(State(app): State<Shared>) -> Result<&'static str, Problem> {
    answer(app.clock.ready())
}

/// The metrics of the fleet and of this process, for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "get_metrics",
    tag = "probes",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain"))
)]
pub(super) async fn metrics(State(app): State<Shared>) -> Response {
    match &app.options.registry {
        Some(registry) => {
            // The fleet's are those of the newest overview. Where there is none, why is in the log.
            app.overviews.current().await.ok();
            probes::exposition(registry).into_response()
        }
        None => Problem::new(StatusCode::NOT_FOUND, "not-found", "there are no metrics here")
            .into_response(),
    }
}
