//! What failed and why.

use axum::extract::State;
use reelshift_operate::Query as FailureQuery;
use reelshift_plan::JobKind;
use reelshift_store::failures::{
    ErrorCursor, ErrorEntry, ErrorGroup, ErrorSelection, NEWEST_GROUPED,
};
use reelshift_store::ids::{self, IdKind, IdPart};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::page::{Page, PageQuery};
use crate::app::Shared;
use crate::extract::{Json, Query};
use crate::problem::Problem;

/// Which errors. Every condition that is given must hold.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// `file_missing`, `database_deadlock`, …
    #[serde(rename = "type")]
    #[param(rename = "type")]
    error_type: Option<String>,
    /// `backfill` or `hash`.
    stage: Option<JobKind>,
    /// Of this batch.
    batch: Option<IdPart>,
    /// Of this video.
    video: Option<String>,
    /// In place of all others: `cause:file_missing since:1h worker:8f71 path:missing/`, as
    /// `reelshift find` takes it.
    query: Option<String>,
}

impl Filter {
    async fn selection(self, app: &Shared) -> Result<ErrorSelection, Problem> {
        let Self { error_type, stage, batch, video, query } = self;
        let Some(query) = query else {
            return Ok(ErrorSelection {
                batch: ids::find_given(&*app.store, IdKind::Batch, batch.as_ref()).await?,
                error_type,
                processing_stage: stage.map(|stage| stage.to_string()),
                video,
                ..ErrorSelection::default()
            });
        };
        if error_type.is_some() || stage.is_some() || batch.is_some() || video.is_some() {
            return Err(Problem::bad_request("give query alone: its terms say all the others"));
        }
        Ok(parsed(&query)?.selection(&*app.store).await?)
    }
}

/// A query as it was typed.
pub(super) fn parsed(text: &str) -> Result<FailureQuery, Problem> {
    text.parse().map_err(|wrong| Problem::bad_request(format!("{wrong}")))
}

/// Errors, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/errors",
    operation_id = "list_errors",
    tag = "errors",
    params(Filter, PageQuery),
    responses((status = 200, description = "A page of errors", body = Page<ErrorEntry>))
)]
pub(super) async fn list(
    State(app): State<Shared>,
    Query(filter): Query<Filter>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<ErrorEntry>>, Problem> {
    let (limit, before) = (page.limit()?, page.cursor::<ErrorCursor>()?);
    let selection = ErrorSelection { before, ..filter.selection(&app).await? };
    let errors = app.store.errors(&selection, limit + 1).await?;
    Page::of(errors, limit, ErrorEntry::cursor).map(Json)
}

/// Errors by cause.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Groups {
    /// How old these figures are.
    age_seconds: f64,
    /// The largest first.
    groups: Vec<ErrorGroup>,
}

/// The newest 10,000 errors grouped by cause, counted at most every ten seconds.
#[utoipa::path(
    get,
    path = "/api/v1/errors/groups",
    operation_id = "list_error_groups",
    tag = "errors",
    responses((status = 200, description = "The groups", body = Groups))
)]
pub(super) async fn groups(State(app): State<Shared>) -> Result<Json<Groups>, Problem> {
    let all = ErrorSelection::default();
    let counted = app.error_groups.get(app.store.error_groups(&all, Some(NEWEST_GROUPED))).await?;
    let age_seconds = counted.at.elapsed().as_secs_f64();
    Ok(Json(Groups { age_seconds, groups: counted.value }))
}
