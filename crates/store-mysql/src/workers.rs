//! Workers: registering, heartbeats, leaving, and taking the leases of silent ones.
//!
//! A lease is alive as long as its worker is: its heartbeats say so, and sooner its
//! [presence](crate::presence). Leases are given back by primary key, after a read that locks
//! nothing: a walk along the index of `leased_by` would lock it in the opposite order to a worker
//! that finishes the same batch.

use std::time::Duration;

use reelshift_store::StoreError;
use reelshift_store::ledger::{Lease, Membership, NewWorker, WorkerActivity};
use reelshift_store::length::{HOLDER_CHARACTERS, NAME_CHARACTERS, cut};
use sqlx::{AssertSqlSafe, Connection as _, MySql, MySqlConnection, QueryBuilder};
use uuid::Uuid;

use crate::connection::MySqlStore;
use crate::error::{Error, Result};
use crate::presence::{LOCK, Presence, SERVER, timeout_without_lock};
use crate::timestamp::microseconds;
use crate::{clock, id_list, lost_leases};

pub(crate) async fn register(store: &MySqlStore, worker: &NewWorker) -> Result<()> {
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

pub(crate) async fn heartbeat(
    store: &MySqlStore,
    worker: Uuid,
    activity: &WorkerActivity,
) -> Result<Membership> {
    if report(store, worker, activity).await? {
        return Ok(Membership::Live);
    }
    if !revive(store, worker).await? {
        return Ok(Membership::Unknown);
    }
    report(store, worker, activity).await?;
    Ok(Membership::WasLost)
}

pub(crate) async fn leases(store: &MySqlStore, worker: Uuid) -> Result<Vec<Lease>> {
    let leases: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT seq, lease_token FROM reelshift_batches WHERE leased_by = ? AND state = 'leased'",
    )
    .bind(worker.to_string())
    .fetch_all(&store.pool)
    .await?;
    Ok(leases.into_iter().map(|(seq, token)| Lease { seq, token }).collect())
}

/// Writes what a live worker does, on the connection that shows its presence; `false` when it is
/// not live.
async fn report(store: &MySqlStore, worker: Uuid, activity: &WorkerActivity) -> Result<bool> {
    if let Some(mut presence) = store.presences.take(worker) {
        match write_report(&mut presence, worker, activity).await {
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
    let live = write_report(&mut presence, worker, activity).await?;
    store.presences.keep(worker, presence);
    Ok(live)
}

async fn write_report(
    presence: &mut Presence,
    worker: Uuid,
    activity: &WorkerActivity,
) -> Result<bool> {
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

/// A worker that was taken for lost is live again; `false` when there is none. What it claimed
/// between the loss and now it is about to drop, so nobody would work on it: it goes back too.
async fn revive(store: &MySqlStore, worker: Uuid) -> Result<bool> {
    let mut transaction = store.pool.begin().await?;
    let updated = sqlx::query(
        "UPDATE reelshift_workers SET state = 'live', last_seen_at = NOW(6) WHERE id = ?",
    )
    .bind(worker.to_string())
    .execute(&mut *transaction)
    .await?;
    if updated.rows_affected() == 0 {
        return Ok(false);
    }
    give_back(&mut transaction, worker, false).await?;
    transaction.commit().await?;
    Ok(true)
}

pub(crate) async fn deregister(store: &MySqlStore, worker: Uuid) -> Result<()> {
    let mut transaction = store.pool.begin().await?;
    sqlx::query(
        "UPDATE reelshift_workers SET state = 'left', doing = '', last_seen_at = NOW(6) WHERE id = ?",
    )
    .bind(worker.to_string())
    .execute(&mut *transaction)
    .await?;
    give_back(&mut transaction, worker, false).await?;
    transaction.commit().await?;
    if let Some(presence) = store.presences.take(worker) {
        // It has left, whatever becomes of its connection.
        presence.connection.close().await.ok();
    }
    Ok(())
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

/// Silent workers, and silent ones that left or were lost but whose last claim came
/// through only afterwards.
pub(crate) async fn reap(store: &MySqlStore, timeout: Duration) -> Result<u64> {
    observe_clock(store).await?;
    if !store.contact.lasted(timeout) || store.clock.steady_for() < timeout {
        return Ok(0);
    }
    let silent = silent(store, timeout).await?;
    if silent.is_empty() {
        return Ok(0);
    }
    // It may have stepped between the two looks.
    observe_clock(store).await?;
    if store.clock.steady_for() < timeout {
        return Ok(0);
    }
    let mut reaped = 0;
    for worker in silent {
        reaped += reap_one(store, &worker, timeout).await?;
    }
    Ok(reaped)
}

async fn silent(store: &MySqlStore, timeout: Duration) -> Result<Vec<String>> {
    let silent = format!(
        "SELECT id FROM reelshift_workers WHERE {} AND (state = 'live' \
           OR EXISTS (SELECT 1 FROM reelshift_batches b WHERE b.leased_by = reelshift_workers.id)) \
         ORDER BY id",
        is_silent()
    );
    Ok(sqlx::query_scalar(AssertSqlSafe(silent))
        .bind(microseconds(timeout))
        .bind(microseconds(timeout_without_lock(timeout)))
        .fetch_all(&store.pool)
        .await?)
}

async fn observe_clock(store: &MySqlStore) -> Result<()> {
    let now = sqlx::query_scalar("SELECT UNIX_TIMESTAMP(NOW(6)) + 0e0").fetch_one(&store.pool);
    clock::observe(store, now.await?).await
}

async fn reap_one(store: &MySqlStore, worker: &str, timeout: Duration) -> Result<u64> {
    let worker: Uuid = worker.parse().map_err(|why| Error::unreadable("worker", why))?;
    let mut transaction = store.pool.begin().await?;
    let still_silent = format!(
        "SELECT id FROM reelshift_workers WHERE id = ? AND {} FOR UPDATE SKIP LOCKED",
        is_silent()
    );
    let still_silent: Option<String> = sqlx::query_scalar(AssertSqlSafe(still_silent))
        .bind(worker.to_string())
        .bind(microseconds(timeout))
        .bind(microseconds(timeout_without_lock(timeout)))
        .fetch_optional(&mut *transaction)
        .await?;
    if still_silent.is_none() {
        return Ok(0);
    }
    sqlx::query("UPDATE reelshift_workers SET state = 'lost' WHERE id = ? AND state = 'live'")
        .bind(worker.to_string())
        .execute(&mut *transaction)
        .await?;
    lost_leases::record(&mut transaction, &worker.to_string()).await?;
    let reaped = give_back(&mut transaction, worker, true).await?;
    transaction.commit().await?;
    Ok(reaped)
}

/// Makes whatever `worker` leases pending again; `lost` where it did not give it back itself.
async fn give_back(connection: &mut MySqlConnection, worker: Uuid, lost: bool) -> Result<u64> {
    let seqs: Vec<i64> =
        sqlx::query_scalar("SELECT seq FROM reelshift_batches WHERE leased_by = ? ORDER BY seq")
            .bind(worker.to_string())
            .fetch_all(&mut *connection)
            .await?;
    let mut given_back = 0;
    for seqs in seqs.chunks(id_list::MAX_LISTED_VALUES) {
        let mut query = QueryBuilder::<MySql>::new(
            "UPDATE reelshift_batches SET state = 'pending', leased_by = NULL, lease_token = NULL, \
             leased_at = NULL, lost_leases = lost_leases + ",
        );
        query.push_bind(u32::from(lost)).push(", alone_files = CASE WHEN ").push_bind(lost);
        query.push(" THEN alone_files END WHERE state = 'leased' AND leased_by = ");
        query.push_bind(worker.to_string()).push(" AND seq IN ");
        id_list::push(&mut query, seqs);
        given_back += query.build().execute(&mut *connection).await?.rows_affected();
    }
    Ok(given_back)
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
    async fn silent(store: &MySqlStore) -> Vec<String> {
        super::silent(store, Duration::from_mins(1)).await.expect("an answer")
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
        let id = id.to_string();
        let set = async |column: &str| {
            scratch.execute(format!("UPDATE {database}.reelshift_workers SET {column}")).await;
        };
        set("last_seen_at = NOW(6) - INTERVAL 30 SECOND").await;
        assert_eq!(silent(&store).await, [""; 0], "it is connected");
        drop(process);
        eventually("a worker that is gone", async || {
            (silent(&store).await == [id.clone()]).then_some(())
        })
        .await;
        set("last_seen_at = NOW(6) - INTERVAL 10 SECOND").await;
        assert_eq!(silent(&store).await, [""; 0], "it may connect again");
        set("last_seen_at = NOW(6) - INTERVAL 30 SECOND, lock_server = 'another'").await;
        assert_eq!(silent(&store).await, [""; 0], "this server does not know");
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
