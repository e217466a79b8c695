//! The platform's rows: planning over them, filling them in, recording hashes.
//!
//! `WF(row)`, the specification's workflow state of the legacy columns: `completed` when
//! `ground_truth_generated` is true; else `uploaded` when `processing_status` is
//! `pending`, `processing` when it is `processing`, and `failed` otherwise (NULL too).
//! `GT(row)`, its ground truth status: `completed`, `pending`, `generating`, `failed` by
//! the same four cases. Stage: `completed`, `validation`, `ground_truth`, `validation`.
//!
//! A row *agrees* when `cls(workflow_state) = WF(row)` or `workflow_state = 'archived'`,
//! where cls takes `initializing`, `uploading`, `uploaded` and `validating` for
//! `uploaded`; NULL never agrees. A row *needs backfill* when it does not agree, when one
//! of its four metadata columns is NULL though the specification's mapping of it is not,
//! when it has no `video_processing_status` row, or when that row's `ground_truth_status`
//! is not `GT(row)`; unless it is in quarantine for `backfill`.

use std::time::Duration;

use async_trait::async_trait;
use reelshift_plan::ChunkLimits;
use serde::Serialize;

use crate::ledger::{Bounds, Lease, VideoFilter};
use crate::{ErrorRecord, Result};

/// A stretch of the key range, for planning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The last id in it.
    pub upto: String,
    /// Videos in it that need backfill.
    pub needing: u64,
}

/// What one chunk did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Where the next chunk goes on; `None` when the batch's bounds are exhausted.
    pub next: Option<String>,
    /// Rows that were locked and brought into agreement.
    pub rows: u32,
    /// How long its transaction was open: what a write of the application can have waited
    /// for. Waiting for the turn to begin is not in it.
    pub held: Duration,
    /// What of it a chunk of one row would have taken too: the round trips of its statements.
    pub fixed: Duration,
}

/// A video without a hash, as planning needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnhashedVideo {
    pub id: String,
    /// As the platform stored it, in bytes; it may be wrong, negative or NULL.
    pub file_size: Option<i64>,
}

/// What is left to be hashed of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilesToHash {
    pub files: Vec<FileToHash>,
    pub not_utf8: Vec<PathNotUtf8>,
}

/// A video whose `file_path` is not UTF-8, and so names no file that reelshift can open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathNotUtf8 {
    pub id: String,
    /// For people: what is not UTF-8 is replaced.
    pub shown: String,
}

/// A video whose file is to be hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileToHash {
    pub id: String,
    /// As the platform stored it: data, not trusted.
    pub file_path: String,
    /// As the platform stored it, in bytes; it may be wrong, negative or NULL.
    pub file_size: Option<i64>,
}

/// A file that was hashed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HashedFile {
    pub id: String,
    /// The path that was read, and the size that the row gave: the hash is written only
    /// while both are still the row's.
    pub file_path: String,
    pub file_size: Option<i64>,
    /// SHA-256, 64 lower-case hex digits.
    pub sha256: String,
    /// The file's size.
    pub bytes: u64,
    /// The hash is the checksum that the storage keeps; the file was not read.
    pub from_checksum: bool,
}

/// An item that failed for good: logged and set aside.
#[derive(Debug, Clone, PartialEq)]
pub struct FailedItem {
    pub video_id: String,
    pub error: ErrorRecord,
}

/// The outcome of some files of a batch, written together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FileResults {
    pub hashed: Vec<HashedFile>,
    /// Logged and set in quarantine.
    pub failed: Vec<FailedItem>,
    /// Logged only (a size that differs): the file is hashed all the same.
    pub noticed: Vec<ErrorRecord>,
}

/// The rows of `videos` and `video_processing_status`.
#[async_trait]
pub trait Videos {
    /// The window of the next `rows` videos after the id `after`, with how many of them
    /// match `filter` and need backfill; `None` at the end of the table. Bounded work: the
    /// filter does not choose the window.
    async fn window(
        &self,
        after: Option<&str>,
        rows: u32,
        filter: &VideoFilter,
    ) -> Result<Option<Window>>;

    /// What a chunk may cost the application on this database.
    fn chunk_limits(&self) -> ChunkLimits {
        ChunkLimits::ROW_LOCKS
    }

    /// One backfill chunk, in one transaction, in exactly this order: the fence's row; the
    /// ids of up to `limit` videos in `bounds` after `after` that match `filter` and need
    /// backfill, locked, those that others hold skipped; their UPDATE, every value derived
    /// from the row's own columns, `created_at` and `updated_at` as they are; their status
    /// rows, inserted or brought into agreement; the batch's counts and checkpoint. Where the
    /// bounds are items, their earlier failures are marked as recovered.
    ///
    /// # Errors
    /// `LeaseLost` when the token is no longer the batch's; nothing is written.
    async fn backfill_chunk(
        &self,
        lease: Lease,
        bounds: &Bounds,
        after: Option<&str>,
        limit: u32,
        filter: &VideoFilter,
    ) -> Result<Chunk>;

    /// The ids of the next up to `limit` videos that [`Self::backfill_chunk`] would take, in
    /// key order; nothing is locked.
    async fn rows_to_backfill(
        &self,
        bounds: &Bounds,
        after: Option<&str>,
        limit: u32,
        filter: &VideoFilter,
    ) -> Result<Vec<String>>;

    /// Sets items of a batch aside, in one transaction: the fence's row; their error rows,
    /// each with the item's last error that nothing made good as its parent; quarantine;
    /// the error columns of their status rows, which are inserted where there is none (a
    /// status row that cannot be written is left out, and said); the batch's count. The
    /// rows of `videos` are not written. Returns how many are in quarantine now: a video
    /// that is gone is logged only.
    ///
    /// # Errors
    /// `LeaseLost` when the token is no longer the batch's; nothing is written.
    async fn set_aside(&self, lease: Lease, items: &[FailedItem]) -> Result<u64>;

    /// Up to `limit` videos after the id `after`, in key order, that match `filter`, have
    /// a `file_path` that is not empty and no `file_hash`, and are not in quarantine for
    /// `hash`. The path itself is not read: one that cannot be is its batch's concern.
    async fn unhashed(
        &self,
        after: Option<&str>,
        limit: u32,
        filter: &VideoFilter,
    ) -> Result<Vec<UnhashedVideo>>;

    /// Those of `ids` that still have a `file_path` and no `file_hash` and are not in
    /// quarantine for `hash`, in key order.
    async fn files_to_hash(&self, ids: &[String]) -> Result<FilesToHash>;

    /// Those of `ids` that have a `file_hash` and a `file_path` that can be read.
    async fn hashed_files(&self, ids: &[String]) -> Result<Vec<FileToHash>>;

    /// Writes the outcome of some files in one transaction: the fence's row; `file_hash`
    /// and `updated_at` (now, as the specification's hash service sets it) of each hashed
    /// video whose `file_path` and `file_size` are still those that were read; what failed
    /// set aside, as by [`Self::set_aside`]; the batch's counts; the checkpoints of all these
    /// files are gone. A video deleted meanwhile is logged with NULL `video_id`. Hashing a
    /// file again after a failure marks the failure's error row as recovered. Returns how
    /// many hashes were written.
    ///
    /// # Errors
    /// `LeaseLost` when the token is no longer the batch's; nothing is written.
    async fn record_files(&self, lease: Lease, results: &FileResults) -> Result<u64>;
}
