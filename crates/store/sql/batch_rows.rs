//! Rows of `reelshift_batches`: adding them, counting them, and those that failed.

use reelshift_store::ledger::{BatchRow, Bounds, FailedBatch, PRIORITY_PLANNED, RerunSelection};
use sqlx::{QueryBuilder, Row as _};
use uuid::Uuid;

use crate::dialect::{
    Connection, Db, Row, Store, bind_count, by_primary_key, now, push_error_conditions, push_since,
};
use crate::error::{Error, Result};
use crate::row;

/// Batches in one INSERT: large enough to be fast, and far below the packet limit even where
/// each holds hundreds of ids.
const INSERTED_AT_ONCE: usize = 64;

/// What a row with `after_id`, `upto_id` and `items` covers.
pub(crate) fn bounds(row: &Row) -> Result<Bounds> {
    let items: Option<String> = row.try_get("items")?;
    let upto: Option<String> = row.try_get("upto_id")?;
    match (items, upto) {
        (Some(items), _) => Ok(Bounds::Items(row::json(&items, "list of items")?)),
        (None, Some(upto)) => Ok(Bounds::Range { after: row.try_get("after_id")?, upto }),
        (None, None) => Err(Error::unreadable("batch", "it has no bounds")),
    }
}

/// Adds pending batches, due at once.
pub(crate) async fn insert(
    connection: &mut Connection,
    run: Uuid,
    batches: &[BatchRow],
) -> Result<()> {
    for batches in batches.chunks(INSERTED_AT_ONCE) {
        let mut query = QueryBuilder::<Db>::new(
            "INSERT INTO reelshift_batches (id, run_id, parent_id, of_items, state, priority, run_at, \
               max_attempts, after_id, upto_id, items, rows_total, bytes_total, traceparent, \
               last_error_id, created_at) ",
        );
        query.push_values(batches, |mut values, row| {
            let (after, upto, items) = match &row.batch.bounds {
                Bounds::Range { after, upto } => (after.clone(), Some(upto.clone()), None),
                Bounds::Items(items) => (None, None, Some(serde_json::json!(items).to_string())),
            };
            values
                .push_bind(row.batch.id.to_string())
                .push_bind(run.to_string())
                .push_bind(row.parent_id.map(|id| id.to_string()))
                .push_bind(row.of_items)
                .push("'pending'")
                .push_bind(row.priority)
                .push(now!())
                .push_bind(row.max_attempts)
                .push_bind(after)
                .push_bind(upto)
                .push_bind(items)
                .push_bind(bind_count(row.batch.rows_total))
                .push_bind(bind_count(row.batch.bytes_total))
                .push_bind(row.batch.traceparent.clone())
                .push_bind(row.last_error_id.clone())
                .push(now!());
        });
        // Only full inserts come again and again in the same shape.
        let persistent = batches.len() == INSERTED_AT_ONCE;
        query.build().persistent(persistent).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Failed batches of a run that nobody has enqueued again.
pub(crate) async fn failed_without_rerun(connection: &mut Connection, run: Uuid) -> Result<u64> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS failed FROM reelshift_batches f WHERE f.run_id = ? AND f.state = 'failed' \
           AND NOT EXISTS (SELECT 1 FROM reelshift_batches r WHERE r.parent_id = f.id AND NOT r.of_items)",
    )
    .bind(run.to_string())
    .fetch_one(connection)
    .await?;
    row::count(&row, "failed")
}

/// Those of them that a planner added and that failed after the run was last resumed.
pub(crate) async fn failed_since_resumed(connection: &mut Connection, run: Uuid) -> Result<u64> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS failed FROM reelshift_batches b WHERE b.run_id = ? \
           AND b.priority = ? AND b.state = 'failed' \
           AND NOT EXISTS \
             (SELECT 1 FROM reelshift_batches r WHERE r.parent_id = b.id AND NOT r.of_items) \
           AND NOT EXISTS (SELECT 1 FROM reelshift_runs u \
             WHERE u.id = b.run_id AND u.resumed_at >= b.finished_at)",
    )
    .bind(run.to_string())
    .bind(PRIORITY_PLANNED)
    .fetch_one(connection)
    .await?;
    row::count(&row, "failed")
}

/// Whether a batch of `run` is pending or leased.
pub(crate) async fn has_open(connection: &mut Connection, run: Uuid) -> Result<bool> {
    let open: i64 = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM reelshift_batches WHERE run_id = ? AND state = 'pending') \
            OR EXISTS (SELECT 1 FROM reelshift_batches WHERE run_id = ? AND state = 'leased')",
    )
    .bind(run.to_string())
    .bind(run.to_string())
    .fetch_one(connection)
    .await?;
    Ok(open != 0)
}

/// Whether any batch is leased.
pub(crate) async fn has_leased(connection: &mut Connection) -> Result<bool> {
    let leased: i64 = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM reelshift_batches WHERE leased_by IS NOT NULL)",
    )
    .fetch_one(connection)
    .await?;
    Ok(leased != 0)
}

/// Whether there is a batch with this id.
pub(crate) async fn is_there(connection: &mut Connection, id: Uuid) -> Result<bool> {
    let found: i64 =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM reelshift_batches WHERE id = ?)")
            .bind(id.to_string())
            .fetch_one(connection)
            .await?;
    Ok(found != 0)
}

/// The rows that the last `batches` batches of `run` wrote or set aside, and those that they were
/// planned for. By the key, not by the run's index, which would have to be sorted.
pub(crate) async fn rows_of_last(
    connection: &mut Connection,
    run: Uuid,
    batches: u64,
) -> Result<(u64, u64)> {
    let row = sqlx::query(concat!(
        "SELECT CAST(COALESCE(SUM(rows_done + rows_quarantined), 0) AS SIGNED) AS ended, \
           CAST(COALESCE(SUM(rows_total), 0) AS SIGNED) AS planned FROM (\
             SELECT rows_done, rows_quarantined, rows_total FROM reelshift_batches",
        by_primary_key!(),
        " WHERE run_id = ? ORDER BY seq DESC LIMIT ?) AS of_round"
    ))
    .bind(run.to_string())
    .bind(bind_count(batches))
    .fetch_one(connection)
    .await?;
    Ok((row::count(&row, "ended")?, row::count(&row, "planned")?))
}

/// Failed batches of `run` that match and that nobody has enqueued again, in order.
pub(crate) async fn failed(
    connection: &mut Connection,
    store: &Store,
    run: Uuid,
    selection: &RerunSelection,
) -> Result<Vec<FailedBatch>> {
    let mut query = QueryBuilder::<Db>::new(
        "SELECT f.id, f.after_id, f.upto_id, f.items, f.rows_total, f.rows_done, f.rows_quarantined, \
           f.bytes_total, f.bytes_done, f.max_attempts, f.last_error_id, f.traceparent \
         FROM reelshift_batches f WHERE f.run_id = ",
    );
    query.push_bind(run.to_string()).push(
        " AND f.state = 'failed' \
          AND NOT EXISTS (SELECT 1 FROM reelshift_batches r \
                          WHERE r.parent_id = f.id AND NOT r.of_items)",
    );
    if let Some(batch) = selection.batch {
        query.push(" AND f.id = ").push_bind(batch.to_string());
    }
    if let Some(error_type) = &selection.error_type {
        query.push(" AND f.last_error_type = ").push_bind(error_type.clone());
    }
    if let Some(since) = selection.since {
        push_since(&mut query, "f.finished_at", since);
    }
    if let Some(error) = &selection.error {
        push_error_conditions(&mut query, store, "f.last_error_id", error).await?;
    }
    query.push(" ORDER BY f.seq");
    let rows = query.build().fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(FailedBatch {
                id: row::uuid(row, "id")?,
                bounds: bounds(row)?,
                rows_total: row::unsigned(row, "rows_total")?,
                rows_done: row::unsigned(row, "rows_done")?,
                rows_quarantined: row::unsigned(row, "rows_quarantined")?,
                bytes_total: row::unsigned(row, "bytes_total")?,
                bytes_done: row::unsigned(row, "bytes_done")?,
                max_attempts: row.try_get("max_attempts")?,
                last_error_id: row.try_get("last_error_id")?,
                traceparent: row.try_get("traceparent")?,
            })
        })
        .collect()
}
