//! Leases: the tokens that fence every write, and the ends that an attempt can have.

use std::time::Duration;

use reelshift_plan::BatchState;
use reelshift_store::ledger::{Finished, Lease};
use reelshift_store::length::{ERROR_TYPE_CHARACTERS, cut};
use reelshift_store::{ErrorRecord, StoreError};
use sqlx::{MySql, MySqlConnection, QueryBuilder, Row as _, Transaction};

use crate::connection::MySqlStore;
use crate::error::{Error, Result};
use crate::failures;
use crate::id_list;
use crate::timestamp::microseconds;

/// The batch behind a lease that is still held; its row stays locked, so that whoever
/// takes the lease waits for this transaction.
pub(crate) struct Fence {
    pub(crate) batch_id: String,
    pub(crate) run_id: String,
    /// That of the last failed attempt.
    pub(crate) last_error_id: Option<String>,
}

pub(crate) async fn fence(connection: &mut MySqlConnection, lease: Lease) -> Result<Fence> {
    let row = sqlx::query(
        "SELECT id, run_id, last_error_id FROM reelshift_batches \
         WHERE seq = ? AND lease_token = ? AND state = 'leased' FOR UPDATE",
    )
    .bind(lease.seq)
    .bind(lease.token)
    .fetch_optional(connection)
    .await?;
    let row = row.ok_or(Error::Store(StoreError::LeaseLost))?;
    Ok(Fence {
        batch_id: row.try_get("id")?,
        run_id: row.try_get("run_id")?,
        last_error_id: row.try_get("last_error_id")?,
    })
}

/// Commits what succeeded. Where the connection is gone, that is the error: a server that
/// kills a connection calls the triggers and tables of its statement broken (MariaDB: 1064,
/// 1146), which would be blamed on a row.
pub(crate) async fn commit_or_roll_back<T>(
    transaction: Transaction<'_, MySql>,
    written: Result<T>,
) -> Result<T> {
    match written {
        Ok(written) => {
            transaction.commit().await?;
            Ok(written)
        }
        Err(error) => {
            transaction.rollback().await?;
            Err(error)
        }
    }
}

/// Batches that ended without a failure on the way are finished in one statement; each of
/// the others in a transaction of its own with the rows of its attempts.
pub(crate) async fn finish(store: &MySqlStore, finished: &[Finished]) -> Result<u64> {
    let plain: Vec<Lease> = finished
        .iter()
        .filter(|finished| finished.last_error_id.is_none())
        .map(|finished| finished.lease)
        .collect();
    let mut done = end(
        store,
        &plain,
        "UPDATE reelshift_batches SET state = 'done', finished_at = NOW(6), leased_by = NULL, \
         lease_token = NULL",
    )
    .await?;
    for finished in finished {
        if let Some(error) = &finished.last_error_id {
            done += finish_recovered(store, finished.lease, error).await?;
        }
    }
    Ok(done)
}

async fn finish_recovered(store: &MySqlStore, lease: Lease, last_error: &str) -> Result<u64> {
    let mut transaction = store.pool.begin().await?;
    let updated = sqlx::query(
        "UPDATE reelshift_batches SET state = 'done', finished_at = NOW(6), leased_by = NULL, \
           lease_token = NULL WHERE seq = ? AND lease_token = ? AND state = 'leased'",
    )
    .bind(lease.seq)
    .bind(lease.token)
    .execute(&mut *transaction)
    .await?;
    if updated.rows_affected() > 0 {
        failures::mark_chain_recovered(&mut transaction, last_error).await?;
    }
    transaction.commit().await?;
    Ok(updated.rows_affected())
}

pub(crate) async fn release(store: &MySqlStore, leases: &[Lease]) -> Result<u64> {
    end(
        store,
        leases,
        "UPDATE reelshift_batches SET state = 'pending', leased_by = NULL, lease_token = NULL, \
         leased_at = NULL, alone_files = NULL",
    )
    .await
}

/// Ends those of `leases` that are still held, as `update` says.
async fn end(store: &MySqlStore, leases: &[Lease], update: &'static str) -> Result<u64> {
    let mut leases = leases.to_vec();
    leases.sort_unstable_by_key(|lease| lease.seq);
    leases.dedup();
    let mut ended = 0;
    for leases in leases.chunks(id_list::MAX_LISTED_VALUES) {
        let seqs: Vec<i64> = leases.iter().map(|lease| lease.seq).collect();
        let mut query = QueryBuilder::<MySql>::new(update);
        // The list of sequences gives the range over the primary key; that of pairs
        // alone would not in every version.
        query.push(" WHERE state = 'leased' AND seq IN ");
        id_list::push(&mut query, &seqs);
        query.push(" AND (seq, lease_token) IN (");
        let mut pairs = query.separated(", ");
        for lease in id_list::padded(leases) {
            pairs
                .push("(")
                .push_bind_unseparated(lease.seq)
                .push_unseparated(", ")
                .push_bind_unseparated(lease.token)
                .push_unseparated(")");
        }
        query.push(")");
        ended += query.build().execute(&store.pool).await?.rows_affected();
    }
    Ok(ended)
}

pub(crate) async fn fail_attempt(
    store: &MySqlStore,
    lease: Lease,
    retry: bool,
    delay: Duration,
    error: &ErrorRecord,
) -> Result<BatchState> {
    let mut transaction = store.pool.begin().await?;
    let row = sqlx::query(
        "SELECT attempts, max_attempts, last_error_id FROM reelshift_batches \
         WHERE seq = ? AND lease_token = ? AND state = 'leased' FOR UPDATE",
    )
    .bind(lease.seq)
    .bind(lease.token)
    .fetch_optional(&mut *transaction)
    .await?;
    let row = row.ok_or(Error::Store(StoreError::LeaseLost))?;
    let attempts: u32 = row.try_get("attempts")?;
    let max_attempts: u32 = row.try_get("max_attempts")?;
    let parent: Option<String> = row.try_get("last_error_id")?;
    let next = BatchState::after_failure(retry, attempts, max_attempts);

    let parent = failures::Parent::Batch(parent.as_deref());
    failures::insert(&mut transaction, std::slice::from_ref(error), parent).await?;
    sqlx::query(
        "UPDATE reelshift_batches SET attempts = attempts + 1, leased_by = NULL, lease_token = NULL, \
           leased_at = CASE WHEN ? THEN NULL ELSE leased_at END, alone_files = NULL, \
           last_error_id = ?, last_error_type = ?, state = ?, \
           run_at = CASE WHEN ? THEN NOW(6) + INTERVAL ? MICROSECOND ELSE run_at END, \
           finished_at = CASE WHEN ? THEN NULL ELSE NOW(6) END \
         WHERE seq = ? AND lease_token = ? AND state = 'leased'",
    )
    .bind(next == BatchState::Pending)
    .bind(error.id.to_string())
    .bind(cut(&error.error_type, ERROR_TYPE_CHARACTERS))
    .bind(next.into_str())
    .bind(next == BatchState::Pending)
    .bind(microseconds(delay))
    .bind(next == BatchState::Pending)
    .bind(lease.seq)
    .bind(lease.token)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(next)
}
