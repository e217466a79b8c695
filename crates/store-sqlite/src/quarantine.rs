//! Setting items aside: what a batch cannot do is written down, and the batch goes on.
//!
//! Nothing here writes `videos`: the row may be one that refuses to be written.

use reelshift_store::ledger::Lease;
use reelshift_store::length::{ERROR_TYPE_CHARACTERS, TEXT_BYTES, cut, cut_bytes};
use reelshift_store::videos::FailedItem;
use sqlx::{Acquire as _, SqliteConnection};

use crate::SqliteStore;
use crate::chunk::{be_quiet, end_quiet, write_status_rows};
use crate::error::{self, Error, Result};
use crate::failures::{Parent, insert_error};
use crate::lease::{Fence, fence};
use crate::timestamp::now;

pub(crate) async fn set_aside(
    store: &SqliteStore,
    lease: Lease,
    items: &[FailedItem],
) -> Result<u64> {
    let mut tx = store.write().await?;
    let batch = fence(&mut tx, lease).await?;
    be_quiet(&mut tx).await?;
    let Written { quarantined, status_rows } = write(&mut tx, &batch, items).await?;
    end_quiet(&mut tx).await?;
    sqlx::query(
        "UPDATE reelshift_batches SET rows_quarantined = rows_quarantined + ?,
             status_rows_created = status_rows_created + ?
         WHERE seq = ? AND lease_token = ?",
    )
    .bind(quarantined)
    .bind(status_rows)
    .bind(lease.seq)
    .bind(lease.token)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(u64::try_from(quarantined).unwrap_or_default())
}

/// What setting items aside wrote.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Items whose video is there.
    pub(crate) quarantined: i64,
    /// Status rows that were not there.
    pub(crate) status_rows: i64,
}

/// Logs `items` and quarantines those whose video is there.
pub(crate) async fn write(
    tx: &mut SqliteConnection,
    batch: &Fence,
    items: &[FailedItem],
) -> Result<Written> {
    let mut written = Written::default();
    let parent = Parent::Item(batch.last_error_id.as_deref());
    for item in items {
        insert_error(tx, &item.error, parent).await?;
        if insert(tx, batch, item).await? {
            written.status_rows += count_error(tx, item).await?;
            written.quarantined += 1;
        }
    }
    Ok(written)
}

async fn insert(tx: &mut SqliteConnection, batch: &Fence, item: &FailedItem) -> Result<bool> {
    let added = sqlx::query(concat!(
        "INSERT INTO reelshift_quarantine (kind, video_id, run_id, batch_id, error_id, error_type, created_at)
         SELECT ?, v.id, ?, ?, ?, ?, ",
        now!(),
        " FROM videos v WHERE v.id = ?
         ON CONFLICT (kind, video_id) DO UPDATE SET run_id = excluded.run_id, batch_id = excluded.batch_id,
             error_id = excluded.error_id, error_type = excluded.error_type, created_at = excluded.created_at,
             accepted_at = NULL, accepted_by = NULL, accepted_reason = NULL"
    ))
    .bind(&batch.kind)
    .bind(&batch.run_id)
    .bind(&batch.id)
    .bind(item.error.id.to_string())
    .bind(cut(&item.error.error_type, ERROR_TYPE_CHARACTERS))
    .bind(&item.video_id)
    .execute(tx)
    .await?;
    Ok(added.rows_affected() > 0)
}

/// The error columns of the status row. A trigger of somebody else's may refuse these as
/// well: then the item is set aside without them. Returns how many status rows were made.
async fn count_error(tx: &mut SqliteConnection, item: &FailedItem) -> Result<i64> {
    let mut savepoint = tx.begin().await?;
    match write_count(&mut savepoint, item).await {
        Ok(made) => {
            savepoint.commit().await?;
            Ok(i64::from(made))
        }
        Err(Error::Database(refused)) if error::is_refusal(&refused) => {
            tracing::warn!(
                %refused, video = item.video_id,
                "the error columns of video_processing_status could not be written"
            );
            savepoint.rollback().await?;
            Ok(0)
        }
        Err(failure) => Err(failure),
    }
}

/// Says whether the status row had to be made.
async fn write_count(tx: &mut SqliteConnection, item: &FailedItem) -> Result<bool> {
    let there: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM video_processing_status WHERE video_id = ?)",
    )
    .bind(&item.video_id)
    .fetch_one(&mut *tx)
    .await?;
    if !there {
        write_status_rows(tx, std::slice::from_ref(&item.video_id)).await?;
    }
    sqlx::query(
        "UPDATE video_processing_status SET error_count = COALESCE(error_count, 0) + 1,
             last_error_message = ?, last_error_timestamp = CURRENT_TIMESTAMP
         WHERE video_id = ?",
    )
    .bind(cut_bytes(&item.error.error_message, TEXT_BYTES))
    .bind(&item.video_id)
    .execute(tx)
    .await?;
    Ok(!there)
}
