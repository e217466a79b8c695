//! Runs: listed, and paused, resumed or cancelled one by one.

use axum::extract::State;
use axum::http::StatusCode;
use reelshift_operate::{self as operate, By};
use reelshift_overview::RunProgress;
use reelshift_plan::{JobKind, RunState};
use reelshift_store::StoreError;
use reelshift_store::controls::CancelledRun;
use reelshift_store::ids::{IdKind, IdPart};
use reelshift_store::ledger::Run;
use reelshift_store::listings::RunSelection;
use reelshift_store::report::RunReport;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::command::{Why, run_detached_or_503};
use super::of_path;
use super::page::{Page, PageQuery};
use super::status::latest;
use crate::access::Principal;
use crate::app::Shared;
use crate::extract::{Json, Path, Query};
use crate::problem::Problem;

/// Which runs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    kind: Option<JobKind>,
    state: Option<RunState>,
}

/// Runs, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/runs",
    operation_id = "list_runs",
    tag = "runs",
    params(Filter, PageQuery),
    responses((status = 200, description = "A page of runs", body = Page<Run>))
)]
pub(super) async fn list(
    State(app): State<Shared>,
    Query(filter): Query<Filter>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Run>>, Problem> {
    let (limit, before) = (page.limit()?, page.cursor()?);
    let selection = RunSelection { kind: filter.kind, state: filter.state };
    let runs = app.store.runs(&selection, before, limit + 1).await?;
    Page::of(runs, limit, |run| run.id).map(Json)
}

/// A run, and how far it is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RunDetail {
    #[serde(flatten)]
    report: RunReport,
    progress: RunProgress,
}

/// One run, with its batches by state, its progress, and when it will be done.
#[utoipa::path(
    get,
    path = "/api/v1/runs/{id}",
    operation_id = "get_run",
    tag = "runs",
    params(("id" = IdPart, Path, description = "The run's id, or its first or last digits")),
    responses(
        (status = 200, description = "The run", body = RunDetail),
        (status = 404, description = "There is no such run", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn one(
    State(app): State<Shared>,
    Path(part): Path<IdPart>,
) -> Result<Json<RunDetail>, Problem> {
    let id = of_path(&app, IdKind::Run, &part).await?;
    let Some(report) = app.store.run_report(id).await? else {
        // One that cannot be read is an error; one that is not there is none.
        app.store.run(id).await?;
        return Err(missing(id));
    };
    let latest = latest(&app).await?;
    let ledger = latest.overview.report.as_ref().ok_or_else(|| {
        Problem::unavailable("the state of the fleet was not read yet: ask again in a moment")
    })?;
    let progress = RunProgress::compute(&report, ledger, &latest.history);
    Ok(Json(RunDetail { report, progress }))
}

fn missing(id: Uuid) -> Problem {
    Problem::not_found(format!("there is no run {id}"))
}

/// As the store says it, where the run of the path is what it knows nothing of.
fn not_there(error: StoreError) -> Problem {
    match error {
        StoreError::Invalid(why) => Problem::not_found(why),
        error => error.into(),
    }
}

/// Pauses a run: within two seconds workers give its batches back.
#[utoipa::path(
    post,
    path = "/api/v1/runs/{id}/pause",
    operation_id = "pause_run",
    tag = "runs",
    params(("id" = IdPart, Path, description = "The run's id, or its first or last digits")),
    request_body = Why,
    responses(
        (status = 200, description = "The run, paused", body = Run),
        (status = 404, description = "There is no such run", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It has ended", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn pause(
    State(app): State<Shared>,
    principal: Principal,
    Path(part): Path<IdPart>,
    Json(why): Json<Why>,
) -> Result<Json<Run>, Problem> {
    let id = of_path(&app, IdKind::Run, &part).await?;
    let (shared, by) = (app.clone(), principal.command(why.reason));
    let work = async move { operate::pause_run(&*shared.store, &by, id).await.map_err(not_there) };
    run_detached_or_503(&app, work).await.map(Json)
}

/// Lets a paused run go on.
#[utoipa::path(
    post,
    path = "/api/v1/runs/{id}/resume",
    operation_id = "resume_run",
    tag = "runs",
    params(("id" = IdPart, Path, description = "The run's id, or its first or last digits")),
    request_body = Why,
    responses(
        (status = 200, description = "The run as it goes on", body = Run),
        (status = 404, description = "There is no such run", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is not paused", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn resume(
    State(app): State<Shared>,
    principal: Principal,
    Path(part): Path<IdPart>,
    Json(why): Json<Why>,
) -> Result<Json<Run>, Problem> {
    let id = of_path(&app, IdKind::Run, &part).await?;
    let (shared, by) = (app.clone(), principal.command(why.reason));
    let work = async move { operate::resume_run(&*shared.store, &by, id).await.map_err(not_there) };
    run_detached_or_503(&app, work).await.map(Json)
}

/// What came of a cancel.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Cancelled {
    run: Run,
    /// Batches that workers had: they write nothing more.
    leased: u64,
}

/// Ends a run for good: what is done stays, nothing more is. Its pending batches, which no
/// worker takes any longer, are cancelled by and by.
#[utoipa::path(
    post,
    path = "/api/v1/runs/{id}/cancel",
    operation_id = "cancel_run",
    tag = "runs",
    params(("id" = IdPart, Path, description = "The run's id, or its first or last digits")),
    request_body = Why,
    responses(
        (status = 202, description = "The run is cancelled; its batches follow", body = Cancelled),
        (status = 404, description = "There is no such run", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It has ended otherwise", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn cancel(
    State(app): State<Shared>,
    principal: Principal,
    Path(part): Path<IdPart>,
    Json(why): Json<Why>,
) -> Result<(StatusCode, Json<Cancelled>), Problem> {
    let id = of_path(&app, IdKind::Run, &part).await?;
    let (shared, by) = (app.clone(), principal.command(why.reason));
    let work = async move { cancel_run(&shared, &by, id).await.map_err(not_there) };
    let CancelledRun { run, leased } = run_detached_or_503::<_, Problem>(&app, work).await?;
    Ok((StatusCode::ACCEPTED, Json(Cancelled { run, leased })))
}

/// Ends a run. Its pending batches follow in small transactions, which nobody has to wait for.
pub(crate) async fn cancel_run(
    app: &Shared,
    by: &By,
    run: Uuid,
) -> Result<CancelledRun, StoreError> {
    let cancelled = operate::cancel(&*app.store, by, run).await?;
    let store = app.store.clone();
    app.tasks.spawn(async move {
        if let Err(error) = operate::cancel_rest(&*store, run).await {
            tracing::warn!(%run, %error, "batches of a cancelled run are still pending: cancel it again");
        }
    });
    Ok(cancelled)
}
