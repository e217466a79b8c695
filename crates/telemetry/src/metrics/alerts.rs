//! What the alerts of `deploy/prometheus` are made of, told by `serve`: also where no worker is left to tell anything.

use std::sync::{Mutex, OnceLock, PoisonError};

use opentelemetry::KeyValue;

use super::{OneOf, meter};

/// The fleet at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Alerts {
    pub verdict: OneOf<'static>,
    /// Workers by state; lost and gone ones for ten minutes.
    pub workers: Vec<(&'static str, u64)>,
    /// Runs that are paused, by who paused them.
    pub paused_runs: Vec<(&'static str, u64)>,
    /// Batches of active runs that are pending or leased.
    pub open_batches: u64,
    /// Failed batches that nobody has enqueued again.
    pub failed_batches: u64,
    pub quarantined: u64,
    /// The value of each signal of the throttle by its limit: above 1 it is beyond.
    pub pressures: Vec<(&'static str, f64)>,
    /// What the newest validation found; `None` where there was none.
    pub validation_differences: Option<u64>,
    /// Notifications that are due, and the age of the oldest in seconds; `None` where none are
    /// to be delivered.
    pub notifications: Option<(u64, f64)>,
}

/// A value with its labels.
type Figure = (f64, Vec<KeyValue>);

static ALERTS: Mutex<Option<Alerts>> = Mutex::new(None);

/// Tells the fleet's state from now on; with nothing, that it cannot be read.
pub fn alerts(alerts: Option<Alerts>) {
    static ONCE: OnceLock<()> = OnceLock::new();
    *ALERTS.lock().unwrap_or_else(PoisonError::into_inner) = alerts;
    ONCE.get_or_init(|| {
        counts(
            "reelshift.verdict",
            "{verdict}",
            "1 for the verdict on the migration, else 0",
            "reelshift.verdict",
            |now| {
                let is = |name: &'static str| (name, u64::from(now.verdict.name == Some(name)));
                now.verdict.all.iter().copied().map(is).collect()
            },
        );
        counts("reelshift.workers", "{worker}", "Workers", "reelshift.worker.state", |now| {
            now.workers.clone()
        });
        counts(
            "reelshift.runs.paused",
            "{run}",
            "Runs that are paused, by who paused them",
            "reelshift.paused_by",
            |now| now.paused_runs.clone(),
        );
        count(
            "reelshift.batches.open",
            "{batch}",
            "Batches of active runs that are pending or leased",
            |now| Some(now.open_batches),
        );
        count(
            "reelshift.batches.failed",
            "{batch}",
            "Failed batches that nobody has enqueued again",
            |now| Some(now.failed_batches),
        );
        count("reelshift.quarantine", "{item}", "Rows and files in quarantine", |now| {
            Some(now.quarantined)
        });
        figures(
            "reelshift.throttle.pressure",
            "1",
            "Each signal of the throttle by its limit",
            |now| {
                let signal = |name| vec![KeyValue::new("reelshift.throttle.signal", name)];
                now.pressures.iter().map(|&(name, value)| (value, signal(name))).collect()
            },
        );
        count(
            "reelshift.validation.differences",
            "{row}",
            "Rows that the newest validation found to differ",
            |now| now.validation_differences,
        );
        count(
            "reelshift.notifications.due",
            "{notification}",
            "Notifications that are due, counted to 10,000",
            |now| now.notifications.map(|(due, _)| due),
        );
        figures(
            "reelshift.notifications.oldest_age",
            "s",
            "How long the oldest notification has been due",
            |now| now.notifications.iter().map(|&(_, age)| (age, Vec::new())).collect(),
        );
    });
}

fn now() -> Option<Alerts> {
    ALERTS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn counts(
    name: &'static str,
    unit: &'static str,
    what: &'static str,
    label: &'static str,
    of: fn(&Alerts) -> Vec<(&'static str, u64)>,
) {
    meter()
        .u64_observable_gauge(name)
        .with_unit(unit)
        .with_description(what)
        .with_callback(move |observer| {
            for (value, count) in now().iter().flat_map(of) {
                observer.observe(count, &[KeyValue::new(label, value)]);
            }
        })
        .build();
}

fn count(
    name: &'static str,
    unit: &'static str,
    what: &'static str,
    of: fn(&Alerts) -> Option<u64>,
) {
    meter()
        .u64_observable_gauge(name)
        .with_unit(unit)
        .with_description(what)
        .with_callback(move |observer| {
            if let Some(count) = now().as_ref().and_then(of) {
                observer.observe(count, &[]);
            }
        })
        .build();
}

fn figures(
    name: &'static str,
    unit: &'static str,
    what: &'static str,
    of: fn(&Alerts) -> Vec<Figure>,
) {
    meter()
        .f64_observable_gauge(name)
        .with_unit(unit)
        .with_description(what)
        .with_callback(move |observer| {
            for (figure, labels) in now().iter().flat_map(of) {
                observer.observe(figure, &labels);
            }
        })
        .build();
}
