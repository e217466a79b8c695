//! The state of the whole fleet, reported by `serve`: also where no worker is left to report
//! anything. The dashboards and alerts of `deploy/` are made of it.

use std::sync::{Mutex, OnceLock, PoisonError};

use opentelemetry::KeyValue;

use super::{OneOf, kind, meter};

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
    pub verdict: OneOf<'static>,
    /// Workers by state; lost and gone ones for ten minutes.
    pub workers: [(&'static str, u64); 3],
    pub kinds: Vec<OfKind>,
    /// Batches of active runs that are pending or leased.
    pub open_batches: u64,
    /// Whether the whole fleet is paused.
    pub paused: bool,
    /// Runs that are paused, by who paused them.
    pub paused_runs: [(&'static str, u64); 2],
    pub rows_per_second: f64,
    pub bytes_per_second: f64,
    /// `None` while nobody samples the signals.
    pub throttle_share: Option<f64>,
    /// The value of each signal of the throttle by its limit: above 1 it is beyond.
    pub pressures: Vec<(&'static str, f64)>,
    /// Seconds until the open work is done, at the latest; `None` where nobody knows.
    pub latest_seconds: Option<f64>,
    /// What the newest validation found; `None` where there was none.
    pub differences: Option<u64>,
    /// Notifications that are due, and the age of the oldest in seconds; `None` where none are
    /// to be delivered.
    pub notifications: Option<(u64, f64)>,
    /// The database's time of these figures, in seconds since 1970.
    pub at: Option<f64>,
}

static FLEET: Mutex<Option<Fleet>> = Mutex::new(None);

/// Reports this state of the fleet from now on; with nothing, that it cannot be read.
pub fn report(fleet: Option<Fleet>) {
    static ONCE: OnceLock<()> = OnceLock::new();
    *FLEET.lock().unwrap_or_else(PoisonError::into_inner) = fleet;
    ONCE.get_or_init(register);
}

fn register() {
    counts(
        "reelshift.fleet.verdict",
        "{verdict}",
        "1 for the verdict, else 0",
        |fleet, observe| {
            for name in fleet.verdict.all {
                let value = u64::from(fleet.verdict.name == Some(name));
                observe(value, &[KeyValue::new("reelshift.verdict", *name)]);
            }
        },
    );
    counts("reelshift.fleet.workers", "{worker}", "Workers by state", |fleet, observe| {
        for (state, workers) in fleet.workers {
            observe(workers, &[KeyValue::new("reelshift.worker.state", state)]);
        }
    });
    counts("reelshift.fleet.runs", "{run}", "Active runs", |fleet, observe| {
        for of in &fleet.kinds {
            observe(of.active_runs, &[kind(of.kind)]);
        }
    });
    let what = "Runs that are paused, by who paused them";
    counts("reelshift.fleet.runs.paused", "{run}", what, |fleet, observe| {
        for (by, runs) in fleet.paused_runs {
            observe(runs, &[KeyValue::new("reelshift.paused_by", by)]);
        }
    });
    let what = "1 while an operator has paused the whole fleet";
    counts("reelshift.fleet.paused", "{pause}", what, |fleet, observe| {
        observe(u64::from(fleet.paused), &[]);
    });
    counts("reelshift.fleet.batches", "{batch}", "Batches by state", |fleet, observe| {
        for of in &fleet.kinds {
            for (state, batches) in of.batches {
                observe(batches, &[kind(of.kind), KeyValue::new("reelshift.batch.state", state)]);
            }
        }
    });
    let what = "Batches of active runs that are pending or leased";
    counts("reelshift.fleet.batches.open", "{batch}", what, |fleet, observe| {
        observe(fleet.open_batches, &[]);
    });
    let what = "Failed batches that nobody has enqueued again";
    counts("reelshift.fleet.batches.failed", "{batch}", what, |fleet, observe| {
        for of in &fleet.kinds {
            observe(of.failed, &[kind(of.kind)]);
        }
    });
    counts(
        "reelshift.fleet.quarantined",
        "{item}",
        "Rows and files set aside",
        |fleet, observe| {
            for of in &fleet.kinds {
                observe(of.quarantined, &[kind(of.kind)]);
            }
        },
    );
    let what = "Rows that the newest validation found to differ";
    counts("reelshift.fleet.differences", "{row}", what, |fleet, observe| {
        if let Some(differences) = fleet.differences {
            observe(differences, &[]);
        }
    });
    let what = "Notifications that are due, counted to 10,000";
    counts("reelshift.fleet.notifications", "{notification}", what, |fleet, observe| {
        if let Some((due, _)) = fleet.notifications {
            observe(due, &[]);
        }
    });
    let what = "How long the oldest notification has been due";
    values("reelshift.fleet.notifications.oldest_age", "s", what, |fleet, observe| {
        if let Some((_, age)) = fleet.notifications {
            observe(age, &[]);
        }
    });
    let what = "Rows written or compared a second";
    values("reelshift.fleet.rows", "{row}/s", what, |fleet, observe| {
        observe(fleet.rows_per_second, &[]);
    });
    values("reelshift.fleet.hashed", "By/s", "Bytes hashed a second", |fleet, observe| {
        observe(fleet.bytes_per_second, &[]);
    });
    let what = "The part of the fleet's capacity that the throttle leaves";
    values("reelshift.fleet.throttle.share", "1", what, |fleet, observe| {
        if let Some(share) = fleet.throttle_share {
            observe(share, &[]);
        }
    });
    let what = "Each signal of the throttle by its limit";
    values("reelshift.fleet.throttle.pressure", "1", what, |fleet, observe| {
        for &(signal, pressure) in &fleet.pressures {
            observe(pressure, &[KeyValue::new("reelshift.throttle.signal", signal)]);
        }
    });
    let what = "Until the open work is done, at the latest";
    values("reelshift.fleet.time_left", "s", what, |fleet, observe| {
        if let Some(seconds) = fleet.latest_seconds {
            observe(seconds, &[]);
        }
    });
    let what = "The database's time of these figures";
    values("reelshift.fleet.time", "s", what, |fleet, observe| {
        if let Some(at) = fleet.at {
            observe(at, &[]);
        }
    });
}

type Observe<'a, V> = dyn Fn(V, &[KeyValue]) + 'a;

fn with_fleet(read: impl FnOnce(&Fleet)) {
    if let Some(fleet) = &*FLEET.lock().unwrap_or_else(PoisonError::into_inner) {
        read(fleet);
    }
}

fn counts(
    name: &'static str,
    unit: &'static str,
    what: &'static str,
    read: fn(&Fleet, &Observe<'_, u64>),
) {
    meter()
        .u64_observable_gauge(name)
        .with_unit(unit)
        .with_description(what)
        .with_callback(move |observer| {
            with_fleet(|fleet| read(fleet, &|value, labels| observer.observe(value, labels)));
        })
        .build();
}

fn values(
    name: &'static str,
    unit: &'static str,
    what: &'static str,
    read: fn(&Fleet, &Observe<'_, f64>),
) {
    meter()
        .f64_observable_gauge(name)
        .with_unit(unit)
        .with_description(what)
        .with_callback(move |observer| {
            with_fleet(|fleet| read(fleet, &|value, labels| observer.observe(value, labels)));
        })
        .build();
}
