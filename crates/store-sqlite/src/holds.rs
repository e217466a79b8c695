//! Pausing, resuming and cancelling one run: each in one transaction that ends with a row
//! of the history.

use reelshift_plan::RunState;
use reelshift_store::StoreError;
use reelshift_store::audit::AuditEvent;
use reelshift_store::controls::{CancelledRun, check_resumable, check_transition};
use reelshift_store::ledger::{PlannerLease, Run};
use reelshift_store::length::{TEXT_BYTES, cut_bytes};
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::error::Result;
use crate::timestamp::now;
use crate::{SqliteStore, audit, runs};

/// Writes the history, and reads the run as it is now.
async fn decided(
    tx: &mut SqliteConnection,
    before: &Run,
    reason: Option<&str>,
    by: &str,
) -> Result<Run> {
    let run = runs::existing(tx, before.id).await?;
    let (previous, state) = (before.state, run.state);
    let event = AuditEvent::RunStateChanged { run: run.id, previous, state };
    audit::record(tx, event, reason, by).await?;
    Ok(run)
}

pub(crate) async fn pause_run(
    store: &SqliteStore,
    run: Uuid,
    reason: Option<&str>,
    by: &str,
) -> Result<Run> {
    let mut tx = store.write().await?;
    let run = runs::existing(&mut tx, run).await?;
    check_transition(&run, RunState::Paused)?;
    let run = pause(&mut tx, &run, reason, by).await?;
    tx.commit().await?;
    Ok(run)
}

/// Pauses a run that works or is paused.
pub(crate) async fn pause(
    tx: &mut SqliteConnection,
    run: &Run,
    reason: Option<&str>,
    by: &str,
) -> Result<Run> {
    let reason = reason.map(|reason| cut_bytes(reason, TEXT_BYTES));
    sqlx::query(concat!(
        "UPDATE reelshift_runs SET
             paused_from = CASE WHEN state = 'paused' THEN paused_from ELSE state END,
             state = 'paused', reason = ?, decided_by = ?, decided_at = ",
        now!(),
        ", planner = NULL, planner_token = NULL, planner_seen_at = NULL WHERE id = ?"
    ))
    .bind(reason)
    .bind(by)
    .bind(run.id.to_string())
    .execute(&mut *tx)
    .await?;
    decided(tx, run, reason, by).await
}

pub(crate) async fn resume_run(store: &SqliteStore, run: Uuid, by: &str) -> Result<Run> {
    let mut tx = store.write().await?;
    let run = runs::existing(&mut tx, run).await?;
    check_resumable(&run)?;
    sqlx::query(concat!(
        "UPDATE reelshift_runs SET state = COALESCE(paused_from, 'running'), paused_from = NULL,
             reason = NULL, decided_by = ?, decided_at = ",
        now!(),
        ", resumed_at = ",
        now!(),
        " WHERE id = ?"
    ))
    .bind(by)
    .bind(run.id.to_string())
    .execute(&mut *tx)
    .await?;
    let run = decided(&mut tx, &run, None, by).await?;
    tx.commit().await?;
    Ok(run)
}

pub(crate) async fn cancel_run(
    store: &SqliteStore,
    run: Uuid,
    reason: Option<&str>,
    by: &str,
) -> Result<CancelledRun> {
    let mut tx = store.write().await?;
    let run = runs::existing(&mut tx, run).await?;
    check_transition(&run, RunState::Cancelled)?;
    let reason = reason.map(|reason| cut_bytes(reason, TEXT_BYTES));
    if run.state != RunState::Cancelled {
        sqlx::query(concat!(
            "UPDATE reelshift_runs SET state = 'cancelled', paused_from = NULL, active_key = NULL,
                 reason = ?, decided_by = ?, decided_at = ",
            now!(),
            ", finished_at = ",
            now!(),
            ", rows_waiting = 0, sweep_at = NULL, planner = NULL, planner_token = NULL,
                 planner_seen_at = NULL WHERE id = ?"
        ))
        .bind(reason)
        .bind(by)
        .bind(run.id.to_string())
        .execute(&mut *tx)
        .await?;
    }
    let leased = sqlx::query(concat!(
        "UPDATE reelshift_batches SET state = 'cancelled', leased_by = NULL, lease_token = NULL,
             finished_at = ",
        now!(),
        " WHERE run_id = ? AND state = 'leased'"
    ))
    .bind(run.id.to_string())
    .execute(&mut *tx)
    .await?
    .rows_affected();
    let run = decided(&mut tx, &run, reason, by).await?;
    tx.commit().await?;
    Ok(CancelledRun { run, leased })
}

pub(crate) async fn fail_planning(
    store: &SqliteStore,
    lease: &PlannerLease,
    reason: &str,
    by: &str,
) -> Result<()> {
    let reason = cut_bytes(reason, TEXT_BYTES);
    let mut tx = store.write().await?;
    let failed = sqlx::query(concat!(
        "UPDATE reelshift_runs SET state = 'failed', active_key = NULL, reason = ?, decided_by = ?,
             decided_at = ",
        now!(),
        ", finished_at = ",
        now!(),
        ", rows_waiting = 0, sweep_at = NULL, planner = NULL, planner_token = NULL,
             planner_seen_at = NULL
         WHERE id = ? AND planner_token = ? AND state IN ('planning', 'sweeping')"
    ))
    .bind(reason)
    .bind(by)
    .bind(lease.run.id.to_string())
    .bind(lease.token)
    .execute(&mut *tx)
    .await?;
    if failed.rows_affected() == 0 {
        return Err(StoreError::LeaseLost.into());
    }
    decided(&mut tx, &lease.run, Some(reason), by).await?;
    Ok(tx.commit().await?)
}

pub(crate) async fn cancel_pending(store: &SqliteStore, run: Uuid, limit: u32) -> Result<u64> {
    Ok(sqlx::query(concat!(
        "UPDATE reelshift_batches SET state = 'cancelled', finished_at = ",
        now!(),
        " WHERE state = 'pending' AND seq IN (
             SELECT b.seq FROM reelshift_batches b JOIN reelshift_runs r ON r.id = b.run_id
             WHERE r.id = ? AND r.state = 'cancelled' AND b.state = 'pending' LIMIT ?)"
    ))
    .bind(run.to_string())
    .bind(limit)
    .execute(&store.writer)
    .await?
    .rows_affected())
}

pub(crate) async fn free_quarantine(store: &SqliteStore, run: Uuid, limit: u32) -> Result<u64> {
    Ok(sqlx::query(
        "DELETE FROM reelshift_quarantine WHERE (kind, video_id) IN (
             SELECT q.kind, q.video_id FROM reelshift_quarantine q
             JOIN reelshift_runs r ON r.id = q.run_id
             WHERE r.id = ? AND r.state = 'cancelled' LIMIT ?)",
    )
    .bind(run.to_string())
    .bind(limit)
    .execute(&store.writer)
    .await?
    .rows_affected())
}
