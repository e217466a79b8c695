//! The validation report. Comparing every row takes long: it is done beside the requests,
//! one at a time, when an operator asks for it; the last report stays, with its age.

use std::sync::{Mutex, PoisonError};

use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use reelshift_overview::figures::{plural, seconds};
use reelshift_store::report::Check;
use reelshift_store::validation::{self, FirstDifferencesOnly};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Principal;
use crate::app::Shared;
use crate::extract::Json;
use crate::problem::Problem;

/// Windows of rows compared at once: the requests come first.
const WINDOWS_AT_ONCE: usize = 1;

/// A report.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Report {
    /// Whether no row differs from what it must hold.
    valid: bool,
    checks: Vec<Check>,
    /// Who asked for it.
    by: String,
    /// By the database's clock.
    started_at: DateTime<Utc>,
    finished_at: DateTime<Utc>,
}

/// The validations of this process.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(crate) struct Validation {
    /// Since when one is under way.
    running_since: Option<DateTime<Utc>>,
    /// Why the last one came to no report.
    trouble: Option<String>,
    /// How old the report is.
    age_seconds: Option<f64>,
    /// The last report of this process; `null` before the first.
    report: Option<Report>,
}

impl Validation {
    /// For people, at `at`: what was verified, what differs and with which keys.
    pub(crate) fn said(&self, at: DateTime<Utc>) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(since) = self.running_since {
            let lasting = seconds((at - since).as_seconds_f64());
            lines.push(format!("Every row is being compared, for {lasting} so far."));
        }
        if let Some(trouble) = &self.trouble {
            lines.push(format!("The last comparison came to nothing: {trouble}."));
        }
        let Some(report) = &self.report else {
            lines.push("This server has not compared every row yet.".to_owned());
            return lines;
        };
        let checks = || report.checks.iter();
        let rows = checks().map(|check| check.rows).max().unwrap_or(0);
        let different = checks().map(|check| check.differences).max().unwrap_or(0);
        let ago = seconds(self.age_seconds.unwrap_or_default());
        lines.push(format!(
            "Compared {ago} ago, for {}: {} verified, {} in {}.",
            report.by,
            plural(rows.saturating_sub(different), "row", "rows"),
            if different == 0 {
                "none different".to_owned()
            } else {
                plural(different, "differs", "differ")
            },
            plural(report.checks.len() as u64, "check", "checks"),
        ));
        for check in checks().filter(|check| !check.is_valid()) {
            let ids = check.first.iter().map(|row| row.video_id.as_str());
            let keys: Vec<_> = ids.filter(|id| !id.is_empty()).collect();
            let keys =
                if keys.is_empty() { String::new() } else { format!(": {}", keys.join(", ")) };
            lines.push(format!(
                "{} ({}){keys}",
                check.name,
                plural(check.differences, "row", "rows")
            ));
        }
        lines
    }
}

/// What is known of validations.
#[derive(Debug, Default)]
pub(crate) struct Validations(Mutex<Validation>);

impl Validations {
    fn update<T>(&self, change: impl FnOnce(&mut Validation) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// As they stand at `now`.
    pub(crate) fn at(&self, now: DateTime<Utc>) -> Validation {
        let mut known = self.update(|known| known.clone());
        known.age_seconds = known
            .report
            .as_ref()
            .map(|report| (now - report.finished_at).as_seconds_f64().max(0.0));
        known
    }
}

fn now(app: &Shared) -> Result<DateTime<Utc>, Problem> {
    app.clock.now().ok_or_else(|| Problem::unavailable("the database has not answered yet"))
}

/// The last validation of this process, and whether one is under way.
#[utoipa::path(
    get,
    path = "/api/v1/validation",
    operation_id = "get_validation",
    tag = "validation",
    responses((status = 200, description = "The last report", body = Validation))
)]
pub(super) async fn last(State(app): State<Shared>) -> Result<Json<Validation>, Problem> {
    Ok(Json(app.validations.at(now(&app)?)))
}

/// Compares every row with what it must hold, beside the requests.
#[utoipa::path(
    post,
    path = "/api/v1/validation",
    operation_id = "start_validation",
    tag = "validation",
    responses((status = 202, description = "It is under way", body = Validation))
)]
pub(super) async fn validate(
    State(app): State<Shared>,
    principal: Principal,
) -> Result<(StatusCode, Json<Validation>), Problem> {
    begin_validation(&app, &principal)?;
    Ok((StatusCode::ACCEPTED, Json(app.validations.at(now(&app)?))))
}

/// Begins to compare every row, beside the requests; `false` where one is under way.
pub(crate) fn begin_validation(app: &Shared, who: &Principal) -> Result<bool, Problem> {
    let started_at = now(app)?;
    let begun = app.validations.update(|known| {
        let free = known.running_since.is_none();
        known.running_since.get_or_insert(started_at);
        free
    });
    if begun {
        let (shared, by) = (app.clone(), who.by());
        app.tasks.spawn(async move {
            let mut every = FirstDifferencesOnly;
            let checks = tokio::select! {
                checks = validation::validate(&*shared.store, WINDOWS_AT_ONCE, &mut every) => Some(checks),
                () = shared.stop.cancelled() => None,
            };
            let finished_at = shared.clock.now().unwrap_or(started_at);
            shared.validations.update(|known| {
                known.running_since = None;
                match checks {
                    Some(Ok(checks)) => {
                        let valid = checks.iter().all(Check::is_valid);
                        known.trouble = None;
                        known.report = Some(Report { valid, checks, by, started_at, finished_at });
                    }
                    Some(Err(error)) => known.trouble = Some(error.to_string()),
                    None => known.trouble = Some("the server was stopped".to_owned()),
                }
            });
        });
    }
    Ok(begun)
}
