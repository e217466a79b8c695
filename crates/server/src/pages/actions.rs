//! What the pages' forms do: the same library functions as the command line and the API,
//! recorded as done by whoever is logged in. Each ends with a redirect to the page that the
//! form was on, which says what came of it.

use std::str::FromStr;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use reelshift_operate::{self as operate, By, FlagRequest, Query};
use reelshift_overview::figures::{plural, tail};
use reelshift_plan::tuning::Assignment;
use reelshift_plan::{Flag, Rollout};
use reelshift_store::StoreError;
use reelshift_store::ledger::RerunSelection;
use serde::Deserialize;
use uuid::Uuid;

use super::flash::Flash;
use super::view::rollout;
use crate::access::{Principal, local_path};
use crate::app::Shared;
use crate::extract::Form;

/// The fields of all forms; each uses its own.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Fields {
    /// The page that the form is on.
    back: String,
    reason: String,
    /// For how long; empty: until it is changed.
    minutes: String,
    kind: String,
    run: String,
    batch: String,
    worker: String,
    #[serde(rename = "type")]
    error_type: String,
    quarantined: bool,
    /// What was looked for.
    query: String,
    flag: String,
    percent: Option<u8>,
    /// What the operator saw.
    expected: String,
    name: String,
    value: String,
    /// The settings that the operator saw, as JSON.
    seen: String,
}

impl Fields {
    /// The command of `who` that this form gives.
    fn by(&self, who: &Principal) -> Result<By, StoreError> {
        let reason = Some(self.reason.trim()).filter(|reason| !reason.is_empty());
        let reason = reason.map(str::parse).transpose().map_err(StoreError::Invalid)?;
        Ok(who.command(reason))
    }

    fn lasts(&self) -> Result<Option<Duration>, StoreError> {
        let minutes: Option<u32> = parsed(&self.minutes, "number of minutes")?;
        Ok(minutes.map(|minutes| Duration::from_mins(minutes.into())))
    }

    fn run(&self) -> Result<Option<Uuid>, StoreError> {
        parsed(&self.run, "run")
    }

    fn query(&self) -> Result<Query, StoreError> {
        self.query.parse().map_err(|wrong| StoreError::Invalid(format!("{wrong}")))
    }
}

/// The value of a field that may be left out.
fn parsed<T: FromStr>(text: &str, what: &str) -> Result<Option<T>, StoreError> {
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = |_| StoreError::Invalid(format!("`{text}` is no {what}: nothing was changed"));
    text.parse().map(Some).map_err(invalid)
}

/// ` for 30 minutes`, or nothing.
fn for_minutes(lasts: Option<Duration>) -> String {
    lasts.map_or_else(String::new, |lasts| {
        format!(" for {}", plural(lasts.as_secs() / 60, "minute", "minutes"))
    })
}

fn missing(what: &str) -> StoreError {
    StoreError::Invalid(format!("the form names no {what}: nothing was changed"))
}

fn said(fields: &Fields, done: Result<String, StoreError>) -> Response {
    answered(&fields.back, done.map_err(|error| error.to_string()))
}

/// Back to the page that a form was on, which says what came of it.
pub(super) fn answered(back: &str, done: Result<String, String>) -> Response {
    let flash = match done {
        Ok(text) => Flash::done(text),
        Err(error) => {
            tracing::info!(error, "what a form asked for was not done");
            Flash::failed(format!("Not done: {error}"))
        }
    };
    ([(header::SET_COOKIE, flash.cookie())], Redirect::to(local_path(Some(back)))).into_response()
}

pub(crate) async fn enqueue(
    State(app): State<Shared>,
    who: Principal,
    Form(fields): Form<Fields>,
) -> Response {
    let done = async {
        let kind = parsed(&fields.kind, "kind of run")?.ok_or_else(|| missing("kind of run"))?;
        let begun = crate::api::begin_usual_run(&app, &who, kind).await;
        begun.map_err(|problem| StoreError::Refused(problem.detail))
    };
    said(&fields, done.await)
}

pub(crate) async fn pause(
    State(app): State<Shared>,
    who: Principal,
    Form(fields): Form<Fields>,
) -> Response {
    let done = async {
        let by = fields.by(&who)?;
        if let Some(run) = fields.run()? {
            operate::pause_run(&*app.store, &by, run).await?;
            return Ok(format!("Run {} is paused: its batches go back within 2 s.", tail(run)));
        }
        let lasts = fields.lasts()?;
        operate::pause_fleet(&*app.store, &by, lasts).await?;
        let lasts = for_minutes(lasts);
        Ok(format!("The fleet is paused{lasts}: within 2 s every worker gives its batches back."))
    };
    said(&fields, done.await)
}

pub(crate) async fn resume(
    State(app): State<Shared>,
    who: Principal,
    Form(fields): Form<Fields>,
) -> Response {
    let done = async {
        let by = fields.by(&who)?;
        if let Some(run) = fields.run()? {
            let run = operate::resume_run(&*app.store, &by, run).await?;
            return Ok(format!("Run {} is {} again.", tail(run.id), run.state));
        }
        operate::resume_fleet(&*app.store, &by).await?;
        Ok("The fleet is resumed: workers claim again within 2 s.".to_owned())
    };
    said(&fields, done.await)
}

pub(crate) async fn cancel(
    State(app): State<Shared>,
    who: Principal,
    Form(fields): Form<Fields>,
) -> Response {
    let done = async {
        let run = fields.run()?.ok_or_else(|| missing("run"))?;
        let cancelled = crate::api::cancel_run(&app, &fields.by(&who)?, run).await?;
        let leased = plural(cancelled.leased, "leased batch was", "leased batches were");
        Ok(format!("Run {} is cancelled; {leased} taken back, the pending ones follow.", tail(run)))
    };
    said(&fields, done.await)
}

pub(crate) async fn rerun(
    State(app): State<Shared>,
    who: Principal,
    Form(fields): Form<Fields>,
) -> Response {
    let done = async {
        let found = fields.query()?.rerun(&*app.store, false).await?;
        let selection = RerunSelection {
            run: fields.run()?,
            batch: parsed(&fields.batch, "batch")?,
            error_type: Some(fields.error_type.clone()).filter(|of_type| !of_type.is_empty()),
            quarantined_only: fields.quarantined || found.quarantined_only,
            ..found
        };
        let rerun = operate::rerun(&*app.store, &fields.by(&who)?, &selection).await?;
        Ok(match (rerun.batches, rerun.items) {
            (0, 0) => "Nothing was enqueued again: nothing that failed matches.".to_owned(),
            (batches, items) => format!(
                "Enqueued again: {} and {} out of quarantine. Their progress is the run's.",
                plural(batches, "batch", "batches"),
                plural(items, "item", "items")
            ),
        })
    };
    said(&fields, done.await)
}

pub(crate) async fn accept(
    State(app): State<Shared>,
    who: Principal,
    Form(fields): Form<Fields>,
) -> Response {
    let done = async {
        let selection = fields.query()?.rerun(&*app.store, false).await?;
        let accepted = operate::accept(&*app.store, &fields.by(&who)?, &selection).await?;
        if accepted == 0 {
            return Err(StoreError::Refused("no quarantined item matches".to_owned()));
        }
        let items = plural(accepted, "item stays", "items stay");
        Ok(format!("Accepted: {items} in quarantine as they are, and no longer count as open."))
    };
    said(&fields, done.await)
}

pub(crate) async fn flag(
    State(app): State<Shared>,
    who: Principal,
    Form(fields): Form<Fields>,
) -> Response {
    let done = async {
        let flag: Flag = parsed(&fields.flag, "flag")?.ok_or_else(|| missing("flag"))?;
        let percent = fields.percent.ok_or_else(|| missing("percentage"))?;
        let request = match percent {
            0 => FlagRequest::Disable(flag),
            100 => FlagRequest::Enable(flag),
            percent => FlagRequest::Rollout(flag, percent),
        };
        change_flags(&app, &fields.by(&who)?, request, expected(&fields.expected)).await
    };
    said(&fields, done.await)
}

/// `on 25`, `off 100`: what the form showed.
fn expected(text: &str) -> Option<Rollout> {
    let (word, percent) = text.split_once(' ')?;
    Some(Rollout { enabled: word == "on", percent: percent.parse().ok()? })
}

async fn change_flags(
    app: &Shared,
    by: &By,
    request: FlagRequest,
    expected: Option<Rollout>,
) -> Result<String, StoreError> {
    let changes =
        operate::change_flags(&*app.store, by, request, expected, app.initial_flags).await?;
    if changes.is_empty() {
        return Ok("This database has no feature flags: none is on.".to_owned());
    }
    let each =
        changes.iter().map(|change| format!("{} is {}", change.flag, rollout(change.rollout)));
    Ok(format!("{}. Every process sees it within 2 s.", each.collect::<Vec<_>>().join(", ")))
}

pub(crate) async fn emergency(
    State(app): State<Shared>,
    who: Principal,
    Form(fields): Form<Fields>,
) -> Response {
    let done =
        async { change_flags(&app, &fields.by(&who)?, FlagRequest::EmergencyDisable, None).await };
    said(&fields, done.await)
}

pub(crate) async fn tune(
    State(app): State<Shared>,
    who: Principal,
    Form(fields): Form<Fields>,
) -> Response {
    let done = async {
        let text = format!("{}={}", fields.name, fields.value.trim());
        let assignment: Assignment =
            text.parse().map_err(|error| StoreError::Invalid(format!("{error}")))?;
        let seen: std::collections::BTreeMap<String, String> =
            serde_json::from_str(&fields.seen).unwrap_or_default();
        let expected = (!fields.seen.is_empty()).then(|| seen.get(&fields.name).cloned());
        let settings = [operate::Tune { assignment, expected }];
        let lasts = fields.lasts()?;
        operate::tune(&*app.store, &fields.by(&who)?, &settings, lasts).await?;
        let [operate::Tune { assignment: Assignment { knob, value }, .. }] = &settings;
        let value = value.as_deref().unwrap_or("its default");
        let lasts = for_minutes(lasts);
        Ok(format!("{knob} is {value}{lasts}. Every worker goes by it within 2 s."))
    };
    said(&fields, done.await)
}

pub(crate) async fn drain(
    State(app): State<Shared>,
    who: Principal,
    Form(fields): Form<Fields>,
) -> Response {
    let done = async {
        let worker: Uuid = parsed(&fields.worker, "worker")?.ok_or_else(|| missing("worker"))?;
        operate::drain(&*app.store, &fields.by(&who)?, worker).await?;
        Ok(format!("Worker {} takes nothing more and leaves within seconds.", tail(worker)))
    };
    said(&fields, done.await)
}

pub(crate) async fn validate(
    State(app): State<Shared>,
    who: Principal,
    Form(fields): Form<Fields>,
) -> Response {
    let begun = crate::api::begin_validation(&app, &who);
    let done = begun.map(|begun| {
        let text = if begun {
            "Every row is being compared, beside everything else; the result will be shown here."
        } else {
            "Every row is being compared already."
        };
        text.to_owned()
    });
    said(&fields, done.map_err(|problem| StoreError::Refused(problem.detail)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_read_back() {
        assert_eq!(expected("on 25"), Some(Rollout { enabled: true, percent: 25 }));
        assert_eq!(expected("off 100"), Some(Rollout::OFF));
        assert_eq!(expected("x"), None);
    }
}
