//! Rows of `reelshift_runs`, and those that this version cannot read.

use std::time::Duration;

use reelshift_plan::{JobKind, RunState};
use reelshift_store::ledger::{LockedRun, NewRun, RerunSelection, Run};
use reelshift_store::length::{BY_CHARACTERS, cut};
use sqlx::{QueryBuilder, Row as _};
use uuid::Uuid;

use crate::dialect::{Connection, Db, Row, age_ago, bind_ahead, bind_count, for_update, now};
use crate::error::{Error, Result};
use crate::{readable, row};

/// The columns that [`read`] reads.
macro_rules! run_columns {
    () => {
        "id, kind, state, reason, decided_by, decided_at, plan, planned_to, round, rows_waiting, \
     sweep_at, batches_total, rows_total, bytes_total, created_by, traceparent, created_at, finished_at"
    };
}
pub(crate) use run_columns;

/// The table of runs, and its key.
const RUNS: (&str, &str) = ("reelshift_runs", "id");

/// The runs that this version can read; those that it cannot are in `unreadable`.
pub(crate) fn readable(rows: &[Row], unreadable: &mut Vec<String>) -> Result<Vec<Run>> {
    readable::readable(rows, RUNS, read, unreadable)
}

/// As [`readable()`], with a log line for each run that cannot be read.
pub(crate) fn readable_only(rows: &[Row]) -> Result<Vec<Run>> {
    readable::readable_only(rows, RUNS, read)
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

/// The run with this id.
pub(crate) async fn find(connection: &mut Connection, id: Uuid) -> Result<Option<Run>> {
    let sql = concat!("SELECT ", run_columns!(), " FROM reelshift_runs WHERE id = ?");
    let row = sqlx::query(sql).bind(id.to_string()).fetch_optional(connection).await?;
    row.as_ref().map(read).transpose()
}

/// The run that is active or paused and has this key.
pub(crate) async fn with_key(connection: &mut Connection, key: &str) -> Result<Option<Run>> {
    let sql = concat!("SELECT ", run_columns!(), " FROM reelshift_runs WHERE active_key = ?");
    let row = sqlx::query(sql).bind(key).fetch_optional(connection).await?;
    row.as_ref().map(read).transpose()
}

fn push_states(query: &mut QueryBuilder<Db>, states: &[RunState]) {
    let mut list = query.push("(").separated(", ");
    for state in states {
        list.push_bind(state.into_str());
    }
    query.push(")");
}

/// Whether a run is in one of `states`, also one that this version cannot read.
pub(crate) async fn is_any_in(connection: &mut Connection, states: &[RunState]) -> Result<bool> {
    let mut query =
        QueryBuilder::<Db>::new("SELECT EXISTS (SELECT 1 FROM reelshift_runs WHERE state IN ");
    push_states(&mut query, states);
    query.push(")");
    Ok(query.build_query_scalar::<i64>().fetch_one(connection).await? != 0)
}

/// Runs in one of `states`, oldest first, of `kind` if given.
pub(crate) async fn in_states(
    connection: &mut Connection,
    states: &[RunState],
    kind: Option<JobKind>,
) -> Result<Vec<Run>> {
    let mut query = QueryBuilder::<Db>::new(concat!(
        "SELECT ",
        run_columns!(),
        " FROM reelshift_runs WHERE state IN "
    ));
    push_states(&mut query, states);
    if let Some(kind) = kind {
        query.push(" AND kind = ").push_bind(kind.into_str());
    }
    query.push(" ORDER BY created_at, id");
    readable_only(&query.build().fetch_all(connection).await?)
}

/// Runs in one of `states` that are not rolled back and have a failed batch or a quarantined item,
/// oldest first.
pub(crate) async fn with_failures(
    connection: &mut Connection,
    states: &[RunState],
    selection: &RerunSelection,
) -> Result<Vec<Uuid>> {
    let mut query = QueryBuilder::<Db>::new(
        "SELECT r.id FROM reelshift_runs r WHERE r.rolled_back_at IS NULL AND (\
           EXISTS (SELECT 1 FROM reelshift_batches b WHERE b.run_id = r.id AND b.state = 'failed') \
           OR EXISTS (SELECT 1 FROM reelshift_quarantine q WHERE q.run_id = r.id)) AND r.state IN ",
    );
    push_states(&mut query, states);
    if let Some(run) = selection.run {
        query.push(" AND r.id = ").push_bind(run.to_string());
    }
    if let Some(kind) = selection.stage {
        query.push(" AND r.kind = ").push_bind(kind.into_str());
    }
    query.push(" ORDER BY r.created_at, r.id");
    query.build().fetch_all(connection).await?.iter().map(|run| row::uuid(run, "id")).collect()
}

/// Adds a run in state `planning`; `false` where its id or its key is taken.
pub(crate) async fn insert(connection: &mut Connection, run: &NewRun, key: &str) -> Result<bool> {
    let plan = serde_json::to_string(&run.plan).map_err(|why| Error::unreadable("plan", why))?;
    let inserted = sqlx::query(concat!(
        "INSERT INTO reelshift_runs (id, kind, active_key, state, plan, created_by, traceparent, \
           created_at) VALUES (?, ?, ?, 'planning', ?, ?, ?, ",
        now!(),
        ")"
    ))
    .bind(run.id.to_string())
    .bind(run.kind.into_str())
    .bind(key)
    .bind(plan)
    .bind(cut(&run.created_by, BY_CHARACTERS))
    .bind(&run.traceparent)
    .execute(connection)
    .await
    .map_err(Error::from);
    match inserted {
        Ok(_) => Ok(true),
        Err(error) if error.is_duplicate_key() => Ok(false),
        Err(error) => Err(error),
    }
}

/// The run with this id, its row locked.
pub(crate) async fn lock(connection: &mut Connection, id: Uuid) -> Result<Option<LockedRun>> {
    let sql = concat!(
        "SELECT ",
        run_columns!(),
        ", paused_from, planner_token, round_batches, idle_rounds, \
           rolled_back_at IS NOT NULL AS is_rolled_back FROM reelshift_runs WHERE id = ?",
        for_update!()
    );
    let row = sqlx::query(sql).bind(id.to_string()).fetch_optional(connection).await?;
    let Some(row) = row else { return Ok(None) };
    let paused_from: Option<String> = row.try_get("paused_from")?;
    Ok(Some(LockedRun {
        run: read(&row)?,
        paused_from: paused_from
            .map(|state| state.parse())
            .transpose()
            .map_err(|why| Error::unreadable("paused_from", why))?,
        planner_token: row.try_get("planner_token")?,
        round_batches: row::unsigned(&row, "round_batches")?,
        idle_rounds: row.try_get("idle_rounds")?,
        is_rolled_back: row.try_get("is_rolled_back")?,
    }))
}

/// The state of a run, and why; its planner loses its right.
pub(crate) async fn set_state(
    connection: &mut Connection,
    run: Uuid,
    state: RunState,
    reason: Option<&str>,
) -> Result<()> {
    sqlx::query(
        "UPDATE reelshift_runs SET state = ?, reason = ?, planner = NULL, planner_token = NULL, \
           planner_seen_at = NULL WHERE id = ?",
    )
    .bind(state.into_str())
    .bind(reason)
    .bind(run.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

/// Begins a round: the one before left `waiting` rows, and the round is due after `delay`.
pub(crate) async fn begin_round(
    connection: &mut Connection,
    run: Uuid,
    idle_rounds: u32,
    waiting: u64,
    delay: Option<Duration>,
) -> Result<()> {
    sqlx::query(concat!(
        "UPDATE reelshift_runs SET planned_to = NULL, round = round + 1, round_batches = 0, \
           idle_rounds = ?, rows_waiting = ?, sweep_at = CASE WHEN ? THEN ",
        age_ago!(),
        " END WHERE id = ?"
    ))
    .bind(idle_rounds)
    .bind(bind_count(waiting))
    .bind(delay.is_some())
    .bind(bind_ahead(delay.unwrap_or_default()))
    .bind(run.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives an open run its key, unless another has it.
pub(crate) async fn set_active_key(
    connection: &mut Connection,
    run: Uuid,
    key: &str,
) -> Result<()> {
    let keyed = sqlx::query("UPDATE reelshift_runs SET active_key = ? WHERE id = ?")
        .bind(key)
        .bind(run.to_string())
        .execute(connection)
        .await
        .map_err(Error::from);
    match keyed {
        Err(error) if !error.is_duplicate_key() => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Ends a run: its key is free, and nothing of it waits.
pub(crate) async fn close(connection: &mut Connection, run: Uuid) -> Result<()> {
    let sql = concat!(
        "UPDATE reelshift_runs SET active_key = NULL, rows_waiting = 0, sweep_at = NULL, \
           finished_at = ",
        now!(),
        " WHERE id = ?"
    );
    update(connection, run, sql).await
}

/// Says that a run has not ended.
pub(crate) async fn open(connection: &mut Connection, run: Uuid) -> Result<()> {
    update(connection, run, "UPDATE reelshift_runs SET finished_at = NULL WHERE id = ?").await
}

/// Says that a run was resumed now.
pub(crate) async fn set_resumed(connection: &mut Connection, run: Uuid) -> Result<()> {
    let sql = concat!("UPDATE reelshift_runs SET resumed_at = ", now!(), " WHERE id = ?");
    update(connection, run, sql).await
}

/// Executes a statement whose one value is the run's id.
pub(crate) async fn update(
    connection: &mut Connection,
    run: Uuid,
    sql: &'static str,
) -> Result<()> {
    sqlx::query(sql).bind(run.to_string()).execute(connection).await?;
    Ok(())
}

/// The state to which a paused run goes back.
pub(crate) async fn set_paused_from(
    connection: &mut Connection,
    run: Uuid,
    state: Option<RunState>,
) -> Result<()> {
    sqlx::query("UPDATE reelshift_runs SET paused_from = ? WHERE id = ?")
        .bind(state.as_ref().map(RunState::into_str))
        .bind(run.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

/// Says who decided about a run, now.
pub(crate) async fn set_decided_by(connection: &mut Connection, run: Uuid, by: &str) -> Result<()> {
    sqlx::query(concat!(
        "UPDATE reelshift_runs SET decided_by = ?, decided_at = ",
        now!(),
        " WHERE id = ?"
    ))
    .bind(by)
    .bind(run.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

/// Counts batches of a rerun into the run's round.
pub(crate) async fn add_to_round(
    connection: &mut Connection,
    run: Uuid,
    batches: u64,
) -> Result<()> {
    sqlx::query("UPDATE reelshift_runs SET round_batches = round_batches + ? WHERE id = ?")
        .bind(bind_count(batches))
        .bind(run.to_string())
        .execute(connection)
        .await?;
    Ok(())
}
