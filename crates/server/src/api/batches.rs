//! Batches: what the fleet does, piece by piece.

use axum::extract::State;
use reelshift_plan::BatchState;
use reelshift_store::ids::{self, IdKind, IdPart};
use reelshift_store::ledger::Bounds;
use reelshift_store::listings::{BatchCursor, BatchReport, BatchSelection};
use serde::Deserialize;
use utoipa::IntoParams;

use super::of_path;
use super::page::{Page, PageQuery};
use crate::app::Shared;
use crate::extract::{Json, Path, Query};
use crate::problem::Problem;

/// Which batches.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Of this run, state after state in the order in which they are claimed.
    run: Option<IdPart>,
    /// In this state; goes with `run`.
    state: Option<BatchState>,
    /// Those that this worker has now.
    worker: Option<IdPart>,
    /// Without the ids of the videos that a batch lists: its `bounds` are an empty list, and its
    /// own address has them.
    #[serde(default)]
    summary: bool,
}

impl Filter {
    /// What an index of the ledger answers.
    async fn selection(&self, app: &Shared) -> Result<BatchSelection, Problem> {
        let run = ids::find_given(&*app.store, IdKind::Run, self.run.as_ref()).await?;
        let worker = ids::find_given(&*app.store, IdKind::Worker, self.worker.as_ref()).await?;
        match (run, self.state, worker) {
            (Some(run), state, None) => Ok(BatchSelection::OfRun { run, state }),
            (None, None, Some(worker)) => Ok(BatchSelection::LeasedBy(worker)),
            (None, None, None) => Ok(BatchSelection::All),
            (_, _, Some(_)) => Err(Problem::bad_request("give worker alone, without run or state")),
            (None, Some(_), None) => {
                Err(Problem::bad_request("state goes with run: give run=ID too (see /api/v1/runs)"))
            }
        }
    }
}

/// Batches of a run or a worker, or all, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/batches",
    operation_id = "list_batches",
    tag = "batches",
    params(Filter, PageQuery),
    responses((status = 200, description = "A page of batches", body = Page<BatchReport>))
)]
pub(super) async fn list(
    State(app): State<Shared>,
    Query(filter): Query<Filter>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<BatchReport>>, Problem> {
    let selection = filter.selection(&app).await?;
    let (limit, after) = (page.limit()?, page.cursor::<BatchCursor>()?);
    let mut batches = app.store.batches(&selection, after.as_ref(), limit + 1).await?;
    if filter.summary {
        for batch in &mut batches {
            if let Bounds::Items(videos) = &mut batch.bounds {
                videos.clear();
            }
        }
    }
    Page::of(batches, limit, BatchReport::cursor).map(Json)
}

/// One batch.
#[utoipa::path(
    get,
    path = "/api/v1/batches/{id}",
    operation_id = "get_batch",
    tag = "batches",
    params(("id" = IdPart, Path, description = "The batch's id, or its first or last digits")),
    responses(
        (status = 200, description = "The batch", body = BatchReport),
        (status = 404, description = "There is no such batch", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn one(
    State(app): State<Shared>,
    Path(part): Path<IdPart>,
) -> Result<Json<BatchReport>, Problem> {
    let id = of_path(&app, IdKind::Batch, &part).await?;
    let batch = app.store.batch(id).await?;
    batch.map(Json).ok_or_else(|| Problem::not_found(format!("there is no batch {id}")))
}
