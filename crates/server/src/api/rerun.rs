//! Failed work again.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use reelshift_plan::JobKind;
use reelshift_store::StoreError;
use reelshift_store::ids::{self, IdKind, IdPart};
use reelshift_store::ledger::{Rerun, RerunSelection, Since};
use serde::Deserialize;
use utoipa::ToSchema;

use super::command::run_detached;
use crate::access::Principal;
use crate::app::Shared;
use crate::cursor::storable;
use crate::problem::Problem;

/// Which failed work. Every condition that is given must hold.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Selection {
    /// Of this run.
    run: Option<IdPart>,
    /// Of this batch.
    batch: Option<IdPart>,
    /// What failed with this error type.
    #[serde(rename = "type")]
    error_type: Option<String>,
    /// Of this kind.
    stage: Option<JobKind>,
    /// What failed since then.
    since: Option<DateTime<Utc>>,
    /// Quarantined items only.
    #[serde(default)]
    quarantined: bool,
    /// Count only, change nothing.
    #[serde(default)]
    dry_run: bool,
    /// Why, for the audit.
    reason: Option<String>,
}

/// Enqueues **all** matching failed batches and quarantined items again.
#[utoipa::path(
    post,
    path = "/api/v1/rerun",
    tag = "runs",
    request_body = Selection,
    responses(
        (status = 200, description = "What was enqueued", body = Rerun),
        (status = 202, description = "There is much: it goes on, and the audit tells when it is done"),
    )
)]
pub(super) async fn rerun(
    State(app): State<Shared>,
    principal: Principal,
    Json(selection): Json<Selection>,
) -> Result<Response, Problem> {
    let since = selection.since.map(|time| {
        let wrong = || Problem::bad_request("since: give a time from 1971 to 2037");
        storable(time).map(Since::At).ok_or_else(wrong)
    });
    let reason = selection.reason;
    let selection = RerunSelection {
        run: ids::find_given(&*app.store, IdKind::Run, selection.run.as_ref()).await?,
        batch: ids::find_given(&*app.store, IdKind::Batch, selection.batch.as_ref()).await?,
        error_type: selection.error_type,
        stage: selection.stage,
        since: since.transpose()?,
        quarantined_only: selection.quarantined,
        dry_run: selection.dry_run,
    };
    let (shared, by) = (app.clone(), principal.command(reason));
    let work = async move { reelshift_operate::rerun(&*shared.store, &by, &selection).await };
    Ok(match run_detached::<Rerun, StoreError>(&app, work).await? {
        Some(rerun) => Json(rerun).into_response(),
        None => StatusCode::ACCEPTED.into_response(),
    })
}
