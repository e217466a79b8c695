//! How far the hashing of large files has come, for whoever takes a batch over.

use async_trait::async_trait;

use crate::Result;
use crate::ledger::Lease;

/// How far a file has been hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileCheckpoint {
    pub video_id: String,
    /// The path that was read.
    pub file_path: String,
    /// In bytes.
    pub file_size: u64,
    /// Bytes hashed so far.
    pub bytes_done: u64,
    /// The state of the hash; up to 2,048 bytes that mean nothing to the store.
    pub state: Vec<u8>,
}

/// One checkpoint a video, from the first that a worker writes until the file's outcome is
/// recorded ([`crate::Videos::record_files`] removes it).
#[async_trait]
pub trait FileCheckpoints {
    /// The checkpoints of those of `video_ids` that have one, in key order.
    async fn file_checkpoints(&self, video_ids: &[String]) -> Result<Vec<FileCheckpoint>>;

    /// Writes a video's checkpoint in place of the one before, with the fence's row in the
    /// same transaction.
    ///
    /// # Errors
    /// `LeaseLost` when the token is no longer the batch's; nothing is written.
    async fn save_file_checkpoint(&self, lease: Lease, checkpoint: &FileCheckpoint) -> Result<()>;

    /// Removes the checkpoints of `video_ids`, of which nothing can go on any more.
    ///
    /// # Errors
    /// `LeaseLost` when the token is no longer the batch's; nothing is removed.
    async fn forget_file_checkpoints(&self, lease: Lease, video_ids: &[String]) -> Result<()>;
}
