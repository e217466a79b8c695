//! How far the hashing of large files has come.

use async_trait::async_trait;
use reelshift_store::Result;
use reelshift_store::file_checkpoints::{FileCheckpoint, FileCheckpoints};
use reelshift_store::ledger::Lease;
use sqlx::{MySql, MySqlConnection, QueryBuilder, Row as _};

use crate::connection::MySqlStore;
use crate::deadline::{SHORT, within};
use crate::{error, id_list, lease};

#[async_trait]
impl FileCheckpoints for MySqlStore {
    async fn file_checkpoints(&self, video_ids: &[String]) -> Result<Vec<FileCheckpoint>> {
        within(SHORT, read(self, video_ids)).await
    }

    async fn save_file_checkpoint(&self, lease: Lease, checkpoint: &FileCheckpoint) -> Result<()> {
        within(SHORT, save(self, lease, checkpoint)).await
    }

    async fn forget_file_checkpoints(&self, lease: Lease, video_ids: &[String]) -> Result<()> {
        within(SHORT, async {
            let mut transaction = self.pool.begin().await?;
            lease::fence(&mut transaction, lease).await?;
            forget(&mut transaction, &video_ids.iter().collect::<Vec<_>>()).await?;
            transaction.commit().await?;
            Ok::<_, error::Error>(())
        })
        .await
    }
}

async fn read(store: &MySqlStore, video_ids: &[String]) -> error::Result<Vec<FileCheckpoint>> {
    let mut checkpoints = Vec::new();
    for ids in video_ids.chunks(id_list::MAX_LISTED_VALUES) {
        let mut query = QueryBuilder::<MySql>::new(
            "SELECT video_id, file_path, file_size, bytes_done, state \
             FROM reelshift_file_checkpoints WHERE video_id IN ",
        );
        id_list::push(&mut query, ids);
        query.push(" ORDER BY video_id");
        for row in query.build().fetch_all(&store.pool).await? {
            checkpoints.push(FileCheckpoint {
                video_id: row.try_get("video_id")?,
                file_path: row.try_get("file_path")?,
                file_size: row.try_get("file_size")?,
                bytes_done: row.try_get("bytes_done")?,
                state: row.try_get("state")?,
            });
        }
    }
    Ok(checkpoints)
}

async fn save(store: &MySqlStore, lease: Lease, checkpoint: &FileCheckpoint) -> error::Result<()> {
    let mut transaction = store.pool.begin().await?;
    lease::fence(&mut transaction, lease).await?;
    sqlx::query(
        "INSERT INTO reelshift_file_checkpoints (video_id, file_path, file_size, bytes_done, state) \
         VALUES (?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE file_path = VALUES(file_path), \
           file_size = VALUES(file_size), bytes_done = VALUES(bytes_done), state = VALUES(state), \
           updated_at = NOW(6)",
    )
    .bind(&checkpoint.video_id)
    .bind(&checkpoint.file_path)
    .bind(checkpoint.file_size)
    .bind(checkpoint.bytes_done)
    .bind(&checkpoint.state)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(())
}

/// Removes checkpoints within a transaction that holds its fence. By the primary key: a scan,
/// which the optimizer prefers for a small table, would wait for the rows of other batches.
pub(crate) async fn forget(
    connection: &mut MySqlConnection,
    video_ids: &[&String],
) -> error::Result<()> {
    for ids in video_ids.chunks(id_list::MAX_LISTED_VALUES) {
        let mut query = QueryBuilder::<MySql>::new(
            "DELETE c FROM reelshift_file_checkpoints c FORCE INDEX (PRIMARY) WHERE c.video_id IN ",
        );
        id_list::push(&mut query, &ids.iter().map(|id| id.as_str()).collect::<Vec<_>>());
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}
