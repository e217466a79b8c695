//! Worker processes: their heartbeats, and the leases of those that fell silent.

use std::time::Duration;

use reelshift_store::ledger::{Lease, Membership, NewWorker, WorkerActivity};
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::error::Result;
use crate::runs::stored;
use crate::timestamp::{ago, now, seconds_now};
use crate::{SqliteStore, clock, lost_leases};

pub(crate) async fn register(store: &SqliteStore, worker: &NewWorker) -> Result<()> {
    sqlx::query(concat!(
        "INSERT INTO reelshift_workers (id, host, pid, version, state, started_at, last_seen_at)
         VALUES (?, ?, ?, ?, 'live', ",
        now!(),
        ", ",
        now!(),
        ") ON CONFLICT (id) DO UPDATE SET state = 'live', last_seen_at = excluded.last_seen_at"
    ))
    .bind(worker.id.to_string())
    .bind(&worker.host)
    .bind(worker.pid)
    .bind(&worker.version)
    .execute(&store.writer)
    .await?;
    clock::pull_back_signs_of_life(store).await
}

pub(crate) async fn heartbeat(
    store: &SqliteStore,
    worker: Uuid,
    activity: &WorkerActivity,
) -> Result<Membership> {
    let mut tx = store.write().await?;
    let lives: Option<bool> =
        sqlx::query_scalar("SELECT state = 'live' FROM reelshift_workers WHERE id = ?")
            .bind(worker.to_string())
            .fetch_optional(&mut *tx)
            .await?;
    let Some(lives) = lives else { return Ok(Membership::Unknown) };
    if !lives {
        // What it claimed after its leases were taken it is about to drop.
        take_leases(&mut tx, &worker.to_string(), false).await?;
    }
    sqlx::query(concat!(
        "UPDATE reelshift_workers SET state = 'live', last_seen_at = ",
        now!(),
        ", doing = ?, rows_done = ?, bytes_done = ?, rows_per_second = ?, bytes_per_second = ?,
         capacity = ?, chunk_seconds = ?, controls_seen = ?, writes_refused = ? WHERE id = ?"
    ))
    .bind(&activity.doing)
    .bind(stored(activity.rows_done))
    .bind(stored(activity.bytes_done))
    .bind(finite(activity.rows_per_second))
    .bind(finite(activity.bytes_per_second))
    .bind(activity.capacity)
    .bind(activity.chunk_seconds)
    .bind(activity.controls_seen)
    .bind(stored(activity.writes_refused))
    .bind(worker.to_string())
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(if lives { Membership::Live } else { Membership::WasLost })
}

pub(crate) async fn leases(store: &SqliteStore, worker: Uuid) -> Result<Vec<Lease>> {
    let leases: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT seq, lease_token FROM reelshift_batches WHERE leased_by = ? AND state = 'leased'",
    )
    .bind(worker.to_string())
    .fetch_all(&store.readers)
    .await?;
    Ok(leases.into_iter().map(|(seq, token)| Lease { seq, token }).collect())
}

/// SQLite stores NaN as NULL, which a rate is not.
fn finite(rate: f64) -> f64 {
    if rate.is_finite() { rate } else { 0.0 }
}

pub(crate) async fn deregister(store: &SqliteStore, worker: Uuid) -> Result<()> {
    let mut tx = store.write().await?;
    take_leases(&mut tx, &worker.to_string(), false).await?;
    sqlx::query(concat!(
        "UPDATE reelshift_workers SET state = 'left', doing = '', last_seen_at = ",
        now!(),
        " WHERE id = ?"
    ))
    .bind(worker.to_string())
    .execute(&mut *tx)
    .await?;
    Ok(tx.commit().await?)
}

/// Whether a worker is silent: live until now, or lost or gone and yet leasing, because
/// it claimed once more after its leases were taken.
macro_rules! silent {
    () => {
        "w.last_seen_at < strftime('%Y-%m-%d %H:%M:%f', 'now', ?) AND (w.state = 'live'
         OR EXISTS (SELECT 1 FROM reelshift_batches b WHERE b.leased_by = w.id))"
    };
}

pub(crate) async fn reap(store: &SqliteStore, timeout: Duration) -> Result<u64> {
    // After an outage (a machine that slept, a disk that hung) every heartbeat is old:
    // the first process back must give the others time for theirs.
    clock::observe(store, seconds_now()).await?;
    if store.clock.steady_for() < timeout {
        return Ok(0);
    }
    let silent: Vec<String> =
        sqlx::query_scalar(concat!("SELECT w.id FROM reelshift_workers w WHERE ", silent!()))
            .bind(ago(timeout))
            .fetch_all(&store.readers)
            .await?;
    let mut reaped = 0;
    for worker in silent {
        let mut tx = store.write().await?;
        let lost = sqlx::query(concat!(
            "UPDATE reelshift_workers AS w SET state = CASE state WHEN 'live' THEN 'lost' ELSE state END WHERE ",
            silent!(),
            " AND w.id = ?"
        ))
        .bind(ago(timeout))
        .bind(&worker)
        .execute(&mut *tx)
        .await?;
        if lost.rows_affected() > 0 {
            lost_leases::record(&mut tx, &worker).await?;
            reaped += take_leases(&mut tx, &worker, true).await?;
        }
        tx.commit().await?;
    }
    Ok(reaped)
}

/// Makes a worker's batches claimable as they are; `lost` where it did not give them back
/// itself.
async fn take_leases(tx: &mut SqliteConnection, worker: &str, lost: bool) -> Result<u64> {
    Ok(sqlx::query(
        "UPDATE reelshift_batches SET state = 'pending', leased_by = NULL, lease_token = NULL,
             leased_at = NULL, lost_leases = lost_leases + ?1,
             alone_files = CASE WHEN ?1 THEN alone_files END
         WHERE leased_by = ?2 AND state = 'leased'",
    )
    .bind(lost)
    .bind(worker)
    .execute(tx)
    .await?
    .rows_affected())
}
