//! Settings and the pause of the whole fleet.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use reelshift_operate::{self as operate, Reason};
use reelshift_plan::Tuning;
use reelshift_plan::tuning::{Assignment, Knob};
use reelshift_store::controls::{Control, ControlChange, PAUSE};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::command::{Why, run_detached_or_503};
use crate::access::Principal;
use crate::app::Shared;
use crate::extract::Json;
use crate::problem::Problem;

/// A setting of the whole fleet.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Setting {
    name: &'static str,
    meaning: &'static str,
    value: String,
    default: String,
    /// Who set it; `null` while it has its default.
    stored: Option<Control>,
}

/// All that operators told the fleet.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Settings {
    /// The pause of the whole fleet, while it is paused.
    pause: Option<Control>,
    settings: Vec<Setting>,
}

/// Settings to be changed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "settings": { "byte_rate": "100MiB", "impact": null }, "for_seconds": 3_600, "reason": "the night's backup",
}))]
pub(super) struct Tune {
    /// By name, as `reelshift tune` takes them; `null` takes one back to its default.
    settings: BTreeMap<String, Option<String>>,
    /// What settings must be now (`null`: the default), or nothing is changed (409): what
    /// was shown to whoever decided.
    #[serde(default)]
    expected: BTreeMap<String, Option<String>>,
    /// Seconds, by the database's clock, after which the settings return to their defaults.
    /// Without it they stay until they are changed.
    #[schema(minimum = 1, maximum = 31_622_400)]
    for_seconds: Option<u32>,
    /// Why, for whoever looks at it later.
    #[schema(value_type = Option<String>, max_length = 2_000)]
    reason: Option<Reason>,
}

/// A pause of the whole fleet.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Pause {
    /// Seconds, by the database's clock, after which the fleet resumes by itself. Without it
    /// the pause lasts until it is resumed.
    #[schema(minimum = 1, maximum = 31_622_400)]
    for_seconds: Option<u32>,
    /// The reason, which the audit keeps.
    #[schema(value_type = Option<String>, max_length = 2_000)]
    reason: Option<Reason>,
}

/// What was changed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ControlChanges {
    changes: Vec<ControlChange>,
}

/// The settings of the fleet, and whether it is paused.
#[utoipa::path(
    get,
    path = "/api/v1/controls",
    operation_id = "list_controls",
    tag = "controls",
    responses((status = 200, description = "The settings", body = Settings))
)]
pub(super) async fn list(State(app): State<Shared>) -> Result<Json<Settings>, Problem> {
    let stored = app.store.controls().await?;
    let tuning = Tuning::of_stored(
        stored.iter().map(|control| (control.name.as_str(), control.value.as_str())),
    );
    let find = |name: &str| stored.iter().find(|control| control.name == name).cloned();
    let setting = |knob: Knob| Setting {
        name: knob.into_str(),
        meaning: knob.meaning(),
        value: tuning.show(knob),
        default: Tuning::default().show(knob),
        stored: find(knob.into_str()),
    };
    let settings = Knob::ALL.iter().copied().map(setting).collect();
    Ok(Json(Settings { pause: find(PAUSE), settings }))
}

/// Changes settings, for every worker within two seconds.
#[utoipa::path(
    patch,
    path = "/api/v1/controls",
    operation_id = "tune_controls",
    tag = "controls",
    request_body = Tune,
    responses(
        (status = 200, description = "What was changed", body = ControlChanges),
        (status = 409, description = "Something is not what was expected", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn tune(
    State(app): State<Shared>,
    principal: Principal,
    Json(tune): Json<Tune>,
) -> Result<Json<ControlChanges>, Problem> {
    let mut settings = Vec::with_capacity(tune.settings.len());
    for (name, value) in &tune.settings {
        let text = format!("{name}={}", value.as_deref().unwrap_or("default"));
        let assignment: Assignment =
            text.parse().map_err(|error| Problem::bad_request(format!("{error}")))?;
        settings.push(operate::Tune { assignment, expected: tune.expected.get(name).cloned() });
    }
    let (shared, by) = (app.clone(), principal.command(tune.reason));
    let lasts = lasts(tune.for_seconds);
    let work = async move { operate::tune(&*shared.store, &by, &settings, lasts).await };
    run_detached_or_503(&app, work).await.map(changes)
}

/// Pauses the whole fleet: within two seconds workers give their batches back.
#[utoipa::path(
    post,
    path = "/api/v1/controls/pause",
    operation_id = "pause_fleet",
    tag = "controls",
    request_body = Pause,
    responses((status = 200, description = "What was changed", body = ControlChanges))
)]
pub(super) async fn pause(
    State(app): State<Shared>,
    principal: Principal,
    Json(pause): Json<Pause>,
) -> Result<Json<ControlChanges>, Problem> {
    let (shared, by) = (app.clone(), principal.command(pause.reason));
    let lasts = lasts(pause.for_seconds);
    let work = async move { operate::pause_fleet(&*shared.store, &by, lasts).await };
    run_detached_or_503(&app, work).await.map(changes)
}

/// Lets the whole fleet go on. Runs that are paused by themselves stay so.
#[utoipa::path(
    post,
    path = "/api/v1/controls/resume",
    operation_id = "resume_fleet",
    tag = "controls",
    request_body = Why,
    responses((status = 200, description = "What was changed", body = ControlChanges))
)]
pub(super) async fn resume(
    State(app): State<Shared>,
    principal: Principal,
    Json(why): Json<Why>,
) -> Result<Json<ControlChanges>, Problem> {
    let (shared, by) = (app.clone(), principal.command(why.reason));
    let work = async move { operate::resume_fleet(&*shared.store, &by).await };
    run_detached_or_503(&app, work).await.map(changes)
}

fn lasts(seconds: Option<u32>) -> Option<Duration> {
    seconds.map(|seconds| Duration::from_secs(seconds.into()))
}

fn changes(changes: Vec<ControlChange>) -> Json<ControlChanges> {
    Json(ControlChanges { changes })
}
