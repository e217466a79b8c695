//! A worker's presence: one connection of its own, on which its heartbeats are written and which
//! holds a lock by the worker's name. The server frees the lock with the connection, so a process
//! that died is told from one that is slow without waiting for its lease timeout.
//!
//! A lock is known to one server only. So a worker writes down which server it holds it on, and
//! nobody judges by the locks of another: on a cluster, behind a proxy with several servers and
//! after a failover only the heartbeats count.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::MySqlConnection;
use uuid::Uuid;

use crate::connection::MySqlStore;
use crate::error::{Error, Result};

/// Which server a statement is executed on, as SQL.
pub(crate) const SERVER: &str = "CONCAT(@@hostname, ':', @@port, ' ', @@server_id)";

/// The lock of the worker `id`, as SQL.
pub(crate) const LOCK: &str = "CONCAT('reelshift_worker:', id)";

/// How long a connection that was cut may keep the lock from the one after it.
const LOCK_SECONDS: u32 = 1;

/// What of the lease timeout a worker without its lock may be silent for: longer than between two
/// heartbeats, of which there are four in the timeout, since a connection that was cut is made
/// again with the next one.
const PART_OF_TIMEOUT: u32 = 3;

/// For how long a worker may be silent that holds no lock any more.
pub(crate) fn timeout_without_lock(timeout: Duration) -> Duration {
    timeout / PART_OF_TIMEOUT
}

/// The connections of the workers in this process, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Presences(Mutex<HashMap<Uuid, Presence>>);

#[derive(Debug)]
pub(crate) struct Presence {
    pub(crate) connection: MySqlConnection,
    /// The server that holds the lock; `None` where it has not given it.
    pub(crate) server: Option<String>,
}

impl Presences {
    /// Takes the presence of `worker` out of the list. A call that is dropped in the middle of a
    /// statement drops the connection with it, which nobody could use again.
    pub(crate) fn take(&self, worker: Uuid) -> Option<Presence> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&worker)
    }

    pub(crate) fn keep(&self, worker: Uuid, presence: Presence) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(worker, presence);
    }
}

impl Presence {
    /// Connects, and takes the lock of `worker`, which the connection before this one may still
    /// have for a moment. Without it the timeout decides.
    pub(crate) async fn open(store: &MySqlStore, worker: Uuid) -> Result<Self> {
        let mut connection = store.dedicated_connection().await?;
        let lock = format!(
            "SELECT CASE WHEN GET_LOCK({LOCK}, {LOCK_SECONDS}) = 1 THEN {SERVER} END FROM (SELECT ? AS id) AS worker"
        );
        let server = sqlx::query_scalar(sqlx::AssertSqlSafe(lock))
            .bind(worker.to_string())
            .fetch_one(&mut connection)
            .await
            .map_err(Error::from);
        let server = match server {
            // Where locks by name are switched off.
            Err(error) if error.number().is_some() => None,
            server => server?,
        };
        Ok(Self { connection, server })
    }
}
