//! Worker processes: registering, heartbeats, and which of them are silent.

use std::time::Duration;

use reelshift_store::ledger::{NewWorker, WorkerActivity};
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::dialect::bind_count;
use crate::error::Result;
use crate::timestamp::{ago, now, seconds_now};
use crate::{SqliteStore, clock, row};

/// Adds a worker, or makes the one with this id live.
pub(crate) async fn insert(store: &SqliteStore, worker: &NewWorker) -> Result<()> {
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

/// Writes what a live worker does; `false` where it is not live.
pub(crate) async fn write_activity(
    store: &SqliteStore,
    worker: Uuid,
    activity: &WorkerActivity,
) -> reelshift_store::Result<bool> {
    store.about_file(update(store, worker, activity).await)
}

async fn update(store: &SqliteStore, worker: Uuid, activity: &WorkerActivity) -> Result<bool> {
    let mut tx = store.write().await?;
    let updated = sqlx::query(concat!(
        "UPDATE reelshift_workers SET last_seen_at = ",
        now!(),
        ", doing = ?, rows_done = ?, bytes_done = ?, rows_per_second = ?, bytes_per_second = ?,
         capacity = ?, chunk_seconds = ?, controls_seen = ?, writes_refused = ?
         WHERE id = ? AND state = 'live'"
    ))
    .bind(&activity.doing)
    .bind(bind_count(activity.rows_done))
    .bind(bind_count(activity.bytes_done))
    .bind(finite(activity.rows_per_second))
    .bind(finite(activity.bytes_per_second))
    .bind(activity.capacity)
    .bind(activity.chunk_seconds)
    .bind(activity.controls_seen)
    .bind(bind_count(activity.writes_refused))
    .bind(worker.to_string())
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(updated.rows_affected() > 0)
}

/// SQLite stores NaN as NULL, which a rate is not.
fn finite(rate: f64) -> f64 {
    if rate.is_finite() { rate } else { 0.0 }
}

/// Does nothing: a worker has no connection of its own here.
#[expect(clippy::unused_async, reason = "the other adapter closes a connection")]
pub(crate) async fn end_activity(_: &SqliteStore, _: Uuid) {}

/// Whether the clock has gone steadily for `timeout`. After an outage (a machine that slept, a
/// disk that hung) every heartbeat is old: the first process back must give the others time for
/// theirs.
pub(crate) async fn may_reap(store: &SqliteStore, timeout: Duration) -> Result<bool> {
    clock::observe(store, seconds_now()).await?;
    Ok(store.clock.steady_for() >= timeout)
}

/// Whether a worker is silent: live until now, or lost or gone and yet leasing, because
/// it claimed once more after its leases were taken.
macro_rules! silent {
    () => {
        "w.last_seen_at < strftime('%Y-%m-%d %H:%M:%f', 'now', ?) AND (w.state = 'live'
         OR EXISTS (SELECT 1 FROM reelshift_batches b WHERE b.leased_by = w.id))"
    };
}

/// Silent workers.
pub(crate) async fn silent(
    connection: &mut SqliteConnection,
    timeout: Duration,
) -> Result<Vec<Uuid>> {
    let rows = sqlx::query(concat!("SELECT w.id FROM reelshift_workers w WHERE ", silent!()))
        .bind(ago(timeout))
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| row::uuid(row, "id")).collect()
}

/// Whether a worker is silent still. Nobody else is reaping it: the transaction has the file to
/// itself.
pub(crate) async fn lock_silent(
    connection: &mut SqliteConnection,
    worker: Uuid,
    timeout: Duration,
) -> Result<bool> {
    let sql = concat!("SELECT 1 FROM reelshift_workers w WHERE ", silent!(), " AND w.id = ?");
    let silent = sqlx::query(sql)
        .bind(ago(timeout))
        .bind(worker.to_string())
        .fetch_optional(connection)
        .await?;
    Ok(silent.is_some())
}
