//! Workers: who is there, and what each does.

use axum::Json;
use axum::extract::{Query, State};
use reelshift_plan::WorkerState;
use reelshift_store::report::WorkerReport;
use serde::Deserialize;
use utoipa::IntoParams;

use super::page::{Page, PageQuery};
use crate::app::Shared;
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
