//! Pausing, resuming and cancelling one run: each in one transaction that begins with the
//! run's row and ends with a row of the history.

use reelshift_plan::RunState;
use reelshift_store::StoreError;
use reelshift_store::audit::AuditEvent;
use reelshift_store::controls::{BREAKER, CancelledRun, check_resumable, check_transition};
use reelshift_store::ledger::{PlannerLease, Run};
use reelshift_store::length::{BY_CHARACTERS, TEXT_BYTES, cut, cut_bytes};
use sqlx::{MySql, MySqlConnection, QueryBuilder};
use uuid::Uuid;

use crate::connection::MySqlStore;
use crate::error::{Error, Result};
use crate::run_rows::{self, run_columns};
use crate::{audit, id_list, runs};

/// The run, its row locked.
async fn lock(connection: &mut MySqlConnection, id: Uuid) -> Result<Run> {
    let sql = concat!("SELECT ", run_columns!(), " FROM reelshift_runs WHERE id = ? FOR UPDATE");
    let row = sqlx::query(sql).bind(id.to_string()).fetch_optional(connection).await?;
    let row =
        row.ok_or_else(|| Error::Store(StoreError::Invalid(format!("there is no run {id}"))))?;
    run_rows::read(&row)
}

/// Ends a transaction: writes the history, commits, and reads the run as it is now.
async fn decided(
    mut transaction: sqlx::Transaction<'static, MySql>,
    before: &Run,
    reason: Option<&str>,
    by: &str,
) -> Result<Run> {
    let run = runs::find(&mut transaction, before.id)
        .await?
        .ok_or_else(|| Error::unreadable("run", "it vanished while its row was locked"))?;
    let (previous, state) = (before.state, run.state);
    let event = AuditEvent::RunStateChanged { run: run.id, previous, state };
    audit::record(&mut transaction, event, reason, by).await?;
    transaction.commit().await?;
    Ok(run)
}

pub(crate) async fn pause_run(
    store: &MySqlStore,
    run: Uuid,
    reason: Option<&str>,
    by: &str,
) -> Result<Run> {
    let transaction = store.pool.begin().await?;
    let (transaction, run) = locked(transaction, run).await?;
    check_transition(&run, RunState::Paused)?;
    pause(transaction, &run, reason, by).await
}

/// Pauses a run because it mostly fails, if it still works.
pub(crate) async fn pause_active(
    store: &MySqlStore,
    run: Uuid,
    reason: &str,
) -> Result<Option<Run>> {
    let transaction = store.pool.begin().await?;
    let (transaction, run) = locked(transaction, run).await?;
    if !run.state.is_active() {
        return Ok(None);
    }
    Ok(Some(pause(transaction, &run, Some(reason), BREAKER).await?))
}

async fn locked(
    mut transaction: sqlx::Transaction<'static, MySql>,
    run: Uuid,
) -> Result<(sqlx::Transaction<'static, MySql>, Run)> {
    let run = lock(&mut transaction, run).await?;
    Ok((transaction, run))
}

async fn pause(
    mut transaction: sqlx::Transaction<'static, MySql>,
    run: &Run,
    reason: Option<&str>,
    by: &str,
) -> Result<Run> {
    let reason = reason.map(|reason| cut_bytes(reason, TEXT_BYTES));
    // Assignments are made from left to right.
    sqlx::query(
        "UPDATE reelshift_runs SET \
           paused_from = CASE WHEN state = 'paused' THEN paused_from ELSE state END, \
           state = 'paused', reason = ?, decided_by = ?, decided_at = NOW(6), planner = NULL, \
           planner_token = NULL, planner_seen_at = NULL WHERE id = ?",
    )
    .bind(reason)
    .bind(by)
    .bind(run.id.to_string())
    .execute(&mut *transaction)
    .await?;
    decided(transaction, run, reason, by).await
}

pub(crate) async fn resume_run(store: &MySqlStore, run: Uuid, by: &str) -> Result<Run> {
    let transaction = store.pool.begin().await?;
    let (mut transaction, run) = locked(transaction, run).await?;
    check_resumable(&run)?;
    sqlx::query(
        "UPDATE reelshift_runs SET state = COALESCE(paused_from, 'running'), paused_from = NULL, \
           reason = NULL, decided_by = ?, decided_at = NOW(6), resumed_at = NOW(6) WHERE id = ?",
    )
    .bind(by)
    .bind(run.id.to_string())
    .execute(&mut *transaction)
    .await?;
    decided(transaction, &run, None, by).await
}

pub(crate) async fn cancel_run(
    store: &MySqlStore,
    run: Uuid,
    reason: Option<&str>,
    by: &str,
) -> Result<CancelledRun> {
    let transaction = store.pool.begin().await?;
    let (mut transaction, run) = locked(transaction, run).await?;
    check_transition(&run, RunState::Cancelled)?;
    let reason = reason.map(|reason| cut_bytes(reason, TEXT_BYTES));
    if run.state != RunState::Cancelled {
        sqlx::query(
            "UPDATE reelshift_runs SET state = 'cancelled', paused_from = NULL, active_key = NULL, \
               reason = ?, decided_by = ?, decided_at = NOW(6), finished_at = NOW(6), \
               rows_waiting = 0, sweep_at = NULL, planner = NULL, planner_token = NULL, planner_seen_at = NULL WHERE id = ?",
        )
        .bind(reason)
        .bind(by)
        .bind(run.id.to_string())
        .execute(&mut *transaction)
        .await?;
    }
    // By primary key, in order, as everything that ends a lease: a chunk in flight holds
    // its batch's row, and is waited for.
    let leased: Vec<i64> = sqlx::query_scalar(
        "SELECT seq FROM reelshift_batches WHERE run_id = ? AND state = 'leased' ORDER BY seq",
    )
    .bind(run.id.to_string())
    .fetch_all(&mut *transaction)
    .await?;
    let mut fenced = 0;
    for seqs in leased.chunks(id_list::MAX_LISTED_VALUES) {
        fenced += cancel(&mut transaction, seqs, "state = 'leased'").await?;
    }
    let run = decided(transaction, &run, reason, by).await?;
    Ok(CancelledRun { run, leased: fenced })
}

pub(crate) async fn fail_planning(
    store: &MySqlStore,
    lease: &PlannerLease,
    reason: &str,
    by: &str,
) -> Result<()> {
    let reason = cut_bytes(reason, TEXT_BYTES);
    let mut transaction = store.pool.begin().await?;
    let failed = sqlx::query(
        "UPDATE reelshift_runs SET state = 'failed', active_key = NULL, reason = ?, decided_by = ?, \
           decided_at = NOW(6), finished_at = NOW(6), rows_waiting = 0, sweep_at = NULL, \
           planner = NULL, planner_token = NULL, planner_seen_at = NULL \
         WHERE id = ? AND planner_token = ? AND state IN ('planning', 'sweeping')",
    )
    .bind(reason)
    .bind(cut(by, BY_CHARACTERS))
    .bind(lease.run.id.to_string())
    .bind(lease.token)
    .execute(&mut *transaction)
    .await?;
    if failed.rows_affected() == 0 {
        return Err(Error::Store(StoreError::LeaseLost));
    }
    decided(transaction, &lease.run, Some(reason), by).await?;
    Ok(())
}

/// Also what a claim leased that had begun before the run was cancelled.
pub(crate) async fn cancel_pending(store: &MySqlStore, run: Uuid, limit: u32) -> Result<u64> {
    let mut connection = store.pool.acquire().await?;
    let open: Vec<i64> = sqlx::query_scalar(
        "SELECT b.seq FROM reelshift_batches b JOIN reelshift_runs r ON r.id = b.run_id \
         WHERE r.id = ? AND r.state = 'cancelled' AND b.state IN ('pending', 'leased') LIMIT ?",
    )
    .bind(run.to_string())
    .bind(limit)
    .fetch_all(&mut *connection)
    .await?;
    let mut cancelled = 0;
    for seqs in open.chunks(id_list::MAX_LISTED_VALUES) {
        cancelled += cancel(&mut connection, seqs, "state IN ('pending', 'leased')").await?;
    }
    Ok(cancelled)
}

/// By primary key: a delete by run would lock what others set aside meanwhile.
pub(crate) async fn free_quarantine(store: &MySqlStore, run: Uuid, limit: u32) -> Result<u64> {
    let mut connection = store.pool.acquire().await?;
    let entries: Vec<(String, String)> = sqlx::query_as(
        "SELECT q.kind, q.video_id FROM reelshift_quarantine q JOIN reelshift_runs r ON r.id = q.run_id \
         WHERE r.id = ? AND r.state = 'cancelled' LIMIT ?",
    )
    .bind(run.to_string())
    .bind(limit)
    .fetch_all(&mut *connection)
    .await?;
    let Some((kind, _)) = entries.first().cloned() else { return Ok(0) };
    let ids: Vec<String> = entries.into_iter().map(|(_, id)| id).collect();
    let mut freed = 0;
    for ids in ids.chunks(id_list::MAX_LISTED_VALUES) {
        let mut query =
            QueryBuilder::<MySql>::new("DELETE FROM reelshift_quarantine WHERE run_id = ");
        query.push_bind(run.to_string()).push(" AND kind = ").push_bind(kind.clone());
        query.push(" AND video_id IN ");
        id_list::push(&mut query, ids);
        freed += query.build().execute(&mut *connection).await?.rows_affected();
    }
    Ok(freed)
}

async fn cancel(connection: &mut MySqlConnection, seqs: &[i64], so: &str) -> Result<u64> {
    let mut query = QueryBuilder::<MySql>::new(
        "UPDATE reelshift_batches SET state = 'cancelled', finished_at = NOW(6), leased_by = NULL, \
         lease_token = NULL WHERE ",
    );
    query.push(so).push(" AND seq IN ");
    id_list::push(&mut query, seqs);
    Ok(query.build().execute(connection).await?.rows_affected())
}
