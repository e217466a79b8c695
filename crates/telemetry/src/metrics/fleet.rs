//! The state of the whole fleet, told by `serve` from what it shows anyway.

use std::sync::{Mutex, OnceLock, PoisonError};

use opentelemetry::KeyValue;

use super::{kind, meter};

/// What is counted of one kind of job, over the runs that `status` shows.
#[derive(Debug, Clone, PartialEq)]
pub struct OfKind {
    pub kind: &'static str,
    pub active_runs: u64,
    /// By state.
    pub batches: [(&'static str, u64); 5],
    /// Failed batches that nobody has enqueued again.
    pub failed: u64,
    pub quarantined: u64,
}

/// The fleet at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Fleet {
    /// All verdicts, and which is true.
    pub verdicts: Vec<(&'static str, bool)>,
    /// By state.
    pub workers: Vec<(&'static str, u64)>,
    pub kinds: Vec<OfKind>,
    pub rows_per_second: f64,
    pub bytes_per_second: f64,
    pub paused: bool,
    /// `None` while nobody would go by it.
    pub throttle_share: Option<f64>,
    /// Seconds until the open work is done, at the latest; `None` where nobody knows.
    pub latest_seconds: Option<f64>,
    /// The database's time of these figures, in seconds since 1970.
    pub at: Option<f64>,
}

static FLEET: Mutex<Option<Fleet>> = Mutex::new(None);

/// Tells the state of the fleet from now on.
pub fn tell(fleet: Fleet) {
    static ONCE: OnceLock<()> = OnceLock::new();
    *FLEET.lock().unwrap_or_else(PoisonError::into_inner) = Some(fleet);
    ONCE.get_or_init(register);
}

fn register() {
    counts("reelshift.fleet.verdict", "{verdict}", "1 for the verdict, else 0", |fleet, tell| {
        for (verdict, is) in &fleet.verdicts {
            tell(u64::from(*is), &[KeyValue::new("reelshift.verdict", *verdict)]);
        }
    });
    counts("reelshift.fleet.workers", "{worker}", "Workers by state", |fleet, tell| {
        for (state, workers) in &fleet.workers {
            tell(*workers, &[KeyValue::new("reelshift.worker.state", *state)]);
        }
    });
    counts("reelshift.fleet.runs", "{run}", "Active runs", |fleet, tell| {
        for of in &fleet.kinds {
            tell(of.active_runs, &[kind(of.kind)]);
        }
    });
    counts("reelshift.fleet.batches", "{batch}", "Batches by state", |fleet, tell| {
        for of in &fleet.kinds {
            for (state, batches) in of.batches {
                tell(batches, &[kind(of.kind), KeyValue::new("reelshift.batch.state", state)]);
            }
        }
    });
    let what = "Failed batches that nobody has enqueued again";
    counts("reelshift.fleet.failed", "{batch}", what, |fleet, tell| {
        for of in &fleet.kinds {
            tell(of.failed, &[kind(of.kind)]);
        }
    });
    counts("reelshift.fleet.quarantined", "{row}", "Rows and files set aside", |fleet, tell| {
        for of in &fleet.kinds {
            tell(of.quarantined, &[kind(of.kind)]);
        }
    });
    let what = "1 while an operator has paused the whole fleet";
    counts("reelshift.fleet.paused", "{pause}", what, |fleet, tell| {
        tell(u64::from(fleet.paused), &[]);
    });
    value("reelshift.fleet.rows", "{row}/s", "Rows written or compared a second", |fleet| {
        Some(fleet.rows_per_second)
    });
    value("reelshift.fleet.hashed", "By/s", "Bytes hashed a second", |fleet| {
        Some(fleet.bytes_per_second)
    });
    let what = "The part of the fleet's capacity that the throttle leaves";
    value("reelshift.fleet.throttle.share", "1", what, |fleet| fleet.throttle_share);
    let what = "Until the open work is done, at the latest";
    value("reelshift.fleet.time_left", "s", what, |fleet| fleet.latest_seconds);
    let what = "The database's time of these figures";
    value("reelshift.fleet.time", "s", what, |fleet| fleet.at);
}

type Tell<'a> = dyn Fn(u64, &[KeyValue]) + 'a;

fn counts(
    name: &'static str,
    unit: &'static str,
    what: &'static str,
    count: fn(&Fleet, &Tell<'_>),
) {
    meter()
        .u64_observable_gauge(name)
        .with_unit(unit)
        .with_description(what)
        .with_callback(move |told| {
            if let Some(fleet) = &*FLEET.lock().unwrap_or_else(PoisonError::into_inner) {
                count(fleet, &|value, labels| told.observe(value, labels));
            }
        })
        .build();
}

fn value(
    name: &'static str,
    unit: &'static str,
    what: &'static str,
    read: fn(&Fleet) -> Option<f64>,
) {
    meter()
        .f64_observable_gauge(name)
        .with_unit(unit)
        .with_description(what)
        .with_callback(move |told| {
            let fleet = FLEET.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(value) = fleet.as_ref().and_then(read) {
                told.observe(value, &[]);
            }
        })
        .build();
}
