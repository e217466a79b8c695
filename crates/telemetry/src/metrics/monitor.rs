//! The specification's monitor, told by the one worker that counts the ledger for all.

use std::sync::{Mutex, OnceLock, PoisonError};

use super::meter;

/// The specification's monitor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Monitor {
    pub videos_migrated: u64,
    pub errors: u64,
    pub status_rows: u64,
    pub notifications: u64,
    /// Errors among all that ended, 0 to 1.
    pub error_rate: f64,
    /// Seconds; `None` where nothing is active or nothing moves.
    pub left: Option<f64>,
}

static MONITOR: Mutex<Option<Monitor>> = Mutex::new(None);

/// Tells the specification's monitor from now on; with nothing, that another worker tells it.
pub fn monitor(monitor: Option<Monitor>) {
    static ONCE: OnceLock<()> = OnceLock::new();
    *MONITOR.lock().unwrap_or_else(PoisonError::into_inner) = monitor;
    ONCE.get_or_init(|| {
        count("reelshift.videos.migrated", "{video}", "Videos migrated", |now| now.videos_migrated);
        count("reelshift.errors", "{error}", "Failed attempts and items set aside", |now| {
            now.errors
        });
        count("reelshift.status_rows", "{row}", "Status rows created", |now| now.status_rows);
        count(
            "reelshift.notifications.queued",
            "{notification}",
            "Notifications queued, counted to 10,000",
            |now| now.notifications,
        );
        share("reelshift.error_rate", "1", "Errors among all that ended", |now| {
            Some(now.error_rate)
        });
        share("reelshift.time_left", "s", "Until the active runs are through", |now| now.left);
    });
}

fn monitored() -> Option<Monitor> {
    *MONITOR.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(name: &'static str, unit: &'static str, what: &'static str, of: fn(Monitor) -> u64) {
    meter()
        .u64_observable_gauge(name)
        .with_unit(unit)
        .with_description(format!("{what}; told by one worker"))
        .with_callback(move |told| {
            if let Some(now) = monitored() {
                told.observe(of(now), &[]);
            }
        })
        .build();
}

fn share(
    name: &'static str,
    unit: &'static str,
    what: &'static str,
    of: fn(Monitor) -> Option<f64>,
) {
    meter()
        .f64_observable_gauge(name)
        .with_unit(unit)
        .with_description(format!("{what}; told by one worker"))
        .with_callback(move |told| {
            if let Some(figure) = monitored().and_then(of) {
                told.observe(figure, &[]);
            }
        })
        .build();
}
