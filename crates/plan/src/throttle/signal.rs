//! What the brake listens to, and what was read of it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A sign of strain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ThrottleSignal))]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Seconds that the fleet's recent chunks took: what an application's write can wait for.
    ChunkTime,
    /// Statements that the server executes at once, ours among them.
    ThreadsRunning,
    /// Seconds that a replica is behind.
    ReplicaLag,
    /// Row versions that InnoDB keeps for old readers.
    HistoryLength,
    /// Transactions that wait for a row lock at once.
    LockWaits,
    /// Bytes that are free on the database's disk. The less, the worse.
    FreeDisk,
    /// What the fleet adds to the application's median latency, in proportion to it.
    ApplicationMedian,
    /// Seconds that the fleet adds to the slowest hundredth.
    ApplicationTail,
    /// Connections that the server still accepts. The fewer, the worse.
    FreeConnections,
    /// What a query of the operator's returns.
    Query,
    /// Whether an address of the operator's answers that work may go on: 0, or 1 where not.
    Http,
    /// What a query of Prometheus returns.
    Prometheus,
    /// Whether it is an hour to work in: 0, or 1 where not.
    WorkWindow,
}

impl Signal {
    /// The limit of a signal that says only go or stop.
    pub const SWITCH_LIMIT: f64 = 0.5;

    /// Every [`Self::label`].
    pub const LABELS: [&str; 13] = [
        Self::ChunkTime.label(),
        Self::ThreadsRunning.label(),
        Self::ReplicaLag.label(),
        Self::HistoryLength.label(),
        Self::LockWaits.label(),
        Self::FreeDisk.label(),
        Self::ApplicationMedian.label(),
        Self::ApplicationTail.label(),
        Self::FreeConnections.label(),
        Self::Query.label(),
        Self::Http.label(),
        Self::Prometheus.label(),
        Self::WorkWindow.label(),
    ];

    /// What metrics call it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ChunkTime => "chunk_time",
            Self::ThreadsRunning => "threads_running",
            Self::ReplicaLag => "replica_lag",
            Self::HistoryLength => "history_length",
            Self::LockWaits => "lock_waits",
            Self::FreeDisk => "free_disk",
            Self::ApplicationMedian => "application_median",
            Self::ApplicationTail => "application_tail",
            Self::FreeConnections => "free_connections",
            Self::Query => "query",
            Self::Http => "http",
            Self::Prometheus => "prometheus",
            Self::WorkWindow => "work_window",
        }
    }

    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChunkTime => "chunk time",
            Self::ThreadsRunning => "threads running",
            Self::ReplicaLag => "replica lag",
            Self::HistoryLength => "history list",
            Self::LockWaits => "row lock waits",
            Self::FreeDisk => "free disk",
            Self::ApplicationMedian => "application slowed",
            Self::ApplicationTail => "application's slowest 1 % slowed",
            Self::FreeConnections => "free connections",
            Self::Query => "query",
            Self::Http => "HTTP brake",
            Self::Prometheus => "Prometheus",
            Self::WorkWindow => "work window",
        }
    }

    /// Whether going on could do lasting harm: above its limit nothing starts.
    #[must_use]
    pub const fn is_safety(self) -> bool {
        matches!(self, Self::ReplicaLag | Self::FreeDisk) || self.is_switch()
    }

    /// Whether it says only go or stop.
    #[must_use]
    pub const fn is_switch(self) -> bool {
        matches!(self, Self::Http | Self::WorkWindow)
    }

    /// Whether the operator configured it, under the name that is its host.
    #[must_use]
    pub const fn is_configured(self) -> bool {
        matches!(self, Self::Query | Self::Http | Self::Prometheus)
    }

    /// How far it slows the fleet down by itself. A chunk that is slow though it runs alone
    /// does not become faster by rest: half of the time is then left to the application. Rests
    /// between chunks free no connection.
    pub(super) const fn least_chunks(self) -> f64 {
        match self {
            Self::ChunkTime => 0.5,
            Self::FreeConnections => 1.0,
            _ => super::MIN_CHUNKS,
        }
    }

    /// Whether it is measured, and stands until the next measurement some seconds later: each is
    /// answered once.
    pub(super) const fn is_measured(self) -> bool {
        matches!(self, Self::ApplicationMedian | Self::ApplicationTail)
    }

    /// Whether less of it is worse.
    const fn falls(self) -> bool {
        matches!(self, Self::FreeDisk | Self::FreeConnections)
    }

    /// How its values are written: by what they are multiplied, with how many decimals, in
    /// which unit.
    const fn notation(self) -> (f64, i32, &'static str) {
        match self {
            Self::ChunkTime | Self::ApplicationTail => (1_000.0, 0, " ms"),
            Self::ApplicationMedian => (100.0, 0, " %"),
            Self::ThreadsRunning | Self::LockWaits => (1.0, 1, ""),
            Self::ReplicaLag => (1.0, 1, " s"),
            Self::HistoryLength | Self::FreeConnections | Self::Http | Self::WorkWindow => {
                (1.0, 0, "")
            }
            Self::Query | Self::Prometheus => (1.0, 2, ""),
            Self::FreeDisk => (1.0 / 1_073_741_824.0, 2, " GiB"),
        }
    }

    /// `value` as it is written, rounded by `round` of its last decimal.
    fn written(self, value: f64, round: fn(f64) -> f64) -> String {
        let (factor, decimals, unit) = self.notation();
        let last = 10_f64.powi(decimals);
        let shown = round(value * factor * last) / last;
        format!("{shown:.*}{unit}", usize::try_from(decimals).unwrap_or(0))
    }
}

/// A signal as it was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = SignalReading))]
pub struct Reading {
    pub signal: Signal,
    /// Where: `db-2:3306`, or a path; empty where it is the fleet itself.
    pub host: String,
    /// In the signal's unit; `None` where it should be there and is not.
    pub value: Option<f64>,
    /// In the same unit; positive.
    pub limit: f64,
    /// The value's standard error, where it was measured from samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<f64>,
    /// Why there is no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

impl Reading {
    /// A value; one that is no number is a signal that is missing.
    #[must_use]
    pub fn new(signal: Signal, host: &str, value: f64, limit: f64) -> Self {
        if value.is_finite() {
            Self {
                signal,
                host: host.to_owned(),
                value: Some(value),
                limit,
                error: None,
                missing: None,
            }
        } else {
            Self::missing(signal, host, limit, "it is not a number".to_owned())
        }
    }

    /// A signal that says only go or stop.
    #[must_use]
    pub fn switch(signal: Signal, name: &str, stops: bool) -> Self {
        Self::new(signal, name, f64::from(u8::from(stops)), Signal::SWITCH_LIMIT)
    }

    /// A signal that should be there and is not, because of `why`.
    #[must_use]
    pub fn missing(signal: Signal, host: &str, limit: f64, why: String) -> Self {
        Self { signal, host: host.to_owned(), value: None, limit, error: None, missing: Some(why) }
    }

    /// The value in proportion to its limit: above 1 it is beyond, whichever way it goes. What
    /// was measured counts by as much as is certain, a standard error less.
    #[must_use]
    pub fn pressure(&self) -> f64 {
        match self.value {
            None => f64::INFINITY,
            Some(free) if self.signal.falls() => self.limit / free.max(f64::MIN_POSITIVE),
            Some(value) => {
                (value - self.error.unwrap_or_default()).max(0.0)
                    / self.limit.max(f64::MIN_POSITIVE)
            }
        }
    }

    /// The pressure that it may have while `chunks` run at once, for what is known: with the
    /// standard error added. A fleet that works for a small part of the time cannot add much, so
    /// that much of the error does not count.
    pub(super) fn possible_pressure(&self, chunks: f64) -> f64 {
        let error = self.error.unwrap_or_default() * chunks.min(1.0);
        let most = self.value.map(|value| value + error);
        most.map_or(f64::INFINITY, |most| most / self.limit.max(f64::MIN_POSITIVE))
    }

    /// How many more chunks at a time keep within the limit, as far as that is known: each
    /// is one more thread running.
    pub(super) fn room(&self) -> f64 {
        match (self.signal, self.value) {
            (Signal::ThreadsRunning, Some(value)) => (self.limit - value).max(0.0),
            _ => f64::INFINITY,
        }
    }
}

/// `replica lag 7.1 s > 5.0 s on db-2:3306`
impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.signal.name())?;
        let is_name = self.signal.is_configured() || self.signal.is_switch();
        if is_name {
            write!(f, " {}", self.host)?;
        }
        match self.value {
            Some(_) if self.signal.is_switch() => {
                f.write_str(if self.pressure() > 1.0 { " says stop" } else { " says go" })?;
            }
            Some(value) => {
                // Away from the limit, so that "2.0 > 2.0" is never read.
                let (sign, round): (_, fn(f64) -> f64) =
                    match (self.pressure() > 1.0, self.signal.falls()) {
                        (true, false) => (">", f64::ceil),
                        (true, true) => ("<", f64::floor),
                        (false, false) => ("of", f64::round),
                        (false, true) => ("of at least", f64::round),
                    };
                let (value, limit) = (
                    self.signal.written(value, round),
                    self.signal.written(self.limit, f64::round),
                );
                write!(f, " {value} {sign} {limit}")?;
            }
            None => f.write_str(" unknown")?,
        }
        if !is_name && !self.host.is_empty() {
            write!(f, " on {}", self.host)?;
        }
        match &self.missing {
            Some(why) => write!(f, ": {why}"),
            None => Ok(()),
        }
    }
}
