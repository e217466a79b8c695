//! What a validation by the fleet found.

use axum::extract::State;
use reelshift_store::comparisons::{ComparedTable, FoundDifference};
use reelshift_store::ids::{IdKind, IdPart};
use reelshift_store::report::Check;
use reelshift_store::validation;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::of_path;
use super::page::{Page, PageQuery};
use crate::app::Shared;
use crate::extract::{Json, Path, Query};
use crate::problem::Problem;

/// What a run compared.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Checks {
    /// Each with its first differences, `not_yet` where the run is not done and none was found;
    /// none of a run that compares nothing.
    checks: Vec<Check>,
}

/// What a validation run has compared so far.
#[utoipa::path(
    get,
    path = "/api/v1/runs/{id}/checks",
    operation_id = "list_run_checks",
    tag = "validation",
    params(("id" = IdPart, Path, description = "The run's id, or its first or last digits")),
    responses(
        (status = 200, description = "The checks", body = Checks),
        (status = 404, description = "There is no such run", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn checks(
    State(app): State<Shared>,
    Path(part): Path<IdPart>,
) -> Result<Json<Checks>, Problem> {
    let id = of_path(&app, IdKind::Run, &part).await?;
    let run = app.store.run(id).await?;
    let run = run.ok_or_else(|| Problem::not_found(format!("there is no run {id}")))?;
    Ok(Json(Checks { checks: validation::of_rows(&*app.store, &run).await? }))
}

/// Which differences.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// In this table: `videos` (where it is not given), `video_processing_status`,
    /// `processing_error_log` or `realtime_notification_queue`.
    table: Option<String>,
}

/// The differences that a validation run found in a table, by key: those of `limit` keys.
#[utoipa::path(
    get,
    path = "/api/v1/runs/{id}/differences",
    operation_id = "list_run_differences",
    tag = "validation",
    params(
        ("id" = IdPart, Path, description = "The run's id, or its first or last digits"),
        Filter,
        PageQuery,
    ),
    responses(
        (status = 200, description = "A page of differences", body = Page<FoundDifference>),
        (status = 404, description = "There is no such run", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn differences(
    State(app): State<Shared>,
    Path(part): Path<IdPart>,
    Query(filter): Query<Filter>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<FoundDifference>>, Problem> {
    let (limit, after) = (page.limit()?, page.cursor::<String>()?);
    let name = filter.table.as_deref().unwrap_or(ComparedTable::Videos.into_str());
    let table = ComparedTable::named(name).ok_or_else(|| {
        let names: Vec<_> = ComparedTable::ALL.iter().map(ComparedTable::into_str).collect();
        Problem::bad_request(format!("table: give one of {}", names.join(", ")))
    })?;
    let id = of_path(&app, IdKind::Run, &part).await?;
    let keys = app.store.differing_keys(id, table, after.as_deref(), limit + 1).await?;
    let keys = Page::of(keys, limit, String::clone)?;
    let items = app.store.differences(id, table, &keys.items).await?;
    Ok(Json(Page { items, next: keys.next }))
}
