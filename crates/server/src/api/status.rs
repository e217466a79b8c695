//! The whole migration at a glance: what the pages, the terminal and `status --json` show.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{StreamExt as _, stream};
use reelshift_overview::Overview;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Principal;
use crate::app::Shared;
use crate::extract::Json;
use crate::problem::Problem;
use crate::sampling::Latest;

/// A proxy that sees nothing for a minute closes the connection.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// After a cut a client comes back after this.
const RETRY: Duration = Duration::from_secs(2);

/// A migration at one moment of the database's clock, as `reelshift status --json` prints it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Status<'a> {
    /// Seconds since these figures were read.
    age_seconds: f64,
    /// Why there are no newer figures.
    trouble: Option<&'a str>,
    #[serde(flatten)]
    overview: &'a Overview,
}

impl<'a> Status<'a> {
    fn new(latest: &'a Latest) -> Self {
        Self {
            age_seconds: latest.age().as_secs_f64(),
            trouble: latest.trouble.as_deref(),
            overview: &latest.overview,
        }
    }
}

/// The newest overview.
pub(super) async fn latest(app: &Shared) -> Result<Latest, Problem> {
    app.overviews.current().await.map_err(Problem::unavailable)
}

/// How the migration stands.
///
/// Verdict, phases, runs with their progress, workers, what limits the fleet, failures, flags.
/// The figures are read once for all who ask, at most a second ago unless `trouble` says why
/// not. What the ledger counts is left out before `apply expand` is complete.
#[utoipa::path(
    get,
    path = "/api/v1/status",
    operation_id = "get_status",
    tag = "status",
    responses((status = 200, description = "The migration", body = Status))
)]
pub(super) async fn status(State(app): State<Shared>) -> Result<impl IntoResponse, Problem> {
    let latest = latest(&app).await?;
    Ok(Json(Status::new(&latest)).into_response())
}

/// How the migration stands, as Server-Sent Events.
///
/// An event `status` comes with every new look, about once a second, with the document that
/// `GET /api/v1/status` answers; an event `trouble` with a text, while there are no figures.
#[utoipa::path(
    get,
    path = "/api/v1/status/stream",
    operation_id = "stream_status",
    tag = "status",
    responses(
        (status = 200, description = "The events", content_type = "text/event-stream", body = String),
    )
)]
pub(super) async fn follow(State(app): State<Shared>, who: Principal) -> impl IntoResponse {
    let watching = app.overviews.watch();
    let first = Event::default().retry(RETRY).comment("the figures follow");
    let events = stream::unfold((app.clone(), watching), async |(app, mut watching)| {
        let event = match app.stop.run_until_cancelled(watching.next()).await?? {
            Ok(latest) => Event::default().event("status").json_data(Status::new(&latest)),
            Err(why) => Ok(Event::default().event("trouble").data(why.replace(['\r', '\n'], " "))),
        };
        Some((Ok::<_, Infallible>(event.ok()?), (app, watching)))
    });
    let events = stream::iter([Ok(first)]).chain(events);
    let events = events.take_until(Box::pin(who.admission.ended(app)));
    // Proxies that gather an answer before they pass it on are asked not to.
    let headers = [("x-accel-buffering", "no"), ("cache-control", "no-store")];
    (headers, Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}
