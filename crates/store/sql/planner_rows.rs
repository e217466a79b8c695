//! Rows of `reelshift_runs`, as planners write them.

use std::time::Duration;

use uuid::Uuid;

use crate::dialect::{Connection, age_ago, bind_age, bind_count, now};
use crate::error::Result;
use crate::run_rows;

/// Counts batches into a run and its round, which has come to `planned_to` where given.
pub(crate) async fn advance(
    connection: &mut Connection,
    run: Uuid,
    planned_to: Option<&str>,
    [batches, rows, bytes]: [u64; 3],
) -> Result<()> {
    sqlx::query(concat!(
        "UPDATE reelshift_runs SET planned_to = COALESCE(?, planned_to), planner_seen_at = ",
        now!(),
        ", round_batches = round_batches + ?, batches_total = batches_total + ?, \
           rows_total = rows_total + ?, bytes_total = bytes_total + ? WHERE id = ?"
    ))
    .bind(planned_to)
    .bind(bind_count(batches))
    .bind(bind_count(batches))
    .bind(bind_count(rows))
    .bind(bind_count(bytes))
    .bind(run.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives the right to plan to `planner`, who writes now.
pub(crate) async fn set_planner(
    connection: &mut Connection,
    run: Uuid,
    planner: &str,
    token: i64,
) -> Result<()> {
    sqlx::query(concat!(
        "UPDATE reelshift_runs SET planner = ?, planner_token = ?, planner_seen_at = ",
        now!(),
        " WHERE id = ?"
    ))
    .bind(planner)
    .bind(token)
    .bind(run.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether a planner has written within `timeout`.
pub(crate) async fn planner_alive(
    connection: &mut Connection,
    run: Uuid,
    timeout: Duration,
) -> Result<bool> {
    let alive: i64 = sqlx::query_scalar(concat!(
        "SELECT COUNT(*) FROM reelshift_runs WHERE id = ? AND planner_token IS NOT NULL \
           AND planner_seen_at >= ",
        age_ago!()
    ))
    .bind(run.to_string())
    .bind(bind_age(timeout))
    .fetch_one(connection)
    .await?;
    Ok(alive > 0)
}

/// Whether the next sweep of `run` is due later than now.
pub(crate) async fn sweep_waits(connection: &mut Connection, run: Uuid) -> Result<bool> {
    let waiting: i64 = sqlx::query_scalar(concat!(
        "SELECT COUNT(*) FROM reelshift_runs WHERE id = ? AND sweep_at > ",
        now!()
    ))
    .bind(run.to_string())
    .fetch_one(connection)
    .await?;
    Ok(waiting > 0)
}

/// Takes the right to plan back.
pub(crate) async fn clear_planner(connection: &mut Connection, run: Uuid) -> Result<()> {
    let sql = "UPDATE reelshift_runs SET planner = NULL, planner_token = NULL, \
       planner_seen_at = NULL WHERE id = ?";
    run_rows::update(connection, run, sql).await
}
