//! What changes something: done to its end also when the client goes away meanwhile.

use std::time::Duration;

use axum::http::StatusCode;
use reelshift_operate::Reason;
use reelshift_telemetry::request;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::Shared;
use crate::problem::Problem;

/// How long a client waits for a command before it is told that it goes on: below the time
/// limit of a request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why something is done.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    /// The reason, which the audit keeps.
    #[schema(value_type = Option<String>, max_length = 2_000)]
    pub reason: Option<Reason>,
}

/// Does `work` among the tasks of `app`, for which a drain waits. `None` when it is still
/// under way after [`PATIENCE`].
pub(super) async fn run_detached<T, E>(
    app: &Shared,
    work: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<Option<T>, Problem>
where
    T: Send + 'static,
    E: Into<Problem> + Send + 'static,
{
    let work = app.tasks.spawn(request::carried(work));
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(done)) => done.map(Some).map_err(Into::into),
        Ok(Err(error)) => {
            tracing::error!(%error, "a command did not end by itself");
            Err(Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "the server failed at this command: its log says why",
            ))
        }
        Err(_) => Ok(None),
    }
}

/// As [`run_detached`], for what ends soon.
pub(super) async fn run_detached_or_503<T, E>(
    app: &Shared,
    work: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, Problem>
where
    T: Send + 'static,
    E: Into<Problem> + Send + 'static,
{
    run_detached(app, work).await?.ok_or_else(|| {
        Problem::unavailable(
            "the database takes long: look in a moment whether what was asked for has happened",
        )
    })
}
