//! What a database reports of its load, for the throttle: read by one worker of the fleet
//! about once a second, so every read is one or two cheap statements.
//!
//! What the figures mean, and what follows from them, is `reelshift_plan::throttle`'s.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reelshift_plan::Connections;
use reelshift_plan::impact::StatementTotal;

use crate::Result;
use crate::duties::DutyLease;

/// A figure, or why this database or account does not give it.
#[derive(Debug, Clone, PartialEq)]
pub enum Figure {
    Is(f64),
    /// One sentence for people: why, and what would make it seen.
    NotGiven(String),
}

impl Figure {
    /// The figure, where there is one.
    #[must_use]
    pub const fn value(&self) -> Option<f64> {
        match self {
            Self::Is(value) => Some(*value),
            Self::NotGiven(_) => None,
        }
    }
}

/// What a server has counted of single statements, or why it has not.
#[derive(Debug, Clone, PartialEq)]
pub enum Statements {
    Are(Vec<StatementTotal>),
    /// One sentence for people: why, and what would make them seen.
    NotGiven(String),
}

/// What a database reports of its load at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerSignals {
    /// The database's clock.
    pub at: DateTime<Utc>,
    /// Which server or file, for people.
    pub host: String,
    /// Processors of the server's machine, where it says so.
    pub processors: Option<u32>,
    /// Statements being executed, without the one that asks.
    pub threads_running: Figure,
    /// Row versions that InnoDB keeps for old readers.
    pub history_length: Figure,
    /// Transactions that wait for a row lock.
    pub lock_waits: Figure,
    /// Connections, where there is a server that counts them.
    pub connections: Option<Connections>,
    /// Bytes that are free on the database's disk, and where that is.
    pub free_disk: Figure,
    pub disk: String,
}

/// What the live workers say of themselves with their heartbeats.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct FleetSignals {
    /// Live workers.
    pub workers: u32,
    /// Backfill chunks that they would run at once.
    pub capacity: u32,
    /// Seconds that a chunk took of late, on average over the workers that ran any.
    pub chunk_seconds: Option<f64>,
}

/// Videos that were read to learn how long it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadChunk {
    /// The last one.
    pub upto: String,
    pub rows: u32,
}

/// A database that reports its load.
#[async_trait]
pub trait ThrottleSignals {
    /// All of it.
    async fn server_signals(&self) -> Result<ServerSignals>;

    /// [`ServerSignals::threads_running`] alone, to be asked for several times a second: it jumps.
    async fn threads_running(&self) -> Result<Figure>;

    /// The number that a scalar subquery of the operator's returns; `None` where it returns
    /// none. It changes nothing, and may take a second.
    async fn signal_query(&self, sql: &str) -> Result<Option<f64>>;

    /// The fleet's own part.
    async fn fleet_signals(&self) -> Result<FleetSignals>;

    /// Reads up to `rows` videos after `after` in the order of their keys, as a chunk of a
    /// backfill does, and changes nothing; `None` after the last video, and where there is no
    /// server whose load would show.
    async fn read_chunk(&self, after: Option<&str>, rows: u32) -> Result<Option<ReadChunk>>;

    /// A canary on a connection of its own, whose row is the duty `lease`; `None`
    /// where this database's application cannot be told from the canary.
    async fn canary(&self, lease: &DutyLease) -> Result<Option<Box<dyn Canary>>>;
}

/// Executes what an application does, to learn how long that takes.
#[async_trait]
pub trait Canary: std::fmt::Debug + Send {
    /// Reads a video by its key and updates a row of its own; how long both took.
    ///
    /// # Errors
    /// `LeaseLost` when another process has the row; other trouble with the connection, which
    /// is of no use then.
    async fn beat(&mut self) -> Result<Duration>;

    /// Statements being executed, without the one that asks.
    async fn threads_running(&mut self) -> Result<Figure>;

    /// What the server has counted of the statements of this database, those on which it has
    /// spent most: of the application and of the fleet, as far as they are not known to be the
    /// fleet's.
    async fn statements(&mut self) -> Result<Statements>;
}

/// A server that follows the database. It is connected to when it is first asked, and again
/// after every failure.
#[async_trait]
pub trait Replica: std::fmt::Debug + Send + Sync {
    /// Its name for people, without any password.
    fn host(&self) -> &str;

    /// When the holder of the fleet's duty `duty` last beat, as far as this replica has
    /// followed: the primary's clock, carried here by replication. `None` where nobody
    /// had it yet.
    ///
    /// # Errors
    /// When it cannot be reached, does not answer within two seconds, or has no such table.
    async fn beat_at(&self, duty: &str) -> Result<Option<DateTime<Utc>>>;
}
