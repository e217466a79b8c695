//! What applying a phase, or taking phases back, would do. Nothing is changed.

use axum::extract::State;
use reelshift_archive::ArchiveError;
use reelshift_operate::{
    self as operate, Keep, PhaseSteps, RollBack, RollbackPreview, RollbackTarget,
};
use reelshift_plan::Phase;
use reelshift_store::patience::Options;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::command::run_detached_or_503;
use crate::app::Shared;
use crate::extract::{Json, Path};
use crate::problem::Problem;

/// The steps of a phase that are left, with their statements.
#[utoipa::path(
    get,
    path = "/api/v1/phases/{phase}/plan",
    operation_id = "plan_phase",
    tag = "phases",
    params(("phase" = Phase, Path, description = "The phase; backfill and rollout have no steps")),
    responses((status = 200, description = "What `reelshift apply` would execute", body = PhaseSteps))
)]
pub(super) async fn apply(
    State(app): State<Shared>,
    Path(phase): Path<Phase>,
) -> Result<Json<PhaseSteps>, Problem> {
    Ok(Json(operate::plan_phase(&*app.store, phase).await?))
}

/// How far back.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Target {
    #[default]
    Legacy,
    Expand,
    Backfill,
    Rollout,
    Index,
}

impl From<Target> for RollbackTarget {
    fn from(target: Target) -> Self {
        match target {
            Target::Legacy => Self::Legacy,
            Target::Expand => Self::Expand,
            Target::Backfill => Self::Backfill,
            Target::Rollout => Self::Rollout,
            Target::Index => Self::Index,
        }
    }
}

/// A rollback to be looked at.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Back {
    /// The phase whose end to go back to; `legacy` is before the first.
    to: Target,
    /// Whether reelshift's own tables go too.
    purge: bool,
}

/// What a rollback would undo, and why it would not begin now.
///
/// Every statement is tried on empty copies of the tables, which needs the rights of the
/// account that migrates.
#[utoipa::path(
    post,
    path = "/api/v1/rollback/plan",
    operation_id = "plan_rollback",
    tag = "phases",
    request_body = Back,
    responses((status = 200, description = "What `reelshift rollback` would undo", body = RollbackPreview))
)]
pub(super) async fn rollback(
    State(app): State<Shared>,
    Json(back): Json<Back>,
) -> Result<Json<RollbackPreview>, Problem> {
    let shared = app.clone();
    let work = async move {
        let request = RollBack {
            to: back.to.into(),
            keep: Keep::Undecided,
            purge: back.purge,
            despite: &[],
            options: Options::default(),
        };
        operate::preview_rollback(&*shared.store, &request).await.map_err(|error| match error {
            ArchiveError::Store(error) => Problem::from(error),
            error => Problem::unavailable(error.to_string()),
        })
    };
    run_detached_or_503(&app, work).await.map(Json)
}
