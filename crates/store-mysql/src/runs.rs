//! Runs: creating, planning, settling and pausing them.

use std::time::Duration;

use reelshift_plan::backoff::sweep_delay;
use reelshift_plan::{JobKind, RunState};
use reelshift_store::StoreError;
use reelshift_store::audit::AuditEvent;
use reelshift_store::controls::breaker_reason;
use reelshift_store::ledger::{
    Bounds, CreatedRun, NewBatch, NewRun, PRIORITY_PLANNED, PRIORITY_RERUN, PlannerLease, Run,
    RunPlan, failed_reason,
};
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, QueryBuilder, Row as _};
use uuid::Uuid;

use crate::connection::MySqlStore;
use crate::error::{Error, Result};
use crate::{audit, holds, lease, row};

/// The columns that [`read`] reads.
pub(crate) const COLUMNS: &str = "id, kind, state, reason, decided_by, decided_at, plan, planned_to, round, rows_waiting, \
     sweep_at, batches_total, rows_total, bytes_total, created_by, traceparent, created_at, finished_at";

/// The runs that this version can read; those that it cannot are in `unreadable`.
pub(crate) fn readable(rows: &[MySqlRow], unreadable: &mut Vec<String>) -> Result<Vec<Run>> {
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
pub(crate) fn readable_only(rows: &[MySqlRow]) -> Result<Vec<Run>> {
    let mut unreadable = Vec::new();
    let runs = readable(rows, &mut unreadable)?;
    for row in unreadable {
        tracing::warn!(row, "a run cannot be read: it is left alone");
    }
    Ok(runs)
}

pub(crate) fn read(row: &MySqlRow) -> Result<Run> {
    let plan: String = row.try_get("plan")?;
    Ok(Run {
        id: row::uuid(row, "id")?,
        kind: row::named(row, "kind")?,
        state: row::named(row, "state")?,
        reason: row.try_get("reason")?,
        decided_by: row.try_get("decided_by")?,
        decided_at: row.try_get("decided_at")?,
        plan: row::json(&plan, "plan")?,
        planned_to: row.try_get("planned_to")?,
        round: row.try_get("round")?,
        rows_waiting: row.try_get("rows_waiting")?,
        sweep_at: row.try_get("sweep_at")?,
        batches_total: row.try_get("batches_total")?,
        rows_total: row.try_get("rows_total")?,
        bytes_total: row.try_get("bytes_total")?,
        created_by: row.try_get("created_by")?,
        traceparent: row.try_get("traceparent")?,
        created_at: row.try_get("created_at")?,
        finished_at: row.try_get("finished_at")?,
    })
}

pub(crate) async fn find(connection: &mut MySqlConnection, id: Uuid) -> Result<Option<Run>> {
    let sql = format!("SELECT {COLUMNS} FROM reelshift_runs WHERE id = ?");
    let row =
        sqlx::query(AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(connection).await?;
    row.as_ref().map(read).transpose()
}

pub(crate) async fn active(store: &MySqlStore, kind: Option<JobKind>) -> Result<Vec<Run>> {
    let mut query = QueryBuilder::<MySql>::new(format!(
        "SELECT {COLUMNS} FROM reelshift_runs WHERE state IN ('planning', 'running', 'sweeping')"
    ));
    if let Some(kind) = kind {
        query.push(" AND kind = ").push_bind(kind.as_str());
    }
    query.push(" ORDER BY created_at, id");
    readable_only(&query.build().fetch_all(&store.pool).await?)
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
        .bind(run.kind.as_str())
        .bind(&key)
        .bind(&plan)
        .bind(cut(&run.created_by, 255))
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
                let sql = format!("SELECT {COLUMNS} FROM reelshift_runs WHERE active_key = ?");
                let row = sqlx::query(AssertSqlSafe(sql))
                    .bind(&key)
                    .fetch_optional(&mut *connection)
                    .await?;
                if let Some(row) = row {
                    return Ok(CreatedRun::Existing(read(&row)?));
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

pub(crate) async fn take_planning(
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
    let token = lease::new_token();
    let taken = sqlx::query(
        "UPDATE reelshift_runs SET planner = ?, planner_token = ?, planner_seen_at = NOW(6) \
         WHERE id = ? AND state IN ('planning', 'sweeping') \
           AND (planner_token IS NULL OR planner_seen_at < NOW(6) - INTERVAL ? MICROSECOND) \
           AND (sweep_at IS NULL OR sweep_at <= NOW(6))",
    )
    .bind(cut(planner, 255))
    .bind(token)
    .bind(run.to_string())
    .bind(microseconds(timeout))
    .execute(&store.pool)
    .await?;
    if taken.rows_affected() == 0 {
        return Ok(None);
    }
    let mut connection = store.pool.acquire().await?;
    Ok(find(&mut connection, run).await?.map(|run| PlannerLease { run, token }))
}

pub(crate) async fn planner_alive(
    store: &MySqlStore,
    run: Uuid,
    timeout: Duration,
) -> Result<bool> {
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
        insert_batches(&mut transaction, &lease.run, batches, None).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Adds batches, planned or of the items that the batch `items_of` had set aside.
pub(crate) async fn insert_batches(
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

pub(crate) async fn finish_planning(store: &MySqlStore, lease: &PlannerLease) -> Result<RunState> {
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
    let state: RunState = row::named(&row, "state")?;
    let next = state.after_planning(row.try_get("batches_total")?, row.try_get("round_batches")?);
    move_to(&mut transaction, lease.run.id, next, None).await?;
    transaction.commit().await?;
    Ok(next)
}

/// Moves a run whose row is locked to `next`, without a planner.
async fn move_to(
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
        .bind(next.as_str())
        .bind(reason)
        .bind(run.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

pub(crate) async fn release_planning(store: &MySqlStore, lease: &PlannerLease) -> Result<()> {
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

pub(crate) async fn settle(store: &MySqlStore, run: Uuid) -> Result<RunState> {
    // Most calls find nothing to move: they must not queue for the run's row, which every
    // worker asks for.
    let mut connection = store.pool.acquire().await?;
    let row =
        read_row(&mut connection, run, "SELECT state FROM reelshift_runs WHERE id = ?").await?;
    let state: RunState = row::named(&row, "state")?;
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
    let kind: JobKind = row::named(&row, "kind")?;
    let state: RunState = row::named(&row, "state")?;
    if state != RunState::Running || has_open_batches(&mut transaction, run).await? {
        return Ok(state);
    }
    let failed = failed_without_rerun(&mut transaction, run).await?;
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

/// Failed batches of `run` that nobody has enqueued again.
pub(crate) async fn failed_without_rerun(
    connection: &mut MySqlConnection,
    run: Uuid,
) -> Result<u64> {
    let failed: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM reelshift_batches f WHERE f.run_id = ? AND f.state = 'failed' \
           AND NOT EXISTS (SELECT 1 FROM reelshift_batches r WHERE r.parent_id = f.id AND NOT r.of_items)",
    )
    .bind(run.to_string())
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(failed).unwrap_or(0))
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

pub(crate) fn microseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// At most `characters` of `text`.
pub(crate) fn cut(text: &str, characters: usize) -> &str {
    text.char_indices().nth(characters).map_or(text, |(end, _)| &text[..end])
}
