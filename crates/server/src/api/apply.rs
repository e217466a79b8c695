//! Applying a phase takes long. The server does it beside the requests, one phase at a time, and
//! goes on when the client goes away. A phase that stopped goes on where it was when it is applied
//! again.

use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use reelshift_operate::{self as operate, Applied, AppliedStep, Apply, By, Reason};
use reelshift_plan::Phase;
use reelshift_store::gate::GateReport;
use reelshift_store::patience::{LOCK_PATIENCE, Options, Waiting};
use reelshift_store::schema::{Step, StepGroup};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::Principal;
use crate::app::{App, Shared};
use crate::extract::{Json, Path};
use crate::problem::Problem;

/// What an operator decides about applying a phase. What is left out is as `reelshift apply`
/// has it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ApplyRequest {
    /// The reason, which the audit keeps.
    #[schema(value_type = Option<String>, max_length = 2_000)]
    reason: Option<Reason>,
    /// How long to ask for one lock; usually 600.
    #[schema(minimum = 1, maximum = 86_400, example = 600)]
    patience_seconds: Option<u32>,
    /// How many transactions of the application may fail for a lock, at most.
    accept_victims: u32,
    /// Whether statements of the application may fail on the new columns.
    accept_statements: bool,
    /// Tables that may be copied, under a lock against writers, where the server knows no
    /// other way.
    allow_copy: Vec<String>,
}

/// What a step waits for a lock on its table.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct WaitingStep {
    name: String,
    seconds: f64,
    /// Transactions that hold the lock and were seen.
    holders: usize,
}

/// A phase being applied, or applied last, by this server.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Application {
    phase: Phase,
    /// Who sent the request: `name@address`.
    by: String,
    /// By the database's clock.
    started_at: DateTime<Utc>,
    /// `null` while it is under way.
    finished_at: Option<DateTime<Utc>>,
    /// Whether every step is done.
    complete: bool,
    /// Why it ended before that.
    trouble: Option<String>,
    steps: Vec<AppliedStep>,
    waiting: Option<WaitingStep>,
    /// The tables that were kept from the application, and for how long.
    gates: Vec<GateReport>,
    /// What may hurt the application, as it was announced.
    announced: Vec<String>,
}

/// The last application of this process.
#[derive(Debug, Default)]
pub(crate) struct Applications(Mutex<Option<Application>>);

impl Applications {
    /// Begins one, unless another is under way.
    fn begin(&self, new: Application) -> Result<(), Problem> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Application { phase, by, finished_at: None, .. }) = &*last {
            return Err(Problem::conflict(format!("{phase} is being applied, by {by}")));
        }
        *last = Some(new);
        Ok(())
    }

    fn update(&self, change: impl FnOnce(&mut Application)) {
        if let Some(last) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            change(last);
        }
    }

    fn last(&self) -> Option<Application> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How applying this phase went, or goes, at this server.
#[utoipa::path(
    get,
    path = "/api/v1/phases/{phase}/apply",
    operation_id = "get_application",
    tag = "phases",
    params(("phase" = Phase, Path, description = "The phase")),
    responses(
        (status = 200, description = "Its steps so far", body = Application),
        (status = 404, description = "This server has not applied it last", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn last(
    State(app): State<Shared>,
    Path(phase): Path<Phase>,
) -> Result<Json<Application>, Problem> {
    let last = app.applications.last().filter(|last| last.phase == phase);
    let missing = || Problem::not_found(format!("{phase} was not what this server applied last"));
    last.map(Json).ok_or_else(missing)
}

/// Applies a phase, beside the requests.
///
/// The server needs the rights of the account that migrates. If it stops in between, send the
/// request again: the steps that are done are not repeated. The server refuses to hold a table for
/// longer than 200 ms; `reelshift apply` asks you there. Only the server that got the request
/// knows how it goes.
#[utoipa::path(
    post,
    path = "/api/v1/phases/{phase}/apply",
    operation_id = "apply_phase",
    tag = "phases",
    params(("phase" = Phase, Path, description = "expand, index or automate")),
    request_body = ApplyRequest,
    responses(
        (status = 202, description = "It is under way", body = Application),
        (status = 409, description = "Another phase is being applied", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn apply(
    State(app): State<Shared>,
    principal: Principal,
    Path(phase): Path<Phase>,
    Json(request): Json<ApplyRequest>,
) -> Result<(StatusCode, Json<Application>), Problem> {
    let group = match phase {
        Phase::Expand => StepGroup::Expand,
        Phase::Index => StepGroup::Index,
        Phase::Automate => StepGroup::Automate,
        Phase::Backfill | Phase::Rollout => {
            let why = format!("{phase} has no steps: enqueue a backfill, or set a flag");
            return Err(Problem::bad_request(why));
        }
    };
    let patience = match request.patience_seconds {
        None => LOCK_PATIENCE,
        Some(seconds @ 1..=86_400) => Duration::from_secs(seconds.into()),
        Some(_) => return Err(Problem::bad_request("patience_seconds: give 1 to 86400")),
    };
    let begun = Application {
        phase,
        by: principal.by(),
        started_at: app.store.now().await?,
        finished_at: None,
        complete: false,
        trouble: None,
        steps: Vec::new(),
        waiting: None,
        gates: Vec::new(),
        announced: Vec::new(),
    };
    app.applications.begin(begun.clone())?;
    let (by, started_at) = (principal.command(request.reason.clone()), begun.started_at);
    let shared = app.clone();
    app.tasks.spawn(async move {
        let work = execute(&shared, &by, group, patience, &request);
        let done = AssertUnwindSafe(work).catch_unwind().await;
        let finished_at = shared.clock.now().unwrap_or(started_at);
        shared.applications.update(|last| {
            last.finished_at = Some(finished_at);
            last.waiting = None;
            match done {
                Ok(Ok(applied)) if applied.complete => last.complete = true,
                Ok(Ok(_)) => last.trouble = Some("the server was stopped".to_owned()),
                Ok(Err(error)) => last.trouble = Some(error.to_string()),
                Err(_) => last.trouble = Some("the server failed: its log says why".to_owned()),
            }
        });
    });
    Ok((StatusCode::ACCEPTED, Json(begun)))
}

async fn execute(
    app: &App,
    by: &By,
    phase: StepGroup,
    patience: Duration,
    request: &ApplyRequest,
) -> reelshift_store::Result<Applied> {
    let known = &app.applications;
    let waiting = |waiting: Waiting<'_>| {
        let waiting = WaitingStep {
            name: waiting.step.name.clone(),
            seconds: waiting.waited.as_secs_f64(),
            holders: waiting.holders.len(),
        };
        known.update(|last| last.waiting = Some(waiting));
    };
    let gate = |report: &GateReport| known.update(|last| last.gates.push(report.clone()));
    let announce = |sentence: &str| known.update(|last| last.announced.push(sentence.to_owned()));
    let report = |step: &Step, outcome| {
        let step = AppliedStep::new(step, outcome);
        known.update(|last| {
            last.waiting = None;
            last.steps.push(step);
        });
    };
    let options = Options {
        patience,
        accept_victims: request.accept_victims,
        accept_statements: request.accept_statements,
        allow_copy: &request.allow_copy,
        waiting: &waiting,
        gate: &gate,
        announce: &announce,
        ..Options::default()
    };
    let initial_flags = app.initial_flags;
    let apply = Apply { phase, abandon_rollback: false, initial_flags, options };
    operate::apply(&*app.store, by, apply, &app.stop, report).await
}
