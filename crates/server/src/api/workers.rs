//! Workers: who is there, and what each does.

use axum::extract::State;
use axum::http::StatusCode;
use reelshift_operate as operate;
use reelshift_plan::WorkerState;
use reelshift_store::StoreError;
use reelshift_store::ids::{IdKind, IdPart};
use reelshift_store::report::WorkerReport;
use serde::Deserialize;
use utoipa::IntoParams;

use super::command::{Why, run_detached_or_503};
use super::of_path;
use super::page::{Page, PageQuery};
use crate::access::Principal;
use crate::app::Shared;
use crate::extract::{Json, Path, Query};
use crate::problem::Problem;

/// Which workers.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    #[param(inline)]
    state: Option<WorkerState>,
}

/// Workers, those that started last first.
#[utoipa::path(
    get,
    path = "/api/v1/workers",
    operation_id = "list_workers",
    tag = "workers",
    params(Filter, PageQuery),
    responses((status = 200, description = "A page of workers", body = Page<WorkerReport>))
)]
pub(super) async fn list(
    State(app): State<Shared>,
    Query(filter): Query<Filter>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<WorkerReport>>, Problem> {
    let (limit, before) = (page.limit()?, page.cursor()?);
    let workers = app.store.workers(filter.state, before, limit + 1).await?;
    Page::of(workers, limit, |worker| worker.id).map(Json)
}

/// Tells a worker to take nothing more, to give back what it holds, and to leave.
#[utoipa::path(
    post,
    path = "/api/v1/workers/{id}/drain",
    operation_id = "drain_worker",
    tag = "workers",
    params(("id" = IdPart, Path, description = "The worker's id, or its first or last digits")),
    request_body = Why,
    responses(
        (status = 202, description = "It is told, and leaves within seconds"),
        (status = 404, description = "There is no such worker", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is not running", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn drain(
    State(app): State<Shared>,
    principal: Principal,
    Path(part): Path<IdPart>,
    Json(why): Json<Why>,
) -> Result<StatusCode, Problem> {
    let id = of_path(&app, IdKind::Worker, &part).await?;
    let (shared, by) = (app.clone(), principal.command(why.reason));
    let work = async move { operate::drain(&*shared.store, &by, id).await };
    run_detached_or_503::<_, StoreError>(&app, work).await?;
    Ok(StatusCode::ACCEPTED)
}
