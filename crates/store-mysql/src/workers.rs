//! Workers: registering, heartbeats, leaving, and taking the leases of silent ones.
//!
//! A lease is alive as long as its worker is. Leases are given back by primary key, after
//! a read that locks nothing: a walk along the index of `leased_by` would lock it in the
//! opposite order to a worker that finishes the same batch.

use std::time::Duration;

use reelshift_store::ledger::{NewWorker, WorkerActivity, no_worker};
use reelshift_store::length::{HOLDER_CHARACTERS, NAME_CHARACTERS, cut};
use sqlx::{MySql, MySqlConnection, QueryBuilder};
use uuid::Uuid;

use crate::connection::MySqlStore;
use crate::error::{Error, Result};
use crate::timestamp::microseconds;
use crate::{id_list, lost_leases};

pub(crate) async fn register(store: &MySqlStore, worker: &NewWorker) -> Result<()> {
    sqlx::query("INSERT INTO reelshift_workers (id, host, pid, version) VALUES (?, ?, ?, ?)")
        .bind(worker.id.to_string())
        .bind(cut(&worker.host, HOLDER_CHARACTERS))
        .bind(worker.pid)
        .bind(cut(&worker.version, NAME_CHARACTERS))
        .execute(&store.pool)
        .await?;
    Ok(())
}

pub(crate) async fn heartbeat(
    store: &MySqlStore,
    worker: Uuid,
    activity: &WorkerActivity,
) -> Result<bool> {
    let lives = report(store, worker, activity).await?;
    if !lives {
        revive(store, worker).await?;
        report(store, worker, activity).await?;
    }
    Ok(lives)
}

/// Writes what a live worker does; `false` when it is not live.
async fn report(store: &MySqlStore, worker: Uuid, activity: &WorkerActivity) -> Result<bool> {
    let updated = sqlx::query(
        "UPDATE reelshift_workers SET last_seen_at = NOW(6), doing = ?, rows_done = ?, bytes_done = ?, \
           rows_per_second = ?, bytes_per_second = ?, capacity = ?, chunk_seconds = ?, controls_seen = ?, writes_refused = ? \
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
    .bind(worker.to_string())
    .execute(&store.pool)
    .await?;
    Ok(updated.rows_affected() > 0)
}

/// A worker that was taken for lost is live again. What it claimed between the loss and
/// now it is about to drop, so nobody would work on it: it goes back too.
async fn revive(store: &MySqlStore, worker: Uuid) -> Result<()> {
    let mut transaction = store.pool.begin().await?;
    let updated = sqlx::query(
        "UPDATE reelshift_workers SET state = 'live', last_seen_at = NOW(6) WHERE id = ?",
    )
    .bind(worker.to_string())
    .execute(&mut *transaction)
    .await?;
    if updated.rows_affected() == 0 {
        return Err(Error::Store(no_worker(worker)));
    }
    give_back(&mut transaction, worker, false).await?;
    transaction.commit().await?;
    Ok(())
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
    Ok(())
}

/// Silent workers, and silent ones that left or were lost but whose last claim came
/// through only afterwards.
pub(crate) async fn reap(store: &MySqlStore, timeout: Duration) -> Result<u64> {
    if !store.contact.lasted(timeout) {
        return Ok(0);
    }
    let silent: Vec<String> = sqlx::query_scalar(
        "SELECT w.id FROM reelshift_workers w \
         WHERE w.last_seen_at < NOW(6) - INTERVAL ? MICROSECOND AND (w.state = 'live' \
           OR EXISTS (SELECT 1 FROM reelshift_batches b WHERE b.leased_by = w.id)) \
         ORDER BY w.id",
    )
    .bind(microseconds(timeout))
    .fetch_all(&store.pool)
    .await?;
    let mut reaped = 0;
    for worker in silent {
        reaped += reap_one(store, &worker, timeout).await?;
    }
    Ok(reaped)
}

async fn reap_one(store: &MySqlStore, worker: &str, timeout: Duration) -> Result<u64> {
    let worker: Uuid = worker.parse().map_err(|why| Error::unreadable("worker", why))?;
    let mut transaction = store.pool.begin().await?;
    let still_silent: Option<String> = sqlx::query_scalar(
        "SELECT id FROM reelshift_workers \
         WHERE id = ? AND last_seen_at < NOW(6) - INTERVAL ? MICROSECOND FOR UPDATE SKIP LOCKED",
    )
    .bind(worker.to_string())
    .bind(microseconds(timeout))
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
