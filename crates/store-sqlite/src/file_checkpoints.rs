//! How far the hashing of large files has come.

use async_trait::async_trait;
use reelshift_store::Result;
use reelshift_store::file_checkpoints::{FileCheckpoint, FileCheckpoints};
use reelshift_store::ledger::Lease;
use sqlx::SqliteConnection;

use crate::lease::fence;
use crate::mapping::{hex_array, ids};
use crate::timestamp::now;
use crate::{SqliteStore, error};

#[async_trait]
impl FileCheckpoints for SqliteStore {
    async fn file_checkpoints(&self, video_ids: &[String]) -> Result<Vec<FileCheckpoint>> {
        self.short(read(self, video_ids)).await
    }

    async fn save_file_checkpoint(&self, lease: Lease, checkpoint: &FileCheckpoint) -> Result<()> {
        self.short(save(self, lease, checkpoint)).await
    }

    async fn forget_file_checkpoints(&self, lease: Lease, video_ids: &[String]) -> Result<()> {
        let forgotten = async {
            let mut tx = self.write().await?;
            fence(&mut tx, lease).await?;
            forget(&mut tx, video_ids).await?;
            tx.commit().await?;
            Ok(())
        };
        self.short(forgotten).await
    }
}

async fn read(store: &SqliteStore, video_ids: &[String]) -> error::Result<Vec<FileCheckpoint>> {
    let mut reader = store.readers.acquire().await?;
    let rows: Vec<(String, String, i64, i64, Vec<u8>)> = sqlx::query_as(concat!(
        "SELECT video_id, file_path, file_size, bytes_done, state FROM reelshift_file_checkpoints
         WHERE video_id IN ",
        ids!(),
        " ORDER BY video_id"
    ))
    .bind(hex_array(video_ids))
    .fetch_all(&mut *reader)
    .await?;
    let checkpoint =
        |(video_id, file_path, size, done, state): (String, String, i64, i64, _)| FileCheckpoint {
            video_id,
            file_path,
            file_size: size.cast_unsigned(),
            bytes_done: done.cast_unsigned(),
            state,
        };
    Ok(rows.into_iter().map(checkpoint).collect())
}

async fn save(store: &SqliteStore, lease: Lease, checkpoint: &FileCheckpoint) -> error::Result<()> {
    let mut tx = store.write().await?;
    fence(&mut tx, lease).await?;
    sqlx::query(concat!(
        "INSERT INTO reelshift_file_checkpoints
             (video_id, file_path, file_size, bytes_done, state, updated_at)
         VALUES (?, ?, ?, ?, ?, ",
        now!(),
        ") ON CONFLICT (video_id) DO UPDATE SET file_path = excluded.file_path,
             file_size = excluded.file_size, bytes_done = excluded.bytes_done,
             state = excluded.state, updated_at = excluded.updated_at"
    ))
    .bind(&checkpoint.video_id)
    .bind(&checkpoint.file_path)
    .bind(checkpoint.file_size.cast_signed())
    .bind(checkpoint.bytes_done.cast_signed())
    .bind(&checkpoint.state)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Removes checkpoints within a transaction that holds its fence.
pub(crate) async fn forget(tx: &mut SqliteConnection, video_ids: &[String]) -> error::Result<()> {
    sqlx::query(concat!("DELETE FROM reelshift_file_checkpoints WHERE video_id IN ", ids!()))
        .bind(hex_array(video_ids))
        .execute(tx)
        .await?;
    Ok(())
}
