//! Failed work again, or accepted as it is.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use reelshift_operate::Reason;
use reelshift_plan::JobKind;
use reelshift_store::StoreError;
use reelshift_store::ids::{self, IdKind, IdPart};
use reelshift_store::ledger::{Rerun, RerunSelection, Since};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::command::run_detached;
use super::errors::parsed;
use crate::access::Principal;
use crate::app::Shared;
use crate::cursor::storable;
use crate::extract::Json;
use crate::problem::Problem;

/// Which failed work. Every condition that is given must hold.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "query": "cause:file_missing since:1h", "reason": "the mount is back", "dry_run": true,
}))]
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
    /// In place of all other conditions: `cause:file_missing since:1h`, as `reelshift find`
    /// takes it.
    #[schema(example = "cause:file_missing since:1h")]
    query: Option<String>,
    /// Why, for the audit.
    #[schema(value_type = Option<String>, max_length = 2_000)]
    reason: Option<Reason>,
}

impl Selection {
    async fn resolve(self, app: &Shared) -> Result<RerunSelection, Problem> {
        let Self { run, batch, error_type, stage, since, quarantined, dry_run, query, reason: _ } =
            self;
        if let Some(query) = query {
            let others = run.is_some() || batch.is_some() || stage.is_some();
            if others || error_type.is_some() || since.is_some() || quarantined {
                let why = "give query without other conditions: its terms say all of them";
                return Err(Problem::bad_request(why));
            }
            return Ok(parsed(&query)?.rerun(&*app.store, dry_run).await?);
        }
        let since = since.map(|time| {
            let wrong = || Problem::bad_request("since: give a time from 1971 to 2037");
            storable(time).map(Since::At).ok_or_else(wrong)
        });
        Ok(RerunSelection {
            run: ids::find_given(&*app.store, IdKind::Run, run.as_ref()).await?,
            batch: ids::find_given(&*app.store, IdKind::Batch, batch.as_ref()).await?,
            error_type,
            error: None,
            stage,
            since: since.transpose()?,
            quarantined_only: quarantined,
            dry_run,
        })
    }
}

/// Which quarantined items, and why they may stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AcceptRequest {
    /// As `reelshift find` takes it; empty for all of the quarantine.
    #[schema(example = "cause:file_missing path:trailers/")]
    query: String,
    /// For the audit and the report.
    #[schema(value_type = String, max_length = 2_000, example = "trailers were deleted in 2024")]
    reason: Reason,
    /// Count only, change nothing.
    #[serde(default)]
    dry_run: bool,
}

/// How many quarantined items were accepted.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Accepted {
    accepted: u64,
}

/// Accepts **all** matching quarantined items: they stay as they are and no longer count as open.
#[utoipa::path(
    post,
    path = "/api/v1/quarantine/accept",
    operation_id = "accept_quarantine",
    tag = "quarantine",
    request_body = AcceptRequest,
    responses(
        (status = 200, description = "How many were accepted", body = Accepted),
        (status = 409, description = "A rollback is not at its end", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn accept(
    State(app): State<Shared>,
    principal: Principal,
    Json(request): Json<AcceptRequest>,
) -> Result<Json<Accepted>, Problem> {
    let AcceptRequest { query, reason, dry_run } = request;
    let selection = parsed(&query)?.rerun(&*app.store, dry_run).await?;
    let by = principal.command(Some(reason));
    let accepted = reelshift_operate::accept(&*app.store, &by, &selection).await?;
    Ok(Json(Accepted { accepted }))
}

/// Enqueues **all** matching failed batches and quarantined items again.
#[utoipa::path(
    post,
    path = "/api/v1/rerun",
    operation_id = "rerun_failed",
    tag = "runs",
    request_body = Selection,
    responses(
        (status = 200, description = "What was enqueued", body = Rerun),
        (status = 202, description = "There is much: it goes on, and the audit tells when it is done"),
        (status = 409, description = "A rollback is not at its end", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn rerun(
    State(app): State<Shared>,
    principal: Principal,
    Json(selection): Json<Selection>,
) -> Result<Response, Problem> {
    let reason = selection.reason.clone();
    let selection = selection.resolve(&app).await?;
    let (shared, by) = (app.clone(), principal.command(reason));
    let work = async move { reelshift_operate::rerun(&*shared.store, &by, &selection).await };
    Ok(match run_detached::<Rerun, StoreError>(&app, work).await? {
        Some(rerun) => Json(rerun).into_response(),
        None => StatusCode::ACCEPTED.into_response(),
    })
}
