//! What metrics tell of the queue and of the connections to the database.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reelshift_plan::JobKind;
use serde::{Deserialize, Serialize};

use crate::Result;

/// Pending batches are counted up to this many a run: enough to scale by, and a walk along
/// the claim index of a few milliseconds whatever is pending.
pub const MAX_COUNTED_BATCHES: u32 = 10_000;

/// The pending batches of active runs, of one kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueueDepth {
    pub kind: JobKind,
    /// Counted up to [`MAX_COUNTED_BATCHES`] a run.
    pub pending: u64,
    /// Seconds since the oldest of them became due, by the database's clock; 0 where none is.
    pub oldest_seconds: f64,
}

/// A pool of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolState {
    pub name: &'static str,
    /// Connections that are open, those that are idle among them.
    pub open: u32,
    pub idle: u32,
    pub max: u32,
}

/// The kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum System {
    #[strum(serialize = "mariadb")]
    MariaDb,
    #[strum(serialize = "mysql")]
    MySql,
    Sqlite,
}

impl System {
    /// Whether it is a file in this process, and no server.
    #[must_use]
    pub const fn is_embedded(self) -> bool {
        matches!(self, Self::Sqlite)
    }
}

/// Where the database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseAddress {
    pub system: System,
    /// The database's name; of SQLite, its file.
    pub namespace: String,
    /// Host and port, where there is a server.
    pub server: Option<(String, u16)>,
}

/// Figures for metrics.
#[async_trait]
pub trait Vitals {
    /// The queue's depth for every kind of work. Its cost is bounded; batches of paused
    /// runs do not count, since nobody can do them now.
    async fn queue_depths(&self) -> Result<Vec<QueueDepth>>;

    /// The database's clock: the lightest question that shows that it answers.
    async fn now(&self) -> Result<DateTime<Utc>>;

    /// The pools of this process as they are now.
    fn pools(&self) -> Vec<PoolState>;

    /// Where the database is, without any password.
    fn address(&self) -> DatabaseAddress;
}
