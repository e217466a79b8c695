//! Rows of `reelshift_runs`, and those that this version cannot read.

use reelshift_store::ledger::Run;
use sqlx::Row as _;
use uuid::Uuid;

use crate::dialect::{Connection, Row};
use crate::error::Result;
use crate::row;

/// The columns that [`read`] reads.
macro_rules! run_columns {
    () => {
        "id, kind, state, reason, decided_by, decided_at, plan, planned_to, round, rows_waiting, \
     sweep_at, batches_total, rows_total, bytes_total, created_by, traceparent, created_at, finished_at"
    };
}
pub(crate) use run_columns;

/// The runs that this version can read; those that it cannot are in `unreadable`.
pub(crate) fn readable(rows: &[Row], unreadable: &mut Vec<String>) -> Result<Vec<Run>> {
    let mut runs = Vec::with_capacity(rows.len());
    for row in rows {
        match read(row) {
            Ok(run) => runs.push(run),
            Err(error) => {
                let id: String = row.try_get("id")?;
                unreadable.push(error.unreadable_row("reelshift_runs", &id)?);
            }
        }
    }
    Ok(runs)
}

/// As [`readable`], with a log line for each run that cannot be read.
pub(crate) fn readable_only(rows: &[Row]) -> Result<Vec<Run>> {
    let mut unreadable = Vec::new();
    let runs = readable(rows, &mut unreadable)?;
    for row in unreadable {
        tracing::warn!(row, "a run cannot be read: it is left alone");
    }
    Ok(runs)
}

pub(crate) fn read(row: &Row) -> Result<Run> {
    let plan: String = row.try_get("plan")?;
    Ok(Run {
        id: row::uuid(row, "id")?,
        kind: row::parsed(row, "kind")?,
        state: row::parsed(row, "state")?,
        reason: row.try_get("reason")?,
        decided_by: row.try_get("decided_by")?,
        decided_at: row::optional_time(row, "decided_at")?,
        plan: row::json(&plan, "plan")?,
        planned_to: row.try_get("planned_to")?,
        round: row.try_get("round")?,
        rows_waiting: row::unsigned(row, "rows_waiting")?,
        sweep_at: row::optional_time(row, "sweep_at")?,
        batches_total: row::unsigned(row, "batches_total")?,
        rows_total: row::unsigned(row, "rows_total")?,
        bytes_total: row::unsigned(row, "bytes_total")?,
        created_by: row.try_get("created_by")?,
        traceparent: row.try_get("traceparent")?,
        created_at: row::time(row, "created_at")?,
        finished_at: row::optional_time(row, "finished_at")?,
    })
}

/// Failed batches of `run` that nobody has enqueued again.
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
