//! What the new columns and tables hold, read out before a rollback and written back
//! after a new expand. The files are `reelshift-archive`'s.
//!
//! Values travel exactly: text as text, bytes as bytes, floats as doubles, and of MySQL all
//! else as the text that it is cast to and read back from.

pub mod decide;
mod value;

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::Result;
pub use value::{RowOf, Value};

/// What is archived.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    strum::IntoStaticStr,
)]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum ArchivedTable {
    /// [`LEGACY_COLUMNS`] and [`NEW_COLUMNS`] of every video.
    #[serde(rename = "videos")]
    Videos,
    #[serde(rename = "video_processing_status")]
    #[strum(serialize = "video_processing_status")]
    Statuses,
    #[serde(rename = "realtime_notification_queue")]
    #[strum(serialize = "realtime_notification_queue")]
    Notifications,
    #[serde(rename = "processing_error_log")]
    #[strum(serialize = "processing_error_log")]
    Errors,
}

impl ArchivedTable {
    pub const ALL: [Self; 4] = [Self::Videos, Self::Statuses, Self::Notifications, Self::Errors];
}

/// The legacy columns that go into the archive of a video: by them it is seen whether the
/// row changed meanwhile. They are never written back.
pub const LEGACY_COLUMNS: [&str; 6] =
    ["id", "filename", "file_path", "file_size", "processing_status", "ground_truth_generated"];

/// The columns that expand adds to `videos`.
pub const NEW_COLUMNS: [&str; 19] = [
    "workflow_state",
    "ml_model_version",
    "inference_config",
    "processing_node_id",
    "video_quality_score",
    "frame_quality_analysis",
    "audio_quality_score",
    "original_filename",
    "file_hash",
    "file_mime_type",
    "storage_location",
    "backup_location",
    "total_processing_time_seconds",
    "frames_per_second_processed",
    "objects_detected_count",
    "annotations_count",
    "expiry_date",
    "retention_policy",
    "compliance_tags",
];

/// The last column of an archived status row, which is its video's and no column of the
/// table: `GT(video)`, read with the row. By it is seen whether the legacy columns changed
/// meanwhile. It is never written back.
pub const VIDEO_TRUTH: &str = "videos.ground_truth_status";

/// A column as the database has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    pub name: String,
    /// Its type, as declared; of a text with its character set. By it is decided how the
    /// column is read.
    #[serde(rename = "type")]
    pub declared: String,
}

/// The columns of an archived video out of `all` of the table, in the archive's order;
/// `None` where one is missing.
#[must_use]
pub fn video_columns(all: &[Column]) -> Option<Vec<Column>> {
    let names = LEGACY_COLUMNS.into_iter().chain(NEW_COLUMNS);
    names.map(|name| all.iter().find(|column| column.name == name).cloned()).collect()
}

/// The place of a column among `columns`.
#[must_use]
pub fn position(columns: &[Column], name: &str) -> Option<usize> {
    columns.iter().position(|column| column.name == name)
}

/// How much one page of an archive holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit {
    pub rows: u32,
    /// Of all values together. Passed by no more than the last row.
    pub bytes: u64,
}

/// The bytes of a row's values in a statement, at most.
#[must_use]
pub fn size(row: &[Value]) -> u64 {
    row.iter().map(Value::size).sum()
}

/// The values of a row, in the order of the archive's columns.
pub type Row = Vec<Value>;

/// What came of restoring rows. Every row counts in exactly one of `restored`, `present`
/// and `deleted`; one of which only some values were restored counts as restored, and in one
/// or more of the `kept_` counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Rows that were written.
    pub restored: u64,
    /// Rows that were there already, or had nothing to be written.
    pub present: u64,
    /// Rows whose video has been deleted.
    pub deleted: u64,
    /// Status rows whose video's legacy columns changed: `ground_truth_status` and
    /// `current_stage` are those of now, all else was restored.
    pub kept_truths: u64,
    /// Videos whose archived `workflow_state` no longer agrees with the legacy columns.
    pub kept_states: u64,
    /// Videos whose `file_path` or `file_size` changed: the hash is of another file.
    pub kept_hashes: u64,
    /// Videos whose file name or path changed, and with it what was derived from it.
    pub kept_metadata: u64,
}

impl std::ops::AddAssign for Restored {
    fn add_assign(&mut self, other: Self) {
        self.restored += other.restored;
        self.present += other.present;
        self.deleted += other.deleted;
        self.kept_truths += other.kept_truths;
        self.kept_states += other.kept_states;
        self.kept_hashes += other.kept_hashes;
        self.kept_metadata += other.kept_metadata;
    }
}

/// A chunk of rows that was written back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoredChunk {
    pub rows: Restored,
    /// How long its rows, or the database, were locked, as far as that depends on the number
    /// of rows.
    pub held: Duration,
}

/// Reading out, and writing back.
#[async_trait]
pub trait Archive {
    /// The columns of `table` that are archived, the key `id` first, of status rows
    /// [`VIDEO_TRUTH`] last; `None` when the table, or the new columns of `videos`, are not
    /// there. Generated columns are derived anew and not archived.
    async fn archived_columns(&self, table: ArchivedTable) -> Result<Option<Vec<Column>>>;

    /// How many rows `table` has, about: for a progress bar.
    async fn about_rows(&self, table: ArchivedTable) -> Result<u64>;

    /// The next rows of `table` with `id` after `after`, in key order, as many as `limit`
    /// allows and at least one; none at the end. One short read that locks nothing. Pages are
    /// of different moments.
    async fn archive_page(
        &self,
        table: ArchivedTable,
        columns: &[Column],
        after: Option<&str>,
        limit: PageLimit,
    ) -> Result<Vec<Row>>;

    /// Those of the videos that are there, as archived, in no order. Locks nothing.
    async fn archived_videos(&self, columns: &[Column], ids: &[String]) -> Result<Vec<Row>>;

    /// The bytes that a row may have by [`size`] so that a statement can carry it; `None`
    /// where any row can be written.
    async fn largest_row(&self) -> Result<Option<u64>>;

    /// The order in which tables are restored: by what the bridge does when a video is written,
    /// and when the application writes one that is restored half.
    fn restore_order(&self) -> [ArchivedTable; 4];

    /// Writes archived rows back, in one transaction, under these rules:
    /// - `videos`: [`decide`]; no legacy column changes, `updated_at` neither;
    /// - a status row replaces the row that the video has under another id; the same id is
    ///   left as it is; where [`decide::truth_is_outdated`], `ground_truth_status` and
    ///   `current_stage` follow from the video as it is now;
    /// - notifications and errors are inserted where their id is free; errors without
    ///   `parent_error_id`, which [`Self::link_errors`] sets;
    /// - a row whose video is gone is not restored;
    /// - a value that the column cannot hold exactly is an error, and nothing is written.
    ///
    /// `columns` are those of the database, in the order of the archive. Statements are
    /// bounded by [`Self::largest_row`]; how long the transaction takes is the caller's,
    /// by the number of rows. Doing it twice changes nothing more.
    ///
    /// # Errors
    /// `Locked` at once where the application holds one of the videos.
    async fn restore_rows(
        &self,
        table: ArchivedTable,
        columns: &[Column],
        rows: &[Row],
    ) -> Result<RestoredChunk>;

    /// Sets `parent_error_id` of error rows (id, parent) that have none, where the parent is
    /// there. Up to [`MAX_LINKS`].
    async fn link_errors(&self, links: &[(String, String)]) -> Result<()>;
}

/// Errors that are linked in one transaction at most.
pub const MAX_LINKS: usize = 250;
