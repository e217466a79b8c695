//! Planning: whoever holds a planner's lease, and no one else, adds batches to a run.

use std::time::Duration;

use reelshift_plan::RunState;
use reelshift_store::StoreError;
use reelshift_store::ledger::{
    Bounds, NewBatch, PRIORITY_PLANNED, PRIORITY_RERUN, PlannerLease, Run, new_token,
};
use reelshift_store::length::{HOLDER_CHARACTERS, cut};
use sqlx::{MySql, MySqlConnection, QueryBuilder, Row as _};
use uuid::Uuid;

use crate::connection::MySqlStore;
use crate::error::{Error, Result};
use crate::timestamp::microseconds;
use crate::{row, runs};

pub(crate) async fn take(
    store: &MySqlStore,
    run: Uuid,
    planner: &str,
    timeout: Duration,
) -> Result<Option<PlannerLease>> {
    // All workers ask for a sweep until it is due: that locks nothing.
    let waits: Option<bool> = sqlx::query_scalar(
        "SELECT COALESCE(sweep_at > NOW(6), FALSE) FROM reelshift_runs WHERE id = ?",
    )
    .bind(run.to_string())
    .fetch_optional(&store.pool)
    .await?;
    if waits != Some(false) {
        return Ok(None);
    }
    let token = new_token();
    let taken = sqlx::query(
        "UPDATE reelshift_runs SET planner = ?, planner_token = ?, planner_seen_at = NOW(6) \
         WHERE id = ? AND state IN ('planning', 'sweeping') \
           AND (planner_token IS NULL OR planner_seen_at < NOW(6) - INTERVAL ? MICROSECOND) \
           AND (sweep_at IS NULL OR sweep_at <= NOW(6))",
    )
    .bind(cut(planner, HOLDER_CHARACTERS))
    .bind(token)
    .bind(run.to_string())
    .bind(microseconds(timeout))
    .execute(&store.pool)
    .await?;
    if taken.rows_affected() == 0 {
        return Ok(None);
    }
    let mut connection = store.pool.acquire().await?;
    Ok(runs::find(&mut connection, run).await?.map(|run| PlannerLease { run, token }))
}

pub(crate) async fn alive(store: &MySqlStore, run: Uuid, timeout: Duration) -> Result<bool> {
    let alive: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM reelshift_runs WHERE id = ? AND planner_token IS NOT NULL \
           AND planner_seen_at >= NOW(6) - INTERVAL ? MICROSECOND",
    )
    .bind(run.to_string())
    .bind(microseconds(timeout))
    .fetch_one(&store.pool)
    .await?;
    Ok(alive > 0)
}

/// Batches in one INSERT: large enough to be fast, and far below the packet limit even
/// where each holds hundreds of ids.
const INSERT_BATCHES: usize = 128;

pub(crate) async fn add_batches(
    store: &MySqlStore,
    lease: &PlannerLease,
    planned_to: Option<&str>,
    batches: &[NewBatch],
) -> Result<()> {
    let rows: u64 = batches.iter().map(|batch| batch.rows_total).sum();
    let bytes: u64 = batches.iter().map(|batch| batch.bytes_total).sum();
    let mut transaction = store.pool.begin().await?;
    let held = sqlx::query(
        "UPDATE reelshift_runs SET planned_to = COALESCE(?, planned_to), planner_seen_at = NOW(6), \
           round_batches = round_batches + ?, batches_total = batches_total + ?, \
           rows_total = rows_total + ?, bytes_total = bytes_total + ? \
         WHERE id = ? AND planner_token = ? AND state IN ('planning', 'sweeping')",
    )
    .bind(planned_to)
    .bind(batches.len() as u64)
    .bind(batches.len() as u64)
    .bind(rows)
    .bind(bytes)
    .bind(lease.run.id.to_string())
    .bind(lease.token)
    .execute(&mut *transaction)
    .await?;
    if held.rows_affected() == 0 {
        return Err(Error::Store(StoreError::LeaseLost));
    }
    for batches in batches.chunks(INSERT_BATCHES) {
        insert(&mut transaction, &lease.run, batches, None).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Adds batches, planned or of the items that the batch `items_of` had set aside.
pub(crate) async fn insert(
    connection: &mut MySqlConnection,
    run: &Run,
    batches: &[NewBatch],
    items_of: Option<&str>,
) -> Result<()> {
    let priority = if items_of.is_some() { PRIORITY_RERUN } else { PRIORITY_PLANNED };
    let mut query = QueryBuilder::<MySql>::new(
        "INSERT INTO reelshift_batches (id, run_id, parent_id, of_items, priority, max_attempts, \
           after_id, upto_id, items, rows_total, bytes_total, traceparent) ",
    );
    let mut unreadable = None;
    query.push_values(batches, |mut values, batch| {
        let (after, upto, items) = match &batch.bounds {
            Bounds::Range { after, upto } => (after.as_deref(), Some(upto.as_str()), None),
            Bounds::Items(items) => match serde_json::to_string(items) {
                Ok(items) => (None, None, Some(items)),
                Err(why) => {
                    unreadable = Some(Error::unreadable("list of items", why));
                    (None, None, None)
                }
            },
        };
        values
            .push_bind(batch.id.to_string())
            .push_bind(run.id.to_string())
            .push_bind(items_of.map(str::to_owned))
            .push_bind(items_of.is_some())
            .push_bind(priority)
            .push_bind(run.plan.max_attempts)
            .push_bind(after.map(str::to_owned))
            .push_bind(upto.map(str::to_owned))
            .push_bind(items)
            .push_bind(batch.rows_total)
            .push_bind(batch.bytes_total)
            .push_bind(batch.traceparent.clone());
    });
    if let Some(error) = unreadable {
        return Err(error);
    }
    // Only full inserts come again and again in the same shape.
    let persistent = batches.len() == INSERT_BATCHES;
    query.build().persistent(persistent).execute(connection).await?;
    Ok(())
}

pub(crate) async fn finish(store: &MySqlStore, lease: &PlannerLease) -> Result<RunState> {
    let mut transaction = store.pool.begin().await?;
    let row = sqlx::query(
        "SELECT state, batches_total, round_batches FROM reelshift_runs \
         WHERE id = ? AND planner_token = ? AND state IN ('planning', 'sweeping') FOR UPDATE",
    )
    .bind(lease.run.id.to_string())
    .bind(lease.token)
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(row) = row else { return Err(Error::Store(StoreError::LeaseLost)) };
    let state: RunState = row::parsed(&row, "state")?;
    let next = state.after_planning(row.try_get("batches_total")?, row.try_get("round_batches")?);
    runs::move_to(&mut transaction, lease.run.id, next, None).await?;
    transaction.commit().await?;
    Ok(next)
}

pub(crate) async fn release(store: &MySqlStore, lease: &PlannerLease) -> Result<()> {
    sqlx::query(
        "UPDATE reelshift_runs SET planner = NULL, planner_token = NULL, planner_seen_at = NULL \
         WHERE id = ? AND planner_token = ?",
    )
    .bind(lease.run.id.to_string())
    .bind(lease.token)
    .execute(&store.pool)
    .await?;
    Ok(())
}
