//! How exposed, how hard?

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use reelshift_plan::{Flag, Knob, Rollout, Tuning};
use reelshift_store::controls::{Control, PAUSE};

use super::frame::{Frame, Page};
use super::moment::time;
use super::view::{View, rollout};
use super::{begin, finish};
use crate::access::Principal;
use crate::app::Shared;

#[derive(Template)]
#[template(path = "controls.html", blocks = ["verdict", "throttle", "settings", "commands"])]
pub(super) struct Controls {
    pub frame: Frame,
    pub view: View,
    pub flags: Vec<FlagView>,
    pub settings: Vec<Setting>,
    /// The stored settings that are shown, for the form: it changes nothing if another has
    /// changed them meanwhile.
    pub seen: String,
}

/// A flag with its form.
pub(super) struct FlagView {
    name: &'static str,
    title: String,
    meaning: &'static str,
    now: String,
    tone: &'static str,
    changed: String,
    /// As `actions::expected` reads it.
    expected: String,
    percent: u8,
}

/// A setting of the fleet.
pub(super) struct Setting {
    name: &'static str,
    value: String,
    default: String,
    changed: String,
    meaning: &'static str,
}

/// What a flag is now, beside its form.
#[derive(Template)]
#[template(path = "flag_state.html")]
pub(super) struct FlagState<'a> {
    pub flag: &'a FlagView,
}

impl FlagState<'_> {
    pub(super) const fn name(&self) -> &'static str {
        self.flag.name
    }
}

impl Controls {
    /// As `view` has it.
    pub(super) fn new(frame: Frame, view: View) -> Self {
        let stored = view.overview().report.as_ref().map(|report| report.controls.clone());
        let stored = stored.unwrap_or_default();
        let seen: BTreeMap<_, _> = stored
            .iter()
            .filter(|control| control.name != PAUSE)
            .map(|control| (&control.name, &control.value))
            .collect();
        let seen = serde_json::to_string(&seen).unwrap_or_default();
        Self { flags: flags(&view), settings: settings(&view, &stored), frame, view, seen }
    }
}

pub(crate) async fn page(
    State(app): State<Shared>,
    who: Principal,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let (frame, view) = begin(&app, &who, &headers, Page::Controls, "/controls").await?;
    let said = frame.flash.is_some();
    Ok(finish(&Controls::new(frame, view), said))
}

const fn meaning(flag: Flag) -> &'static str {
    match flag {
        Flag::EnhancedVideoProcessing => "The status reader answers with the full pipeline.",
        Flag::RealtimeNotifications => "Triggers queue notifications, and they are delivered.",
        Flag::AdvancedErrorHandling => "A status shows the details of its error.",
        Flag::PerformanceMonitoring => "The server's load is sampled; on at any share above 0.",
    }
}

fn flags(view: &View) -> Vec<FlagView> {
    let reports = view.overview().flags.iter();
    reports
        .map(|report| {
            let stored = &report.stored;
            let now = stored.rollout;
            FlagView {
                name: stored.flag.into_str(),
                title: stored.flag.into_str().replace('_', " "),
                meaning: meaning(stored.flag),
                now: rollout(now),
                tone: if now.is_on() { "good" } else { "off" },
                changed: changed(view, report),
                expected: format!("{} {}", if now.enabled { "on" } else { "off" }, now.percent),
                percent: exposed(now),
            }
        })
        .collect()
}

const fn exposed(rollout: Rollout) -> u8 {
    if rollout.enabled { rollout.percent } else { 0 }
}

/// `02:55 (17m ago) by ops, was on for 5 % of videos`
fn changed(view: &View, report: &reelshift_overview::FlagReport) -> String {
    let stored = &report.stored;
    let was = report.last_change.as_ref().and_then(|change| change.previous);
    let was = was.map_or_else(String::new, |was| format!(", was {}", rollout(was)));
    format!("{} by {}{was}", view.ago(stored.updated_at), stored.updated_by)
}

fn settings(view: &View, stored: &[Control]) -> Vec<Setting> {
    let pairs = stored.iter().map(|control| (control.name.as_str(), control.value.as_str()));
    let (tuning, defaults) = (Tuning::of_stored(pairs), Tuning::default());
    let setting = |knob: Knob| {
        let control = stored.iter().find(|control| control.name == knob.into_str());
        Setting {
            name: knob.into_str(),
            value: tuning.show(knob),
            default: defaults.show(knob),
            changed: control.map_or_else(
                || "-".to_owned(),
                |control| {
                    let end = control.ends_at.map(|end| format!(", until {}", time(end)));
                    let end = end.unwrap_or_default();
                    format!("{} by {}{end}", view.ago(control.changed_at), control.changed_by)
                },
            ),
            meaning: knob.meaning(),
        }
    };
    Knob::ALL.iter().copied().map(setting).collect()
}
