//! Worker processes, as the ledger knows them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

/// A worker process, registered for as long as it lives.
#[derive(Debug, Clone)]
pub struct NewWorker {
    /// Unique to this start of the process.
    pub id: Uuid,
    pub host: String,
    pub pid: u32,
    pub version: String,
}

/// What a heartbeat found of its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    Live,
    /// Others had taken it for lost, and its leases.
    WasLost,
    /// It is not registered, or not any more: the database that it registered with has failed,
    /// and its heir had not heard of it. Nothing was written.
    Unknown,
}

/// What a worker says of itself with every heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerActivity {
    /// What it does now, for people.
    pub doing: String,
    /// Since it started.
    pub rows_done: u64,
    pub bytes_done: u64,
    /// Recent rates.
    pub rows_per_second: f64,
    pub bytes_per_second: f64,
    /// Backfill chunks that it would run at once, unthrottled.
    pub capacity: u32,
    /// Seconds that its chunks took since the last heartbeat, on average; `None` where it
    /// ran none.
    pub chunk_seconds: Option<f64>,
    /// [`FleetView::version`](crate::controls::FleetView) of what it goes by; 0 before it
    /// has read anything.
    pub controls_seen: i64,
    /// Writes of its own that the fence refused, since it started.
    pub writes_refused: u64,
}

/// A moment, by the database's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// So long ago.
    Ago(Duration),
    At(DateTime<Utc>),
}
