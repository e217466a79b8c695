//! Runs: creating them, reading them, moving them on.

use reelshift_plan::backoff::sweep_delay;
use reelshift_plan::{JobKind, RunState};
use reelshift_store::StoreError;
use reelshift_store::audit::AuditEvent;
use reelshift_store::controls::{BREAKER, breaker_reason};
use reelshift_store::ledger::{CreatedRun, NewRun, PRIORITY_PLANNED, Run, failed_reason};
use sqlx::{Executor, Sqlite, SqliteConnection};
use uuid::Uuid;

use crate::error::Result;
use crate::run_rows::{self, run_columns};
use crate::timestamp::{hence, now};
use crate::{SqliteStore, audit, holds, row};

/// An unsigned number as the database stores it.
pub(crate) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) async fn find<'c>(
    executor: impl Executor<'c, Database = Sqlite>,
    id: &str,
) -> Result<Option<Run>> {
    sqlx::query(concat!("SELECT ", run_columns!(), " FROM reelshift_runs WHERE id = ?"))
        .bind(id)
        .fetch_optional(executor)
        .await?
        .as_ref()
        .map(run_rows::read)
        .transpose()
}

pub(crate) async fn by_id(store: &SqliteStore, id: Uuid) -> Result<Option<Run>> {
    find(&store.readers, &id.to_string()).await
}

/// The run with this id, which must be there.
pub(crate) async fn existing(tx: &mut SqliteConnection, id: Uuid) -> Result<Run> {
    find(tx, &id.to_string())
        .await?
        .ok_or_else(|| StoreError::Invalid(format!("there is no run {id}")).into())
}

pub(crate) async fn create(store: &SqliteStore, run: &NewRun) -> Result<CreatedRun> {
    let key = run.plan.key(run.kind);
    let mut tx = store.write().await?;
    let same = sqlx::query(concat!(
        "SELECT ",
        run_columns!(),
        " FROM reelshift_runs WHERE active_key = ?"
    ))
    .bind(&key)
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(row) = same {
        return Ok(CreatedRun::Existing(run_rows::read(&row)?));
    }
    let row = sqlx::query(concat!(
        "INSERT INTO reelshift_runs (id, kind, active_key, state, plan, created_by, traceparent, created_at)
         VALUES (?, ?, ?, 'planning', ?, ?, ?, ",
        now!(),
        ") RETURNING ",
        run_columns!()
    ))
    .bind(run.id.to_string())
    .bind(run.kind.into_str())
    .bind(&key)
    .bind(serde_json::json!(run.plan).to_string())
    .bind(&run.created_by)
    .bind(&run.traceparent)
    .fetch_one(&mut *tx)
    .await?;
    let event = AuditEvent::enqueued(run.id, run.kind, &run.plan, true);
    audit::record(&mut tx, event, None, &run.created_by).await?;
    tx.commit().await?;
    Ok(CreatedRun::New(run_rows::read(&row)?))
}

pub(crate) async fn active(store: &SqliteStore, kind: Option<JobKind>) -> Result<Vec<Run>> {
    active_in(&mut *store.readers.acquire().await?, kind).await
}

/// The runs whose batches may be claimed, oldest first.
pub(crate) async fn active_in(
    connection: &mut SqliteConnection,
    kind: Option<JobKind>,
) -> Result<Vec<Run>> {
    let rows = sqlx::query(concat!(
        "SELECT ",
        run_columns!(),
        " FROM reelshift_runs WHERE state IN ('planning', 'running', 'sweeping') AND (?1 IS NULL OR kind = ?1)
         ORDER BY created_at, rowid"
    ))
    .bind(kind.as_ref().map(JobKind::into_str))
    .fetch_all(connection)
    .await?;
    run_rows::readable_only(&rows)
}

const HAS_OPEN_BATCH: &str = "SELECT EXISTS (SELECT 1 FROM reelshift_batches
     WHERE run_id = ? AND state IN ('pending', 'leased'))";

pub(crate) async fn settle(store: &SqliteStore, id: Uuid) -> Result<RunState> {
    // Most calls find nothing to move: they must not take the write lock.
    let mut reader = store.readers.acquire().await?;
    if let Some(state) = unsettled(&mut reader, id).await? {
        return Ok(state);
    }
    drop(reader);
    let mut tx = store.write().await?;
    if let Some(state) = unsettled(&mut tx, id).await? {
        return Ok(state);
    }
    let run = existing(&mut tx, id).await?;
    let failed = run_rows::failed_without_rerun(&mut tx, id).await?;
    let state = RunState::after_batches(run.plan.sweeps(run.kind), failed);
    let moved = if state == RunState::Sweeping {
        let waiting = rows_left(&mut tx, &run).await?;
        let idle: u32 = match waiting {
            Some(_) => idle_rounds(&mut tx, id).await?.saturating_add(1),
            None => 0,
        };
        sqlx::query(
            "UPDATE reelshift_runs SET state = 'sweeping', reason = NULL, planned_to = NULL, round = round + 1,
                 round_batches = 0, planner = NULL, planner_token = NULL, planner_seen_at = NULL,
                 idle_rounds = ?1, rows_waiting = ?2,
                 sweep_at = CASE WHEN ?1 > 0 THEN strftime('%Y-%m-%d %H:%M:%f', 'now', ?3) END
             WHERE id = ?4 AND state = 'running'",
        )
        .bind(idle)
        .bind(stored(waiting.unwrap_or_default()))
        .bind(hence(sweep_delay(idle)))
        .bind(id.to_string())
    } else {
        let reason = (failed > 0).then(|| failed_reason(failed));
        sqlx::query(concat!(
            "UPDATE reelshift_runs SET state = ?, reason = ?, active_key = NULL, rows_waiting = 0,
                 sweep_at = NULL, finished_at = ",
            now!(),
            " WHERE id = ? AND state = 'running'"
        ))
        .bind(state.into_str())
        .bind(reason)
        .bind(id.to_string())
    };
    moved.execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(state)
}

/// How many rows the round that has just ended left, if it wrote and set aside none. The
/// first round is never such a one. A round's batches are the run's last.
async fn rows_left(tx: &mut SqliteConnection, run: &Run) -> Result<Option<u64>> {
    if run.round == 0 {
        return Ok(None);
    }
    // By the key, not by the run's index, which would have to be sorted.
    let row = sqlx::query(
        "SELECT COALESCE(SUM(rows_done + rows_quarantined), 0) AS ended,
             COALESCE(SUM(rows_total), 0) AS planned
         FROM (SELECT rows_done, rows_quarantined, rows_total FROM reelshift_batches NOT INDEXED
               WHERE run_id = ?1 ORDER BY seq DESC
               LIMIT (SELECT round_batches FROM reelshift_runs WHERE id = ?1))",
    )
    .bind(run.id.to_string())
    .fetch_one(tx)
    .await?;
    let planned = row::count(&row, "planned")?;
    Ok((row::count(&row, "ended")? == 0).then_some(planned))
}

async fn idle_rounds(tx: &mut SqliteConnection, id: Uuid) -> Result<u32> {
    Ok(sqlx::query_scalar("SELECT idle_rounds FROM reelshift_runs WHERE id = ?")
        .bind(id.to_string())
        .fetch_one(tx)
        .await?)
}

/// The state of a run that cannot be moved on now.
async fn unsettled(connection: &mut SqliteConnection, id: Uuid) -> Result<Option<RunState>> {
    let state = existing(connection, id).await?.state;
    if state != RunState::Running {
        return Ok(Some(state));
    }
    let open: bool =
        sqlx::query_scalar(HAS_OPEN_BATCH).bind(id.to_string()).fetch_one(connection).await?;
    Ok(open.then_some(state))
}

pub(crate) async fn has_open_work(store: &SqliteStore) -> Result<bool> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM reelshift_runs WHERE state IN ('planning', 'running', 'sweeping'))
             OR EXISTS (SELECT 1 FROM reelshift_batches WHERE leased_by IS NOT NULL)",
    )
    .fetch_one(&store.readers)
    .await?)
}

pub(crate) async fn pause_failing(store: &SqliteStore) -> Result<Vec<Run>> {
    let failing = failing_runs(&mut *store.readers.acquire().await?).await?;
    if failing.is_empty() {
        return Ok(Vec::new());
    }
    let mut tx = store.write().await?;
    let mut paused = Vec::new();
    for (run, reason) in failing_runs(&mut tx).await? {
        paused.push(holds::pause(&mut tx, &run, Some(&reason), BREAKER).await?);
    }
    tx.commit().await?;
    Ok(paused)
}

/// The runs that pause themselves, and why.
async fn failing_runs(connection: &mut SqliteConnection) -> Result<Vec<(Run, String)>> {
    let mut failing = Vec::new();
    for run in active_in(connection, None).await? {
        let failed = failed_since_resumed(connection, run.id).await?;
        if let Some(reason) = breaker_reason(failed, run.batches_total) {
            failing.push((run, reason));
        }
    }
    Ok(failing)
}

/// Planned batches of `run` that failed after it was last resumed and were not enqueued again.
async fn failed_since_resumed(connection: &mut SqliteConnection, run: Uuid) -> Result<u64> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS failed FROM reelshift_batches b WHERE b.run_id = ?
             AND b.priority = ? AND b.state = 'failed'
             AND NOT EXISTS
                 (SELECT 1 FROM reelshift_batches r WHERE r.parent_id = b.id AND NOT r.of_items)
             AND NOT EXISTS (SELECT 1 FROM reelshift_runs u
                 WHERE u.id = b.run_id AND u.resumed_at >= b.finished_at)",
    )
    .bind(run.to_string())
    .bind(PRIORITY_PLANNED)
    .fetch_one(connection)
    .await?;
    row::count(&row, "failed")
}
