//! Workers: registering, heartbeats, and which of them are silent.
//!
//! A lease is alive as long as its worker is: its heartbeats say so, and sooner its
//! [presence](crate::presence).

use std::time::Duration;

use reelshift_store::StoreError;
use reelshift_store::ledger::{NewWorker, WorkerActivity};
use reelshift_store::length::{HOLDER_CHARACTERS, NAME_CHARACTERS, cut};
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection};
use uuid::Uuid;

use crate::connection::MySqlStore;
use crate::deadline::{SHORT, within};
use crate::error::Result;
use crate::presence::{LOCK, Presence, SERVER, timeout_without_lock};
use crate::timestamp::microseconds;
use crate::{clock, row};

/// Adds a worker, or makes the one with this id live.
pub(crate) async fn insert(store: &MySqlStore, worker: &NewWorker) -> Result<()> {
    sqlx::query(
        "INSERT INTO reelshift_workers (id, host, pid, version) VALUES (?, ?, ?, ?) \
         ON DUPLICATE KEY UPDATE state = 'live', last_seen_at = NOW(6)",
    )
    .bind(worker.id.to_string())
    .bind(cut(&worker.host, HOLDER_CHARACTERS))
    .bind(worker.pid)
    .bind(cut(&worker.version, NAME_CHARACTERS))
    .execute(&store.pool)
    .await?;
    clock::pull_back_signs_of_life(store).await
}

/// Writes what a live worker does; `false` where it is not live.
pub(crate) async fn write_activity(
    store: &MySqlStore,
    worker: Uuid,
    activity: &WorkerActivity,
) -> reelshift_store::Result<bool> {
    let written = within(SHORT, write_on_presence(store, worker, activity)).await;
    // A lock that another holds is an answer of the database too.
    store.contact.heartbeat(!matches!(written, Err(StoreError::Transient { .. })));
    written
}

/// On the connection that shows the worker's presence.
async fn write_on_presence(
    store: &MySqlStore,
    worker: Uuid,
    activity: &WorkerActivity,
) -> Result<bool> {
    if let Some(mut presence) = store.presences.take(worker) {
        match update(&mut presence, worker, activity).await {
            Ok(live) => {
                store.presences.keep(worker, presence);
                return Ok(live);
            }
            Err(error) => {
                let error = StoreError::from(error);
                tracing::debug!(%error, "a worker's connection was lost: connecting again");
            }
        }
    }
    let mut presence = Presence::open(store, worker).await?;
    let live = update(&mut presence, worker, activity).await?;
    store.presences.keep(worker, presence);
    Ok(live)
}

async fn update(presence: &mut Presence, worker: Uuid, activity: &WorkerActivity) -> Result<bool> {
    let updated = sqlx::query(
        "UPDATE reelshift_workers SET last_seen_at = NOW(6), doing = ?, rows_done = ?, bytes_done = ?, \
           rows_per_second = ?, bytes_per_second = ?, capacity = ?, chunk_seconds = ?, controls_seen = ?, writes_refused = ?, \
           lock_server = ? \
         WHERE id = ? AND state = 'live'",
    )
    .bind(&activity.doing)
    .bind(activity.rows_done)
    .bind(activity.bytes_done)
    .bind(activity.rows_per_second)
    .bind(activity.bytes_per_second)
    .bind(activity.capacity)
    .bind(activity.chunk_seconds)
    .bind(activity.controls_seen)
    .bind(activity.writes_refused)
    .bind(&presence.server)
    .bind(worker.to_string())
    .execute(&mut presence.connection)
    .await?;
    Ok(updated.rows_affected() > 0)
}

/// Closes the connection of a worker that has left.
pub(crate) async fn end_activity(store: &MySqlStore, worker: Uuid) {
    if let Some(presence) = store.presences.take(worker) {
        // It has left, whatever becomes of its connection.
        presence.connection.close().await.ok();
    }
}

/// Whether the worker of a row is silent: for the timeout, or where its server has freed its lock
/// for a part of it. Takes both in microseconds, the timeout first.
fn is_silent() -> String {
    format!(
        "(last_seen_at < NOW(6) - INTERVAL ? MICROSECOND \
           OR (state = 'live' AND last_seen_at < NOW(6) - INTERVAL ? MICROSECOND \
               AND lock_server = {SERVER} AND IS_FREE_LOCK({LOCK}) = 1))"
    )
}

/// Whether the database has answered, and its clock has gone steadily, for `timeout`.
pub(crate) async fn may_reap(store: &MySqlStore, timeout: Duration) -> Result<bool> {
    let now = sqlx::query_scalar("SELECT UNIX_TIMESTAMP(NOW(6)) + 0e0").fetch_one(&store.pool);
    clock::observe(store, now.await?).await?;
    Ok(store.contact.lasted(timeout) && store.clock.steady_for() >= timeout)
}

/// Silent workers; of those that are not live only the ones that lease something.
pub(crate) async fn silent(
    connection: &mut MySqlConnection,
    timeout: Duration,
) -> Result<Vec<Uuid>> {
    let silent = format!(
        "SELECT id FROM reelshift_workers WHERE {} AND (state = 'live' \
           OR EXISTS (SELECT 1 FROM reelshift_batches b WHERE b.leased_by = reelshift_workers.id)) \
         ORDER BY id",
        is_silent()
    );
    let rows = sqlx::query(AssertSqlSafe(silent))
        .bind(microseconds(timeout))
        .bind(microseconds(timeout_without_lock(timeout)))
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| row::uuid(row, "id")).collect()
}

/// Locks the row of a worker that is silent still and that nobody else is reaping.
pub(crate) async fn lock_silent(
    connection: &mut MySqlConnection,
    worker: Uuid,
    timeout: Duration,
) -> Result<bool> {
    let still_silent = format!(
        "SELECT id FROM reelshift_workers WHERE id = ? AND {} FOR UPDATE SKIP LOCKED",
        is_silent()
    );
    let still_silent = sqlx::query(AssertSqlSafe(still_silent))
        .bind(worker.to_string())
        .bind(microseconds(timeout))
        .bind(microseconds(timeout_without_lock(timeout)))
        .fetch_optional(connection)
        .await?;
    Ok(still_silent.is_some())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use reelshift_plan::JobKind;
    use reelshift_store::SharedStore;
    use reelshift_store::ledger::{Membership, WorkerActivity};
    use reelshift_store_conformance::arrange::{
        claim_one, eventually, running_batches, try_expand, worker,
    };

    use sqlx::AssertSqlSafe;
    use uuid::Uuid;

    use crate::ConnectOptions;
    use crate::connection::MySqlStore;
    use crate::connection::scratch::Scratch;

    const HOUR_SECONDS: f64 = 3_600.0;
    const TIMEOUT: Duration = Duration::from_millis(300);

    /// What the database's clock said last, to this store, was `ahead` of what it says now.
    async fn step(store: &MySqlStore, ahead: f64) {
        let now: f64 = sqlx::query_scalar("SELECT UNIX_TIMESTAMP(NOW(6)) + 0e0")
            .fetch_one(&store.pool)
            .await
            .expect("the clock is read");
        store.clock.observe(now + ahead);
    }

    /// Whom a store takes for silent that was heard of 30 s ago.
    async fn silent(store: &MySqlStore) -> Vec<Uuid> {
        let mut connection = store.pool.acquire().await.expect("a connection");
        super::silent(&mut connection, Duration::from_mins(1)).await.expect("an answer")
    }

    #[tokio::test]
    async fn a_process_that_died_is_told_from_a_slow_one() {
        let scratch = Scratch::with_videos().await;
        let database = &scratch.database;
        let store = scratch.open(ConnectOptions::default()).await;
        let shared: SharedStore = Arc::new(store.clone());
        try_expand(&shared).await.expect("expand is applied");
        let process: SharedStore = Arc::new(scratch.open(ConnectOptions::default()).await);
        let id = worker(&process).await;
        process.heartbeat(id, &WorkerActivity::default()).await.expect("it beats");
        let set = async |column: &str| {
            scratch.execute(format!("UPDATE {database}.reelshift_workers SET {column}")).await;
        };
        set("last_seen_at = NOW(6) - INTERVAL 30 SECOND").await;
        assert!(silent(&store).await.is_empty(), "it is connected");
        drop(process);
        eventually("a worker that is gone", async || (silent(&store).await == [id]).then_some(()))
            .await;
        set("last_seen_at = NOW(6) - INTERVAL 10 SECOND").await;
        assert!(silent(&store).await.is_empty(), "it may connect again");
        set("last_seen_at = NOW(6) - INTERVAL 30 SECOND, lock_server = 'another'").await;
        assert!(silent(&store).await.is_empty(), "this server does not know");
        set("last_seen_at = NOW(6) - INTERVAL 90 SECOND").await;
        assert_eq!(silent(&store).await, [id], "the timeout holds all the same");
        scratch.drop_database().await;
    }

    #[tokio::test]
    async fn a_heartbeat_outlives_its_connection() {
        let scratch = Scratch::with_videos().await;
        let store = scratch.open(ConnectOptions::default()).await;
        let shared: SharedStore = Arc::new(store.clone());
        try_expand(&shared).await.expect("expand is applied");
        let id = worker(&shared).await;
        let beat = async || shared.heartbeat(id, &WorkerActivity::default()).await;
        assert_eq!(beat().await.expect("it beats"), Membership::Live);
        let lock = format!("SELECT CAST(IS_USED_LOCK('reelshift_worker:{id}') AS SIGNED)");
        let holder = async || {
            sqlx::query_scalar::<_, Option<i64>>(AssertSqlSafe(lock.clone()))
                .fetch_one(&store.pool)
                .await
                .expect("an answer")
        };
        let first = holder().await.expect("its lock is held");
        scratch.execute(format!("KILL {first}")).await;
        eventually("a lock that is free", async || holder().await.is_none().then_some(())).await;
        assert_eq!(beat().await.expect("it beats"), Membership::Live);
        assert_ne!(holder().await, None, "it holds its lock again");
        shared.deregister_worker(id).await.expect("it leaves");
        assert_eq!(holder().await, None);
        scratch.drop_database().await;
    }

    #[tokio::test]
    async fn a_clock_that_steps_takes_no_work_and_stops_none() {
        let scratch = Scratch::with_videos().await;
        let database = &scratch.database;
        let store = scratch.open(ConnectOptions::default()).await;
        let shared: SharedStore = Arc::new(store.clone());
        try_expand(&shared).await.expect("expand is applied");
        running_batches(&shared, JobKind::Hash, 2).await;
        let dead = worker(&shared).await;
        claim_one(&shared, dead, JobKind::Hash).await;
        eventually("a store that is old enough to reap", async || {
            (store.clock.steady_for() >= TIMEOUT).then_some(())
        })
        .await;

        // Forwards: every sign of life is an hour old, and says nothing.
        step(&store, -HOUR_SECONDS).await;
        scratch
            .execute(format!(
                "UPDATE {database}.reelshift_workers SET last_seen_at = NOW(6) - INTERVAL 1 HOUR"
            ))
            .await;
        assert_eq!(shared.reap(TIMEOUT).await.expect("an answer"), 0, "all of them may live");

        // Back: whoever is dead was seen in an hour, and a retry is due in an hour and 4 minutes.
        step(&store, HOUR_SECONDS).await;
        for (table, set) in [
            ("workers", "last_seen_at = NOW(6) + INTERVAL 1 HOUR"),
            ("duties", "beat_at = NOW(6) + INTERVAL 1 HOUR"),
            ("batches", "run_at = NOW(6) + INTERVAL 64 MINUTE"),
        ] {
            scratch.execute(format!("UPDATE {database}.reelshift_{table} SET {set}")).await;
        }
        assert_eq!(shared.reap(TIMEOUT).await.expect("an answer"), 0, "it may live");
        let reaped = eventually("the dead worker to be noticed", async || {
            let reaped = shared.reap(TIMEOUT).await.expect("an answer");
            (reaped > 0).then_some(reaped)
        });
        assert_eq!(reaped.await, 1);
        let heir = worker(&shared).await;
        let claimed = shared.claim(heir, JobKind::Hash, 5).await.expect("a claim");
        assert_eq!(claimed.len(), 2, "both are due");
        scratch.drop_database().await;
    }
}
