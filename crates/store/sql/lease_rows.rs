//! Rows of `reelshift_batches` that somebody leases, and the ends of a lease. A statement about all
//! batches of a run or of a worker reads their keys without locks, then writes by primary key in
//! ascending order. Whoever else ends leases locks the rows in that order too.

use std::time::Duration;

use reelshift_store::ErrorRecord;
use reelshift_store::ledger::{Lease, LeasedBatch, RootSuspicion};
use reelshift_store::length::{ERROR_TYPE_CHARACTERS, cut};
use sqlx::{QueryBuilder, Row as _};
use uuid::Uuid;

use crate::dialect::{Connection, Db, age_ago, bind_ahead, for_update, now};
use crate::error::Result;
use crate::{id_list, row};

/// What `worker` leases.
pub(crate) async fn leases_of(connection: &mut Connection, worker: Uuid) -> Result<Vec<Lease>> {
    let leases: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT seq, lease_token FROM reelshift_batches WHERE leased_by = ? AND state = 'leased'",
    )
    .bind(worker.to_string())
    .fetch_all(connection)
    .await?;
    Ok(leases.into_iter().map(|(seq, token)| Lease { seq, token }).collect())
}

/// The batch of a lease that is held, locked.
pub(crate) async fn lock(connection: &mut Connection, lease: Lease) -> Result<Option<LeasedBatch>> {
    let row = sqlx::query(concat!(
        "SELECT attempts, max_attempts, last_error_id FROM reelshift_batches \
         WHERE seq = ? AND lease_token = ? AND state = 'leased'",
        for_update!()
    ))
    .bind(lease.seq)
    .bind(lease.token)
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(LeasedBatch {
            attempts: row.try_get("attempts")?,
            max_attempts: row.try_get("max_attempts")?,
            last_error_id: row.try_get("last_error_id")?,
        })
    })
    .transpose()
}

/// Ends a lease after a failure: the batch is due again after `delay`.
pub(crate) async fn retry(
    connection: &mut Connection,
    lease: Lease,
    error: &ErrorRecord,
    delay: Duration,
) -> Result<()> {
    sqlx::query(concat!(
        "UPDATE reelshift_batches SET state = 'pending', attempts = attempts + 1, leased_by = NULL, \
           lease_token = NULL, leased_at = NULL, alone_files = NULL, finished_at = NULL, \
           last_error_id = ?, last_error_type = ?, run_at = ",
        age_ago!(),
        " WHERE seq = ? AND lease_token = ? AND state = 'leased'"
    ))
    .bind(error.id.to_string())
    .bind(cut(&error.error_type, ERROR_TYPE_CHARACTERS))
    .bind(bind_ahead(delay))
    .bind(lease.seq)
    .bind(lease.token)
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends a lease after a failure: the batch is tried no more.
pub(crate) async fn fail(
    connection: &mut Connection,
    lease: Lease,
    error: &ErrorRecord,
) -> Result<()> {
    sqlx::query(concat!(
        "UPDATE reelshift_batches SET state = 'failed', attempts = attempts + 1, leased_by = NULL, \
           lease_token = NULL, alone_files = NULL, last_error_id = ?, last_error_type = ?, \
           finished_at = ",
        now!(),
        " WHERE seq = ? AND lease_token = ? AND state = 'leased'"
    ))
    .bind(error.id.to_string())
    .bind(cut(&error.error_type, ERROR_TYPE_CHARACTERS))
    .bind(lease.seq)
    .bind(lease.token)
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends a lease, if it is held: the batch is done.
pub(crate) async fn finish(connection: &mut Connection, lease: Lease) -> Result<bool> {
    let finished = sqlx::query(concat!(
        "UPDATE reelshift_batches SET state = 'done', leased_by = NULL, lease_token = NULL, \
           finished_at = ",
        now!(),
        " WHERE seq = ? AND lease_token = ? AND state = 'leased'"
    ))
    .bind(lease.seq)
    .bind(lease.token)
    .execute(connection)
    .await?;
    Ok(finished.rows_affected() > 0)
}

/// Cancels the leased batches of `run`. A chunk in flight holds its batch's row, and is waited
/// for.
pub(crate) async fn cancel_leased(connection: &mut Connection, run: Uuid) -> Result<u64> {
    let leased: Vec<i64> = sqlx::query_scalar(
        "SELECT seq FROM reelshift_batches WHERE run_id = ? AND state = 'leased' ORDER BY seq",
    )
    .bind(run.to_string())
    .fetch_all(&mut *connection)
    .await?;
    cancel(connection, &leased, "'leased'").await
}

/// Cancels up to `limit` open batches of `run`.
pub(crate) async fn cancel_open(connection: &mut Connection, run: Uuid, limit: u32) -> Result<u64> {
    let mut open: Vec<i64> = sqlx::query_scalar(
        "SELECT seq FROM reelshift_batches WHERE run_id = ? AND state IN ('pending', 'leased') LIMIT ?",
    )
    .bind(run.to_string())
    .bind(limit)
    .fetch_all(&mut *connection)
    .await?;
    // Here: an ORDER BY would sort all that are open for the few.
    open.sort_unstable();
    cancel(connection, &open, "'pending', 'leased'").await
}

async fn cancel(connection: &mut Connection, seqs: &[i64], states: &'static str) -> Result<u64> {
    let mut cancelled = 0;
    for seqs in seqs.chunks(id_list::MAX_LISTED_VALUES) {
        let mut query = QueryBuilder::<Db>::new(concat!(
            "UPDATE reelshift_batches SET state = 'cancelled', leased_by = NULL, \
               lease_token = NULL, finished_at = ",
            now!(),
            " WHERE state IN ("
        ));
        query.push(states).push(") AND seq IN ");
        id_list::push(&mut query, seqs);
        cancelled += query.build().execute(&mut *connection).await?.rows_affected();
    }
    Ok(cancelled)
}

/// Makes whatever `worker` leases pending again; `lost` where it did not give it back itself.
pub(crate) async fn give_back(
    connection: &mut Connection,
    worker: Uuid,
    lost: bool,
) -> Result<u64> {
    let seqs: Vec<i64> =
        sqlx::query_scalar("SELECT seq FROM reelshift_batches WHERE leased_by = ? ORDER BY seq")
            .bind(worker.to_string())
            .fetch_all(&mut *connection)
            .await?;
    let mut given_back = 0;
    for seqs in seqs.chunks(id_list::MAX_LISTED_VALUES) {
        let mut query = QueryBuilder::<Db>::new(
            "UPDATE reelshift_batches SET state = 'pending', leased_by = NULL, lease_token = NULL, \
             leased_at = NULL, lost_leases = lost_leases + ",
        );
        query.push_bind(u32::from(lost)).push(", alone_files = CASE WHEN ").push_bind(lost);
        query.push(" THEN alone_files END WHERE state = 'leased' AND leased_by = ");
        query.push_bind(worker.to_string()).push(" AND seq IN ");
        id_list::push(&mut query, seqs);
        given_back += query.build().execute(&mut *connection).await?.rows_affected();
    }
    Ok(given_back)
}

/// What workers other than `worker` found of the files of a leased batch.
pub(crate) async fn root_suspicion(
    connection: &mut Connection,
    lease: Lease,
    worker: Uuid,
) -> Result<Option<RootSuspicion>> {
    let row = sqlx::query(
        "SELECT COALESCE(b.root_suspected_by <> ?, FALSE) AS of_batch, b.root_suspicions, \
           EXISTS (SELECT 1 FROM reelshift_batches o \
             WHERE o.run_id = b.run_id AND o.root_suspected_by <> ?) AS of_run, \
           EXISTS (SELECT 1 FROM reelshift_batches o \
             WHERE o.run_id = b.run_id AND o.rows_done > 0) AS run_has_hashes, \
           COALESCE((SELECT o.items FROM reelshift_batches o \
             WHERE o.run_id = b.run_id AND o.rows_done > 0 LIMIT 1), \
             (SELECT o.items FROM reelshift_runs r JOIN reelshift_batches o ON o.run_id = r.id \
               WHERE r.kind = 'hash' AND r.rolled_back_at IS NULL AND o.rows_done > 0 \
               LIMIT 1)) AS hashed_items \
         FROM reelshift_batches b WHERE b.seq = ? AND b.lease_token = ? AND b.state = 'leased'",
    )
    .bind(worker.to_string())
    .bind(worker.to_string())
    .bind(lease.seq)
    .bind(lease.token)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let items: Option<String> = row.try_get("hashed_items")?;
    let items = items.map(|items| row::json(&items, "list of items")).transpose()?;
    let holds = |column| -> Result<bool> { Ok(row.try_get::<i64, _>(column)? != 0) };
    Ok(Some(RootSuspicion {
        of_batch: holds("of_batch")?,
        of_run: holds("of_run")?,
        times: row.try_get("root_suspicions")?,
        run_has_hashes: holds("run_has_hashes")?,
        hashed_items: items.unwrap_or_default(),
    }))
}

/// Says which worker, if none has before, does not find the files of a leased batch.
pub(crate) async fn suspect_root(
    connection: &mut Connection,
    lease: Lease,
    worker: Uuid,
) -> Result<()> {
    sqlx::query(
        "UPDATE reelshift_batches SET root_suspected_by = COALESCE(root_suspected_by, ?), \
           root_suspicions = root_suspicions + 1 \
         WHERE seq = ? AND lease_token = ?",
    )
    .bind(worker.to_string())
    .bind(lease.seq)
    .bind(lease.token)
    .execute(connection)
    .await?;
    Ok(())
}

/// Says how many files of a leased batch are read alone.
pub(crate) async fn set_alone_files(
    connection: &mut Connection,
    lease: Lease,
    files: Option<u32>,
) -> Result<()> {
    sqlx::query("UPDATE reelshift_batches SET alone_files = ? WHERE seq = ? AND lease_token = ?")
        .bind(files)
        .bind(lease.seq)
        .bind(lease.token)
        .execute(connection)
        .await?;
    Ok(())
}
