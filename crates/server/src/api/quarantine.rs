//! What was set aside.

use axum::extract::State;
use reelshift_plan::JobKind;
use reelshift_store::ids::{self, IdKind, IdPart};
use reelshift_store::listings::{QuarantineCursor, QuarantineSelection, Quarantined};
use serde::Deserialize;
use utoipa::IntoParams;

use super::page::{Page, PageQuery};
use crate::app::Shared;
use crate::extract::{Json, Query};
use crate::problem::Problem;

/// Which items. Every condition that is given must hold.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    kind: Option<JobKind>,
    /// Of this run.
    run: Option<IdPart>,
    /// `file_missing`, `database_trigger_refused`, …
    #[serde(rename = "type")]
    #[param(rename = "type")]
    error_type: Option<String>,
}

/// Rows and files in quarantine, by kind and video.
#[utoipa::path(
    get,
    path = "/api/v1/quarantine",
    operation_id = "list_quarantine",
    tag = "quarantine",
    params(Filter, PageQuery),
    responses((status = 200, description = "A page of items", body = Page<Quarantined>))
)]
pub(super) async fn list(
    State(app): State<Shared>,
    Query(filter): Query<Filter>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Quarantined>>, Problem> {
    let (limit, after) = (page.limit()?, page.cursor::<QuarantineCursor>()?);
    let Filter { kind, run, error_type } = filter;
    let run = ids::find_given(&*app.store, IdKind::Run, run.as_ref()).await?;
    let selection = QuarantineSelection { kind, run, error_type, video: None };
    let items = app.store.quarantine(&selection, after.as_ref(), limit + 1).await?;
    Page::of(items, limit, Quarantined::cursor).map(Json)
}
