//! Runs, begun.

use axum::extract::State;
use axum::http::StatusCode;
use reelshift_operate::{self as operate, By};
use reelshift_overview::figures::{plural, tail};
use reelshift_plan::JobKind;
use reelshift_producer::Enqueued;
use reelshift_store::StoreError;
use reelshift_store::ledger::{Run, RunPlan, VideoFilter};
use reelshift_store::listings::RunSelection;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::command::run_detached;
use crate::access::Principal;
use crate::app::Shared;
use crate::extract::Json;
use crate::problem::Problem;

/// The newest runs among which one that is still planned is looked for.
const NEWEST_RUNS: u32 = 10;

/// A run to be enqueued. What is left out is as `reelshift enqueue` has it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "kind": "backfill", "where": {}, "batch_rows": 2_000, "max_attempts": 5 }))]
pub(super) struct NewRun {
    kind: JobKind,
    /// Only videos for which all of this holds; not of a validation, which compares all.
    #[serde(rename = "where", default)]
    filter: VideoFilter,
    /// Of a backfill and a validation: videos in a batch; usually 2,000 and 10,000.
    #[schema(minimum = 1, maximum = 1_000_000, example = 2_000)]
    batch_rows: Option<u32>,
    /// Of a hash: bytes in a batch.
    #[schema(minimum = 1, default = 1_073_741_824_u64)]
    batch_bytes: Option<u64>,
    /// Of a hash: files in a batch, at most.
    #[schema(minimum = 1, maximum = 10_000, default = 64)]
    batch_files: Option<u32>,
    /// Attempts that a batch gets before it is failed.
    #[schema(minimum = 1, maximum = 100, default = 5)]
    max_attempts: Option<u32>,
}

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EnqueuedRun {
    run: Run,
    /// Whether this made the run; otherwise one over the same videos was there already.
    created: bool,
    batches_added: u64,
    rows_added: u64,
    bytes_added: u64,
}

impl From<Enqueued> for EnqueuedRun {
    fn from(enqueued: Enqueued) -> Self {
        let Enqueued { run, created, added, planned: _ } = enqueued;
        Self {
            run,
            created,
            batches_added: added.batches,
            rows_added: added.rows,
            bytes_added: added.bytes,
        }
    }
}

/// Enqueues a run: a backfill, a hash of all files, or a validation by the fleet.
///
/// The same plan enqueued twice adds nothing while the first run is active. Planning that takes
/// long goes on after the answer.
#[utoipa::path(
    post,
    path = "/api/v1/runs",
    operation_id = "enqueue_run",
    tag = "runs",
    request_body = NewRun,
    responses(
        (status = 201, description = "The run was made, and its batches are in", body = EnqueuedRun),
        (status = 200, description = "A run over the same videos was there already", body = EnqueuedRun),
        (status = 202, description = "The run was made; its planning goes on", body = EnqueuedRun),
        (status = 400, description = "No video meets the conditions, or a value does not fit", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "A rollback is not at its end", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn enqueue(
    State(app): State<Shared>,
    principal: Principal,
    Json(new): Json<NewRun>,
) -> Result<(StatusCode, Json<EnqueuedRun>), Problem> {
    let kind = new.kind;
    let (status, enqueued) = begin(&app, &principal, kind, plan(new)?).await?;
    Ok((status, Json(enqueued)))
}

/// A run as `reelshift enqueue KIND` makes it, in words.
pub(crate) async fn begin_usual_run(
    app: &Shared,
    who: &Principal,
    kind: JobKind,
) -> Result<String, Problem> {
    let (status, EnqueuedRun { run, batches_added, .. }) =
        begin(app, who, kind, operate::usual_plan(kind)).await?;
    let (id, batches) = (tail(run.id), plural(batches_added, "batch", "batches"));
    Ok(match status {
        StatusCode::CREATED if batches_added == 0 => {
            format!("Nothing to do: no video needs {kind}.")
        }
        StatusCode::CREATED => format!("Enqueued: {batches} of run {id}."),
        StatusCode::ACCEPTED => format!("Run {id} is being planned: {batches} so far."),
        _ => format!("Nothing added: run {id} is over the same videos and is {}.", run.state),
    })
}

async fn begin(
    app: &Shared,
    who: &Principal,
    kind: JobKind,
    plan: RunPlan,
) -> Result<(StatusCode, EnqueuedRun), Problem> {
    let (shared, by) = (app.clone(), who.command(None));
    let (of_task, planned) = (by.clone(), plan.clone());
    let work = async move {
        let (store, stop) = (&shared.store, &shared.stop);
        operate::enqueue(store, &of_task, kind, planned, stop, |_| {}).await
    };
    Ok(match run_detached::<Enqueued, StoreError>(app, work).await? {
        Some(enqueued) => {
            let status = if enqueued.created { StatusCode::CREATED } else { StatusCode::OK };
            (status, enqueued.into())
        }
        None => (StatusCode::ACCEPTED, begun(app, &by, kind, &plan).await?),
    })
}

fn plan(new: NewRun) -> Result<RunPlan, Problem> {
    if new.kind == JobKind::Validate && new.filter != VideoFilter::default() {
        return Err(Problem::bad_request("a validation compares all videos: leave `where` out"));
    }
    let usual = operate::usual_plan(new.kind);
    let plan = RunPlan {
        filter: new.filter,
        batch_rows: new.batch_rows.unwrap_or(usual.batch_rows),
        batch_bytes: new.batch_bytes.unwrap_or(usual.batch_bytes),
        batch_files: new.batch_files.unwrap_or(usual.batch_files),
        max_attempts: new.max_attempts.unwrap_or(usual.max_attempts),
        repair: false,
    };
    operate::check_plan(&plan)?;
    Ok(plan)
}

/// The run that is still being planned.
async fn begun(
    app: &Shared,
    by: &By,
    kind: JobKind,
    plan: &RunPlan,
) -> Result<EnqueuedRun, Problem> {
    let of_kind = RunSelection { kind: Some(kind), state: None };
    let newest = app.store.runs(&of_kind, None, NEWEST_RUNS).await?;
    let same = |run: &&Run| run.plan.key(kind) == plan.key(kind) && !run.state.has_ended();
    let run = newest.iter().find(same).cloned().ok_or_else(|| {
        Problem::unavailable("planning goes on: look for the run in /api/v1/runs in a moment")
    })?;
    Ok(EnqueuedRun {
        created: run.created_by == by.who,
        batches_added: run.batches_total,
        rows_added: run.rows_total,
        bytes_added: run.bytes_total,
        run,
    })
}
