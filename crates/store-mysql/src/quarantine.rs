//! Setting items aside: what a batch cannot do is written down, and the batch goes on.
//!
//! Nothing here writes `videos`: the row may be one that refuses to be written.

use std::collections::HashSet;

use reelshift_store::StoreError;
use reelshift_store::ledger::Lease;
use reelshift_store::length::{ERROR_TYPE_CHARACTERS, TEXT_BYTES, cut, cut_bytes};
use reelshift_store::videos::FailedItem;
use sqlx::{Acquire as _, MySql, MySqlConnection, QueryBuilder};

use crate::connection::MySqlStore;
use crate::error::{Error, Result};
use crate::failures::{self, Parent};
use crate::lease::{self, Fence};
use crate::legacy::VideosTable;
use crate::session::NEVER_WAIT;
use crate::{chunk, id_list};

/// Items in one statement, each with a message of up to 64 KiB.
const ITEMS_PER_STATEMENT: usize = 64;

pub(crate) async fn set_aside(
    store: &MySqlStore,
    lease: Lease,
    items: &[FailedItem],
) -> Result<u64> {
    let videos = store.legacy().await?;
    let mut transaction = store.pool.begin().await?;
    let written = write_all(&mut transaction, lease, items, videos).await;
    lease::commit_or_roll_back(transaction, written).await
}

async fn write_all(
    connection: &mut MySqlConnection,
    lease: Lease,
    items: &[FailedItem],
    videos: &VideosTable,
) -> Result<u64> {
    let fence = lease::fence(connection, lease).await?;
    let Written { quarantined, status_rows } = write(connection, &fence, items, videos).await?;
    sqlx::query(
        "UPDATE reelshift_batches SET rows_quarantined = rows_quarantined + ?, \
           status_rows_created = status_rows_created + ? WHERE seq = ? AND lease_token = ?",
    )
    .bind(quarantined)
    .bind(status_rows)
    .bind(lease.seq)
    .bind(lease.token)
    .execute(connection)
    .await?;
    Ok(quarantined)
}

/// What setting items aside wrote.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Items whose video is there.
    pub(crate) quarantined: u64,
    /// Status rows that were not there.
    pub(crate) status_rows: u64,
}

/// Logs `items` and quarantines those whose video is there.
pub(crate) async fn write(
    connection: &mut MySqlConnection,
    fence: &Fence,
    items: &[FailedItem],
    videos: &VideosTable,
) -> Result<Written> {
    let mut written = Written::default();
    let parent = Parent::Item(fence.last_error_id.as_deref());
    for items in items.chunks(ITEMS_PER_STATEMENT) {
        let errors: Vec<_> = items.iter().map(|item| item.error.clone()).collect();
        let present = failures::insert(connection, &errors, parent).await?;
        let items: Vec<&FailedItem> =
            items.iter().filter(|item| present.contains(&item.video_id)).collect();
        if items.is_empty() {
            continue;
        }
        insert(connection, fence, &items).await?;
        written.status_rows += count_errors(connection, &items, videos).await?;
        written.quarantined += items.len() as u64;
    }
    Ok(written)
}

async fn insert(
    connection: &mut MySqlConnection,
    fence: &Fence,
    items: &[&FailedItem],
) -> Result<()> {
    // A read that locks nothing: all workers of a run share its row.
    let kind: String = sqlx::query_scalar("SELECT kind FROM reelshift_runs WHERE id = ?")
        .bind(&fence.run_id)
        .fetch_one(&mut *connection)
        .await?;
    let mut query = QueryBuilder::<MySql>::new(
        "INSERT INTO reelshift_quarantine (kind, video_id, run_id, batch_id, error_id, error_type) ",
    );
    query.push_values(id_list::padded(items), |mut values, item| {
        values
            .push_bind(kind.clone())
            .push_bind(item.video_id.clone())
            .push_bind(fence.run_id.clone())
            .push_bind(fence.batch_id.clone())
            .push_bind(item.error.id.to_string())
            .push_bind(cut(&item.error.error_type, ERROR_TYPE_CHARACTERS).to_owned());
    });
    query.push(
        " ON DUPLICATE KEY UPDATE run_id = VALUES(run_id), batch_id = VALUES(batch_id), \
           error_id = VALUES(error_id), error_type = VALUES(error_type), created_at = NOW(6), \
           accepted_at = NULL, accepted_by = NULL, accepted_reason = NULL",
    );
    query.build().execute(connection).await?;
    Ok(())
}

/// The error columns of the status rows. A trigger of somebody else's may refuse these as
/// well: then the item is set aside without them. Returns how many status rows were made.
async fn count_errors(
    connection: &mut MySqlConnection,
    items: &[&FailedItem],
    videos: &VideosTable,
) -> Result<u64> {
    let mut savepoint = connection.begin().await?;
    match write_counts(&mut savepoint, items, videos).await {
        Ok(made) => {
            savepoint.commit().await?;
            Ok(made)
        }
        Err(error) => match StoreError::from(error) {
            refused @ (StoreError::RowRefused { .. } | StoreError::Permanent { .. }) => {
                tracing::warn!(
                    %refused, items = items.len(),
                    "the error columns of video_processing_status could not be written"
                );
                savepoint.rollback().await?;
                Ok(0)
            }
            error => Err(Error::Store(error)),
        },
    }
}

async fn write_counts(
    connection: &mut MySqlConnection,
    items: &[&FailedItem],
    videos: &VideosTable,
) -> Result<u64> {
    let mut ids: Vec<String> = items.iter().map(|item| item.video_id.clone()).collect();
    let with_row: HashSet<String> =
        chunk::lock_status_rows(connection, &ids).await?.into_iter().collect();
    ids.retain(|id| !with_row.contains(id));
    let mut made = 0;
    if !ids.is_empty() {
        made = chunk::write_status_rows(connection, &ids, videos).await?;
    }
    let mut query = QueryBuilder::<MySql>::new(NEVER_WAIT);
    query.push(
        "UPDATE video_processing_status FORCE INDEX (idx_video_processing_status_video_id) \
         SET error_count = COALESCE(error_count, 0) + 1, \
           last_error_timestamp = NOW(), last_error_message = CASE video_id",
    );
    for item in id_list::padded(items) {
        query.push(" WHEN ").push_bind(item.video_id.clone()).push(" THEN ");
        query.push_bind(cut_bytes(&item.error.error_message, TEXT_BYTES).to_owned());
    }
    query.push(" END WHERE video_id IN ");
    let ids: Vec<String> = items.iter().map(|item| item.video_id.clone()).collect();
    id_list::push(&mut query, &ids);
    query.build().execute(connection).await?;
    Ok(made)
}
