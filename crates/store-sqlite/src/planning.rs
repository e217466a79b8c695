//! The right to plan a run, and the batches that its holder adds.

use std::time::Duration;

use reelshift_plan::RunState;
use reelshift_store::StoreError;
use reelshift_store::ledger::{Bounds, NewBatch, PRIORITY_PLANNED, PRIORITY_RERUN, PlannerLease};
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use crate::error::Result;
use crate::id_list::id_array;
use crate::run_rows::{self, run_columns};
use crate::runs::stored;
use crate::timestamp::{ago, now};
use crate::{SqliteStore, row};

pub(crate) async fn take(
    store: &SqliteStore,
    run: Uuid,
    planner: &str,
    timeout: Duration,
) -> Result<Option<PlannerLease>> {
    // Watchers and workers ask again and again: a refusal must not take the write lock.
    if alive(store, run, timeout).await? || waits(store, run).await? {
        return Ok(None);
    }
    let row = sqlx::query(concat!(
        "UPDATE reelshift_runs SET planner = ?1, planner_token = (random() & 9223372036854775807) | 1,
             planner_seen_at = ",
        now!(),
        " WHERE id = ?2 AND state IN ('planning', 'sweeping')
           AND (planner_token IS NULL OR planner_seen_at < strftime('%Y-%m-%d %H:%M:%f', 'now', ?3))
           AND (sweep_at IS NULL OR sweep_at <= strftime('%Y-%m-%d %H:%M:%f', 'now'))
         RETURNING planner_token, ",
        run_columns!()
    ))
    .bind(planner)
    .bind(run.to_string())
    .bind(ago(timeout))
    .fetch_optional(&store.writer)
    .await?;
    row.map(|row| {
        Ok(PlannerLease { run: run_rows::read(&row)?, token: row.try_get("planner_token")? })
    })
    .transpose()
}

/// Whether the run's sweep is not due yet.
async fn waits(store: &SqliteStore, run: Uuid) -> Result<bool> {
    Ok(sqlx::query_scalar(concat!(
        "SELECT EXISTS (SELECT 1 FROM reelshift_runs WHERE id = ? AND sweep_at > ",
        now!(),
        ")"
    ))
    .bind(run.to_string())
    .fetch_one(&store.readers)
    .await?)
}

pub(crate) async fn alive(store: &SqliteStore, run: Uuid, timeout: Duration) -> Result<bool> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM reelshift_runs WHERE id = ? AND planner_token IS NOT NULL
         AND planner_seen_at >= strftime('%Y-%m-%d %H:%M:%f', 'now', ?))",
    )
    .bind(run.to_string())
    .bind(ago(timeout))
    .fetch_one(&store.readers)
    .await?)
}

pub(crate) async fn add_batches(
    store: &SqliteStore,
    lease: &PlannerLease,
    planned_to: Option<&str>,
    batches: &[NewBatch],
) -> Result<()> {
    let sum = |of: fn(&NewBatch) -> u64| batches.iter().map(of).fold(0, u64::saturating_add);
    let mut tx = store.write().await?;
    let fenced = sqlx::query(concat!(
        "UPDATE reelshift_runs SET planned_to = COALESCE(?1, planned_to), planner_seen_at = ",
        now!(),
        ", round_batches = round_batches + ?2, batches_total = batches_total + ?2,
             rows_total = rows_total + ?3, bytes_total = bytes_total + ?4
         WHERE id = ?5 AND planner_token = ?6 AND state IN ('planning', 'sweeping')"
    ))
    .bind(planned_to)
    .bind(stored(batches.len() as u64))
    .bind(stored(sum(|batch| batch.rows_total)))
    .bind(stored(sum(|batch| batch.bytes_total)))
    .bind(lease.run.id.to_string())
    .bind(lease.token)
    .execute(&mut *tx)
    .await?;
    if fenced.rows_affected() == 0 {
        return Err(StoreError::LeaseLost.into());
    }
    let run = lease.run.id.to_string();
    for batch in batches {
        insert(&mut tx, &run, Origin::Planned, lease.run.plan.max_attempts, batch).await?;
    }
    Ok(tx.commit().await?)
}

/// Where a batch comes from.
pub(crate) enum Origin<'a> {
    Planned,
    /// A failed batch, by id, and its last error.
    Failed {
        id: &'a str,
        last_error_id: Option<&'a str>,
    },
    /// Items that the batch of this id had set aside.
    Quarantine {
        of: &'a str,
    },
}

/// Adds one batch, due at once.
pub(crate) async fn insert(
    tx: &mut SqliteConnection,
    run: &str,
    origin: Origin<'_>,
    max_attempts: u32,
    batch: &NewBatch,
) -> Result<()> {
    let (after, upto, items) = match &batch.bounds {
        Bounds::Range { after, upto } => (after.as_deref(), Some(upto.as_str()), None),
        Bounds::Items(ids) => (None, None, Some(id_array(ids))),
    };
    let (priority, parent, last_error) = match &origin {
        Origin::Planned => (PRIORITY_PLANNED, None, None),
        Origin::Failed { id, last_error_id } => (PRIORITY_RERUN, Some(*id), *last_error_id),
        Origin::Quarantine { of } => (PRIORITY_RERUN, Some(*of), None),
    };
    let of_items = matches!(origin, Origin::Quarantine { .. });
    sqlx::query(concat!(
        "INSERT INTO reelshift_batches (id, run_id, parent_id, of_items, state, priority, run_at, max_attempts, after_id,
             upto_id, items, rows_total, bytes_total, traceparent, last_error_id, created_at)
         VALUES (?, ?, ?, ?, 'pending', ?, ",
        now!(),
        ", ?, ?, ?, ?, ?, ?, ?, ?, ",
        now!(),
        ")"
    ))
    .bind(batch.id.to_string())
    .bind(run)
    .bind(parent)
    .bind(of_items)
    .bind(priority)
    .bind(max_attempts)
    .bind(after)
    .bind(upto)
    .bind(items)
    .bind(stored(batch.rows_total))
    .bind(stored(batch.bytes_total))
    .bind(&batch.traceparent)
    .bind(last_error)
    .execute(tx)
    .await?;
    Ok(())
}

pub(crate) async fn finish(store: &SqliteStore, lease: &PlannerLease) -> Result<RunState> {
    let id = lease.run.id;
    let mut tx = store.write().await?;
    let row = sqlx::query(
        "SELECT state, round_batches, batches_total FROM reelshift_runs
         WHERE id = ? AND planner_token = ? AND state IN ('planning', 'sweeping')",
    )
    .bind(id.to_string())
    .bind(lease.token)
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(StoreError::LeaseLost)?;
    let state: RunState = row::parsed(&row, "state")?;
    let next = state
        .after_planning(row::count(&row, "batches_total")?, row::count(&row, "round_batches")?);
    sqlx::query(concat!(
        "UPDATE reelshift_runs SET state = ?1, planner = NULL, planner_token = NULL, planner_seen_at = NULL,
             active_key = CASE ?1 WHEN 'done' THEN NULL ELSE active_key END,
             rows_waiting = CASE ?1 WHEN 'done' THEN 0 ELSE rows_waiting END,
             sweep_at = CASE ?1 WHEN 'done' THEN NULL ELSE sweep_at END,
             finished_at = CASE ?1 WHEN 'done' THEN ",
        now!(),
        " END WHERE id = ?2"
    ))
    .bind(next.into_str())
    .bind(id.to_string())
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(next)
}

pub(crate) async fn release(store: &SqliteStore, lease: &PlannerLease) -> Result<()> {
    sqlx::query(
        "UPDATE reelshift_runs SET planner = NULL, planner_token = NULL, planner_seen_at = NULL
         WHERE id = ? AND planner_token = ?",
    )
    .bind(lease.run.id.to_string())
    .bind(lease.token)
    .execute(&store.writer)
    .await?;
    Ok(())
}
