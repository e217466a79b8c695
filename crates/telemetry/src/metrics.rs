//! Every instrument, made once. What is recorded before [`crate::init`], or without it, goes
//! nowhere and costs next to nothing.
//!
//! Labels are job kinds, outcomes, error types and signals, of which there are a few each;
//! never an id, a path or a message.

mod application;
pub mod fleet;
mod monitor;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter};
use opentelemetry::{KeyValue, global};

pub use application::{Latencies, impact};
pub use monitor::{Monitor, monitor};

/// Chunks aim at 20 ms; from 10 s on a deadline ends them.
const CHUNK_SECONDS: [f64; 12] =
    [0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// An attempt is a batch of 2,000 rows, or a gigabyte of files.
const ATTEMPT_SECONDS: [f64; 12] =
    [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 300.0, 1_800.0];

static ENABLED: AtomicBool = AtomicBool::new(false);

/// Whether anybody reads the metrics: what costs a query is left out otherwise.
#[must_use]
pub fn enabled() -> bool {
    ENABLED.load(Ordering::Relaxed)
}

/// The instruments.
#[derive(Debug)]
struct Instruments {
    rows: Counter<u64>,
    bytes: Counter<u64>,
    stored_checksums: Counter<u64>,
    batches: Counter<u64>,
    retries: Counter<u64>,
    quarantined: Counter<u64>,
    leases_lost: Counter<u64>,
    leases_reaped: Counter<u64>,
    attempt: Histogram<f64>,
    chunk: Histogram<f64>,
    throttle_share: Gauge<f64>,
    throttled: Gauge<u64>,
    throttle_level: Gauge<u64>,
}

fn meter() -> Meter {
    global::meter(crate::SCOPE)
}

fn instruments() -> &'static Instruments {
    static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();
    INSTRUMENTS.get_or_init(|| {
        let meter = meter();
        let counter = |name: &'static str, unit: &'static str, what: &'static str| {
            meter.u64_counter(name).with_unit(unit).with_description(what).build()
        };
        Instruments {
            rows: counter("reelshift.rows", "{row}", "Rows written, or files hashed"),
            bytes: counter("reelshift.hashed", "By", "Bytes hashed"),
            stored_checksums: counter(
                "reelshift.stored_checksums",
                "{file}",
                "Files whose stored checksum was taken for the hash, or agreed with it",
            ),
            batches: counter(
                "reelshift.batches",
                "{batch}",
                "Attempts at batches that ended, by outcome",
            ),
            retries: counter(
                "reelshift.retries",
                "{attempt}",
                "Failed attempts that another follows",
            ),
            quarantined: counter("reelshift.quarantined", "{row}", "Rows and files set aside"),
            leases_lost: counter(
                "reelshift.leases.lost",
                "{lease}",
                "Attempts that lost their lease",
            ),
            leases_reaped: counter(
                "reelshift.leases.reaped",
                "{lease}",
                "Leases taken from silent workers",
            ),
            attempt: meter
                .f64_histogram("messaging.process.duration")
                .with_unit("s")
                .with_description("Time that attempts took")
                .with_boundaries(ATTEMPT_SECONDS.to_vec())
                .build(),
            chunk: meter
                .f64_histogram("reelshift.chunk.duration")
                .with_unit("s")
                .with_description("Time that chunks of the backfill took")
                .with_boundaries(CHUNK_SECONDS.to_vec())
                .build(),
            throttle_share: meter
                .f64_gauge("reelshift.throttle.share")
                .with_unit("1")
                .with_description("The part of the fleet's capacity that the throttle leaves")
                .build(),
            throttled: meter
                .u64_gauge("reelshift.throttle.active")
                .with_unit("{signal}")
                .with_description("1 for the signal that holds the fleet back, else 0")
                .build(),
            throttle_level: meter
                .u64_gauge("reelshift.throttle.level")
                .with_unit("{level}")
                .with_description("1 for what the throttle does, else 0")
                .build(),
        }
    })
}

fn kind(kind: &'static str) -> KeyValue {
    KeyValue::new("reelshift.kind", kind)
}

/// Rows were written, or files hashed.
pub fn rows(of: &'static str, rows: u64) {
    instruments().rows.add(rows, &[kind(of)]);
}

/// Bytes were hashed.
pub fn bytes(of: &'static str, bytes: u64) {
    instruments().bytes.add(bytes, &[kind(of)]);
}

/// A stored checksum was `trusted`, or `verified` by reading the file.
pub fn stored_checksum(outcome: &'static str) {
    instruments().stored_checksums.add(1, &[KeyValue::new("reelshift.outcome", outcome)]);
}

/// A row or file was set aside.
pub fn quarantined(of: &'static str, error_type: &str) {
    let error_type = KeyValue::new("error.type", error_type.to_owned());
    instruments().quarantined.add(1, &[kind(of), error_type]);
}

/// The counters of leases and retries are there from now on, so that a rise from nothing is one.
pub fn begin_counting(kinds: impl Iterator<Item = &'static str>) {
    let instruments = instruments();
    instruments.leases_reaped.add(0, &[]);
    for of in kinds {
        instruments.leases_lost.add(0, &[kind(of)]);
        instruments.retries.add(0, &[kind(of)]);
    }
}

/// Leases of silent workers were taken back.
pub fn leases_reaped(leases: u64) {
    instruments().leases_reaped.add(leases, &[]);
}

/// A chunk was committed.
pub fn chunk(took: Duration) {
    instruments().chunk.record(took.as_secs_f64(), &[]);
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum Outcome<'a> {
    Done,
    /// Given back: a drain or a pause.
    Drained,
    LeaseLost,
    /// Failed, and another attempt follows.
    Retried(&'a str),
    /// Failed for good.
    Failed(&'a str),
}

/// An attempt ended.
pub fn attempt(of: &'static str, outcome: Outcome<'_>, took: Duration) {
    let instruments = instruments();
    let outcome_label = KeyValue::new("reelshift.outcome", outcome.into_str());
    instruments.batches.add(1, &[kind(of), outcome_label]);
    let mut labels = vec![
        KeyValue::new("messaging.system", crate::SCOPE),
        KeyValue::new("messaging.operation.name", "process"),
        KeyValue::new("messaging.destination.name", of),
    ];
    match outcome {
        Outcome::Retried(error) | Outcome::Failed(error) => {
            labels.push(KeyValue::new("error.type", error.to_owned()));
        }
        Outcome::LeaseLost => instruments.leases_lost.add(1, &[kind(of)]),
        Outcome::Done | Outcome::Drained => {}
    }
    if matches!(outcome, Outcome::Retried(_)) {
        instruments.retries.add(1, &[kind(of)]);
    }
    instruments.attempt.record(took.as_secs_f64(), &labels);
}

/// One of a few names, and all that it could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OneOf<'a> {
    /// `None` where it is none of them.
    pub name: Option<&'static str>,
    pub all: &'a [&'static str],
}

impl OneOf<'_> {
    fn tell(self, gauge: &Gauge<u64>, label: &'static str) {
        for name in self.all {
            let value = u64::from(self.name == Some(name));
            gauge.record(value, &[KeyValue::new(label, *name)]);
        }
    }
}

/// What the throttle leaves, what it does, and which signal holds the fleet back.
pub fn throttle(share: f64, level: OneOf<'_>, reason: OneOf<'_>) {
    let instruments = instruments();
    instruments.throttle_share.record(share, &[]);
    level.tell(&instruments.throttle_level, "reelshift.throttle.level");
    reason.tell(&instruments.throttled, "reelshift.throttle.signal");
}

/// Batches that are pending, of one kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Depth {
    pub kind: &'static str,
    pub pending: u64,
    /// Seconds since the oldest of them became due.
    pub oldest: f64,
}

static DEPTHS: Mutex<Vec<Depth>> = Mutex::new(Vec::new());

/// Tells the queue's depth from now on; with nothing, that another worker tells it.
pub fn queue(depths: Vec<Depth>) {
    static ONCE: OnceLock<()> = OnceLock::new();
    *DEPTHS.lock().unwrap_or_else(PoisonError::into_inner) = depths;
    let depths = || DEPTHS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    ONCE.get_or_init(|| {
        meter()
            .u64_observable_gauge("reelshift.queue.depth")
            .with_unit("{batch}")
            .with_description("Pending batches, counted to 10,000 a run; told by one worker")
            .with_callback(move |told| {
                for depth in depths() {
                    told.observe(depth.pending, &[kind(depth.kind)]);
                }
            })
            .build();
        meter()
            .f64_observable_gauge("reelshift.queue.oldest_age")
            .with_unit("s")
            .with_description("How long the oldest pending batch has been due; told by one worker")
            .with_callback(move |told| {
                for depth in depths() {
                    told.observe(depth.oldest, &[kind(depth.kind)]);
                }
            })
            .build();
    });
}

/// A pool of database connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    pub name: &'static str,
    pub used: u32,
    pub idle: u32,
    pub max: u32,
}

/// Tells the state of the pools, as `look` sees it, from now on.
pub fn observe_connections(look: impl Fn() -> Vec<Connections> + Clone + Send + Sync + 'static) {
    let max = look.clone();
    meter()
        .i64_observable_up_down_counter("db.client.connection.count")
        .with_unit("{connection}")
        .with_description("Connections to the database that are open")
        .with_callback(move |told| {
            for pool in look() {
                for (state, count) in [("used", pool.used), ("idle", pool.idle)] {
                    let labels = [
                        KeyValue::new("db.client.connection.pool.name", pool.name),
                        KeyValue::new("db.client.connection.state", state),
                    ];
                    told.observe(i64::from(count), &labels);
                }
            }
        })
        .build();
    meter()
        .i64_observable_up_down_counter("db.client.connection.max")
        .with_unit("{connection}")
        .with_description("Connections to the database that may be open")
        .with_callback(move |told| {
            for pool in max() {
                let label = KeyValue::new("db.client.connection.pool.name", pool.name);
                told.observe(i64::from(pool.max), &[label]);
            }
        })
        .build();
}

/// Metrics are read from now on: the process' memory is told.
pub(crate) fn observe_process() {
    ENABLED.store(true, Ordering::Relaxed);
    meter()
        .i64_observable_up_down_counter("process.memory.usage")
        .with_unit("By")
        .with_description("Physical memory in use")
        .with_callback(|told| {
            if let Some(memory) = memory_stats::memory_stats() {
                told.observe(i64::try_from(memory.physical_mem).unwrap_or(i64::MAX), &[]);
            }
        })
        .build();
}
