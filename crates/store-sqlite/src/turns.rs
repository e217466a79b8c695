//! Turns at the file's write lock.
//!
//! SQLite lets one writer in at a time. The others look again after 1 ms, then ever more
//! rarely, up to 100 ms apart, so processes that write without a rest leave an application
//! no gap to find. Therefore the processes of reelshift write one after another, and after
//! each transaction they all leave the lock free for several times as long as it was held.

use std::fs::File;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use sqlx::{Sqlite, SqliteConnection, Transaction};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// The lock is free for this many times as long as it was held.
const REST_PER_HELD: u32 = 3;
/// A rest lasts no longer: within this time every writer that waits has looked again.
const MAX_REST: Duration = Duration::from_millis(100);
/// Between two tries for the turn.
const RETRY_DELAY: Duration = Duration::from_millis(1);
/// A turn that is not had within this time is not waited for: somebody else may hold a lock
/// on the directory. The write lock itself keeps the database right.
const TURN_TIMEOUT: Duration = Duration::from_secs(2);

/// The turns at one database file.
#[derive(Debug)]
pub(crate) struct Turns {
    /// The directory of the database, whose advisory lock is the turn: it needs no file of
    /// its own, and it is free as soon as its process is gone. (The database file itself
    /// must not be opened beside SQLite: closing it would free SQLite's locks.) None where
    /// it cannot be opened; tasks of this process then still take turns.
    directory: Option<File>,
}

impl Turns {
    /// The turns at `file`. Tasks of this process wait for theirs in order.
    pub(crate) fn new(file: &Path) -> Arc<Mutex<Self>> {
        let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = File::open(directory.unwrap_or(Path::new("."))).ok();
        Arc::new(Mutex::new(Self { directory }))
    }

    fn lock(&self, operation: FlockOperation) -> bool {
        self.directory.as_ref().is_none_or(|directory| flock(directory, operation).is_ok())
    }
}

/// The right to write; the next turn begins some time after this one is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Option<OwnedMutexGuard<Turns>>,
    began: Instant,
}

impl Turn {
    pub(crate) async fn wait(turns: &Arc<Mutex<Turns>>) -> Self {
        let turns = Arc::clone(turns).lock_owned().await;
        let deadline = Instant::now() + TURN_TIMEOUT;
        while !turns.lock(FlockOperation::NonBlockingLockExclusive) && Instant::now() < deadline {
            tokio::time::sleep(RETRY_DELAY).await;
        }
        Self { turns: Some(turns), began: Instant::now() }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let rest = (self.began.elapsed() * REST_PER_HELD).min(MAX_REST);
        let turns = self.turns.take();
        let end = move || {
            if let Some(turns) = turns {
                turns.lock(FlockOperation::Unlock);
            }
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                tokio::time::sleep(rest).await;
                end();
            })),
            Err(_) => end(),
        }
    }
}

/// A transaction that may write, in its turn.
#[derive(Debug)]
pub(crate) struct Write {
    // In this order: the turn ends after the transaction.
    transaction: Transaction<'static, Sqlite>,
    turn: Turn,
}

impl Write {
    pub(crate) fn new(transaction: Transaction<'static, Sqlite>, mut turn: Turn) -> Self {
        // Waiting for somebody else's transaction holds nothing.
        turn.began = Instant::now();
        Self { transaction, turn }
    }

    pub(crate) async fn commit(self) -> sqlx::Result<()> {
        // The turn ends when this returns, however that is.
        let Self { transaction, turn: _turn } = self;
        transaction.commit().await
    }
}

impl Deref for Write {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.transaction
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{ConnectOptions, SqliteStore, connect};

    const HELD: Duration = Duration::from_millis(20);

    async fn store(directory: &Path) -> SqliteStore {
        let url = format!("sqlite://{}", directory.join("platform.db").display());
        let options = ConnectOptions { max_connections: 1, create: true };
        connect(&url, options).await.expect("a database")
    }

    /// Two stores are to each other as two processes are.
    #[tokio::test(flavor = "multi_thread")]
    async fn everybody_leaves_the_lock_free_for_longer_than_it_was_held() {
        let directory = tempfile::tempdir().expect("a directory");
        let (first, second) = (store(directory.path()).await, store(directory.path()).await);
        for next in [&first, &second] {
            let held = first.write().await.expect("a transaction");
            tokio::time::sleep(HELD).await;
            held.commit().await.expect("committed");
            let ended = Instant::now();
            next.write().await.expect("a transaction").commit().await.expect("committed");
            let rest = ended.elapsed();
            assert!(rest >= HELD * 2, "the next transaction came {rest:?} after one of {HELD:?}");
        }
    }

    /// What is given up (its future is dropped) rests like what is done.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_transaction_that_was_dropped_rests_as_well() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = store(directory.path()).await;
        let held = store.write().await.expect("a transaction");
        tokio::time::sleep(HELD).await;
        drop(held);
        let ended = Instant::now();
        drop(store.write().await.expect("a transaction"));
        assert!(ended.elapsed() >= HELD * 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_lock_of_somebody_else_on_the_directory_stops_nobody() {
        let directory = tempfile::tempdir().expect("a directory");
        let foreign = File::open(directory.path()).expect("the directory");
        flock(&foreign, FlockOperation::LockExclusive).expect("a lock");
        let store = store(directory.path()).await;
        store.write().await.expect("a transaction").commit().await.expect("committed");
    }
}
