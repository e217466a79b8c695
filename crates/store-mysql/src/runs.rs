//! Runs: creating, settling and pausing them.

use reelshift_plan::backoff::sweep_delay;
use reelshift_plan::{JobKind, RunState};
use reelshift_store::StoreError;
use reelshift_store::audit::AuditEvent;
use reelshift_store::controls::breaker_reason;
use reelshift_store::ledger::{CreatedRun, NewRun, PRIORITY_PLANNED, Run, RunPlan, failed_reason};
use reelshift_store::length::{BY_CHARACTERS, cut};
use sqlx::mysql::MySqlRow;
use sqlx::{MySql, MySqlConnection, QueryBuilder, Row as _};
use uuid::Uuid;

use crate::connection::MySqlStore;
use crate::error::{Error, Result};
use crate::run_rows::{self, run_columns};
use crate::timestamp::microseconds;
use crate::{audit, holds, row};

pub(crate) async fn find(connection: &mut MySqlConnection, id: Uuid) -> Result<Option<Run>> {
    let sql = concat!("SELECT ", run_columns!(), " FROM reelshift_runs WHERE id = ?");
    let row = sqlx::query(sql).bind(id.to_string()).fetch_optional(connection).await?;
    row.as_ref().map(run_rows::read).transpose()
}

pub(crate) async fn active(store: &MySqlStore, kind: Option<JobKind>) -> Result<Vec<Run>> {
    let mut query = QueryBuilder::<MySql>::new(concat!(
        "SELECT ",
        run_columns!(),
        " FROM reelshift_runs WHERE state IN ('planning', 'running', 'sweeping')"
    ));
    if let Some(kind) = kind {
        query.push(" AND kind = ").push_bind(kind.into_str());
    }
    query.push(" ORDER BY created_at, id");
    run_rows::readable_only(&query.build().fetch_all(&store.pool).await?)
}

pub(crate) async fn create(store: &MySqlStore, run: &NewRun) -> Result<CreatedRun> {
    let key = run.plan.key(run.kind);
    let plan = serde_json::to_string(&run.plan).map_err(|why| Error::unreadable("plan", why))?;
    loop {
        let mut transaction = store.pool.begin().await?;
        let inserted = sqlx::query(
            "INSERT INTO reelshift_runs (id, kind, active_key, state, plan, created_by, traceparent) \
             VALUES (?, ?, ?, 'planning', ?, ?, ?)",
        )
        .bind(run.id.to_string())
        .bind(run.kind.into_str())
        .bind(&key)
        .bind(&plan)
        .bind(cut(&run.created_by, BY_CHARACTERS))
        .bind(&run.traceparent)
        .execute(&mut *transaction)
        .await
        .map_err(Error::from);
        match inserted {
            Ok(_) => {
                let event = AuditEvent::enqueued(run.id, run.kind, &run.plan, true);
                audit::record(&mut transaction, event, None, &run.created_by).await?;
                let created = find(&mut transaction, run.id).await?;
                transaction.commit().await?;
                return created
                    .map(CreatedRun::New)
                    .ok_or_else(|| Error::unreadable("run", "it vanished after its creation"));
            }
            Err(error) if error.is_duplicate_key() => {
                transaction.rollback().await?;
                let mut connection = store.pool.acquire().await?;
                let sql =
                    concat!("SELECT ", run_columns!(), " FROM reelshift_runs WHERE active_key = ?");
                let row = sqlx::query(sql).bind(&key).fetch_optional(&mut *connection).await?;
                if let Some(row) = row {
                    return Ok(CreatedRun::Existing(run_rows::read(&row)?));
                }
                // Not the key but the id is taken; else the other run has just ended, and
                // the next try succeeds.
                if find(&mut connection, run.id).await?.is_some() {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Moves a run whose row is locked to `next`, without a planner.
pub(crate) async fn move_to(
    connection: &mut MySqlConnection,
    run: Uuid,
    next: RunState,
    reason: Option<String>,
) -> Result<()> {
    let sql = if next.has_ended() {
        "UPDATE reelshift_runs SET state = ?, reason = ?, planner = NULL, planner_token = NULL, \
           planner_seen_at = NULL, active_key = NULL, finished_at = NOW(6), rows_waiting = 0, \
           sweep_at = NULL WHERE id = ?"
    } else {
        "UPDATE reelshift_runs SET state = ?, reason = ?, planner = NULL, planner_token = NULL, \
           planner_seen_at = NULL WHERE id = ?"
    };
    sqlx::query(sql)
        .bind(next.into_str())
        .bind(reason)
        .bind(run.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

pub(crate) async fn settle(store: &MySqlStore, run: Uuid) -> Result<RunState> {
    // Most calls find nothing to move: they must not queue for the run's row, which every
    // worker asks for.
    let mut connection = store.pool.acquire().await?;
    let row =
        read_row(&mut connection, run, "SELECT state FROM reelshift_runs WHERE id = ?").await?;
    let state: RunState = row::parsed(&row, "state")?;
    if state != RunState::Running || has_open_batches(&mut connection, run).await? {
        return Ok(state);
    }
    drop(connection);
    let mut transaction = store.pool.begin().await?;
    let row = read_row(
        &mut transaction,
        run,
        "SELECT kind, state, plan, round, round_batches, idle_rounds FROM reelshift_runs \
         WHERE id = ? FOR UPDATE",
    )
    .await?;
    let kind: JobKind = row::parsed(&row, "kind")?;
    let state: RunState = row::parsed(&row, "state")?;
    if state != RunState::Running || has_open_batches(&mut transaction, run).await? {
        return Ok(state);
    }
    let failed = run_rows::failed_without_rerun(&mut transaction, run).await?;
    let plan: String = row.try_get("plan")?;
    let plan: RunPlan = row::json(&plan, "plan")?;
    let next = RunState::after_batches(plan.sweeps(kind), failed);
    if next == RunState::Sweeping {
        let waiting = rows_left(&mut transaction, run, &row).await?;
        let idle = match waiting {
            Some(_) => row.try_get::<u32, _>("idle_rounds")?.saturating_add(1),
            None => 0,
        };
        sqlx::query(
            "UPDATE reelshift_runs SET planned_to = NULL, round = round + 1, round_batches = 0, \
               idle_rounds = ?, rows_waiting = ?, \
               sweep_at = CASE WHEN ? > 0 THEN NOW(6) + INTERVAL ? MICROSECOND END WHERE id = ?",
        )
        .bind(idle)
        .bind(waiting.unwrap_or_default())
        .bind(idle)
        .bind(microseconds(sweep_delay(idle)))
        .bind(run.to_string())
        .execute(&mut *transaction)
        .await?;
    }
    let reason = (failed > 0).then(|| failed_reason(failed));
    move_to(&mut transaction, run, next, reason).await?;
    transaction.commit().await?;
    Ok(next)
}

async fn read_row(
    connection: &mut MySqlConnection,
    run: Uuid,
    sql: &'static str,
) -> Result<MySqlRow> {
    let row = sqlx::query(sql).bind(run.to_string()).fetch_optional(connection).await?;
    row.ok_or_else(|| Error::Store(StoreError::Invalid(format!("there is no run {run}"))))
}

/// How many rows the round that has just ended left, if it wrote and set aside none. The
/// first round is never such a one. A round's batches are the run's last.
async fn rows_left(
    connection: &mut MySqlConnection,
    run: Uuid,
    round: &MySqlRow,
) -> Result<Option<u64>> {
    if round.try_get::<u32, _>("round")? == 0 {
        return Ok(None);
    }
    let row = sqlx::query(
        "SELECT CAST(COALESCE(SUM(rows_done + rows_quarantined), 0) AS SIGNED) AS ended, \
           CAST(COALESCE(SUM(rows_total), 0) AS SIGNED) AS planned FROM (\
             SELECT rows_done, rows_quarantined, rows_total \
             FROM reelshift_batches FORCE INDEX (PRIMARY) \
             WHERE run_id = ? ORDER BY seq DESC LIMIT ?) AS of_round",
    )
    .bind(run.to_string())
    .bind(round.try_get::<u64, _>("round_batches")?)
    .fetch_one(connection)
    .await?;
    let (ended, planned) = (row::count(&row, "ended")?, row::count(&row, "planned")?);
    Ok((ended == 0).then_some(planned))
}

async fn has_open_batches(connection: &mut MySqlConnection, run: Uuid) -> Result<bool> {
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

pub(crate) async fn pause_failing(store: &MySqlStore) -> Result<Vec<Run>> {
    let mut paused = Vec::new();
    for run in active(store, None).await? {
        let failed = failed_since_resumed(store, run.id).await?;
        if let Some(reason) = breaker_reason(failed, run.batches_total) {
            paused.extend(holds::pause_active(store, run.id, &reason).await?);
        }
    }
    Ok(paused)
}

/// Planned batches of `run` that failed after it was last resumed and were not enqueued again.
async fn failed_since_resumed(store: &MySqlStore, run: Uuid) -> Result<u64> {
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
    .fetch_one(&store.pool)
    .await?;
    row::count(&row, "failed")
}
