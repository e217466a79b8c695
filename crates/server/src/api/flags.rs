//! The feature flags: read and changed.

use axum::extract::State;
use reelshift_operate::{FlagRequest, Reason};
use reelshift_plan::{Flag, Rollout};
use reelshift_store::StoreError;
use reelshift_store::flags::{FlagChange, StoredFlag};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::command::{Why, run_detached_or_503};
use crate::access::Principal;
use crate::app::Shared;
use crate::extract::{Json, Path};
use crate::problem::Problem;

/// The flags.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Flags {
    flags: Vec<StoredFlag>,
}

/// What a flag is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    enabled: bool,
    /// On for this share of the videos; all of them where it is not given.
    #[schema(maximum = 100)]
    rollout_percent: Option<u8>,
    /// What the flag must be now, or nothing is changed (409): what was shown to whoever
    /// decided.
    expected: Option<Rollout>,
    /// Why, for whoever looks at it later.
    #[schema(value_type = Option<String>, max_length = 2_000)]
    reason: Option<Reason>,
}

/// What was changed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FlagChanges {
    changes: Vec<FlagChange>,
}

/// The flags, with who set them.
#[utoipa::path(
    get,
    path = "/api/v1/flags",
    operation_id = "list_flags",
    tag = "flags",
    responses((status = 200, description = "The flags", body = Flags))
)]
pub(super) async fn list(State(app): State<Shared>) -> Result<Json<Flags>, Problem> {
    let flags = app.store.flags().await?.unwrap_or_default();
    Ok(Json(Flags { flags }))
}

/// Switches one flag, for every process within two seconds.
#[utoipa::path(
    put,
    path = "/api/v1/flags/{flag}",
    operation_id = "set_flag",
    tag = "flags",
    params(("flag" = Flag, Path, description = "The flag")),
    request_body = Wanted,
    responses(
        (status = 200, description = "What was changed", body = FlagChanges),
        (status = 409, description = "It is not what was expected", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn set(
    State(app): State<Shared>,
    principal: Principal,
    Path(flag): Path<String>,
    Json(wanted): Json<Wanted>,
) -> Result<Json<FlagChanges>, Problem> {
    let flag: Flag = flag.parse().map_err(|error| Problem::not_found(format!("{error}")))?;
    let request = match wanted {
        Wanted { enabled: false, .. } => FlagRequest::Disable(flag),
        Wanted { rollout_percent: Some(percent), .. } => FlagRequest::Rollout(flag, percent),
        Wanted { rollout_percent: None, .. } => FlagRequest::Enable(flag),
    };
    change(&app, &principal, request, wanted.expected, wanted.reason).await
}

/// Switches everything off that changes what the platform's users see.
#[utoipa::path(
    post,
    path = "/api/v1/flags/emergency-disable",
    operation_id = "disable_flags",
    tag = "flags",
    request_body = Why,
    responses((status = 200, description = "What was changed", body = FlagChanges))
)]
pub(super) async fn emergency_disable(
    State(app): State<Shared>,
    principal: Principal,
    Json(why): Json<Why>,
) -> Result<Json<FlagChanges>, Problem> {
    change(&app, &principal, FlagRequest::EmergencyDisable, None, why.reason).await
}

async fn change(
    app: &Shared,
    principal: &Principal,
    request: FlagRequest,
    expected: Option<Rollout>,
    reason: Option<Reason>,
) -> Result<Json<FlagChanges>, Problem> {
    let (shared, by) = (app.clone(), principal.command(reason));
    let work = async move {
        let initial = shared.initial_flags;
        reelshift_operate::change_flags(&*shared.store, &by, request, expected, initial).await
    };
    let changes = run_detached_or_503::<_, StoreError>(app, work).await?;
    Ok(Json(FlagChanges { changes }))
}
