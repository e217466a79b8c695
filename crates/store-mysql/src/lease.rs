//! Leases: the tokens that fence every write.

use reelshift_store::StoreError;
use reelshift_store::ledger::Lease;
use sqlx::{MySql, MySqlConnection, QueryBuilder, Row as _, Transaction};

use crate::connection::MySqlStore;
use crate::error::{Error, Result};
use crate::id_list;

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

/// Ends leases, those that are held, as done.
pub(crate) async fn finish(store: &MySqlStore, leases: &[Lease]) -> Result<u64> {
    end(
        store,
        leases,
        "UPDATE reelshift_batches SET state = 'done', finished_at = NOW(6), leased_by = NULL, \
         lease_token = NULL",
    )
    .await
}

/// Ends leases, those that are held: the batches are pending as they are.
pub(crate) async fn release(store: &MySqlStore, leases: &[Lease]) -> Result<u64> {
    end(
        store,
        leases,
        "UPDATE reelshift_batches SET state = 'pending', leased_by = NULL, lease_token = NULL, \
         leased_at = NULL, alone_files = NULL",
    )
    .await
}

/// Executes `update` for those of `leases` that are still held.
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
