//! What the new columns and tables hold, read out before a rollback and written back
//! after a new expand. The files are `reelshift-archive`'s.
//!
//! Values travel exactly: as the text that MySQL casts them to and reads them back from,
//! or in the storage class that SQLite keeps them in.

pub mod decide;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::Result;

/// What is archived, in the order in which it is restored: a status row's video comes
/// before it, since the bridge may make a status row when the video is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ArchivedTable {
    /// [`LEGACY_COLUMNS`] and [`NEW_COLUMNS`] of every video.
    #[serde(rename = "videos")]
    Videos,
    #[serde(rename = "video_processing_status")]
    Statuses,
    #[serde(rename = "realtime_notification_queue")]
    Notifications,
    #[serde(rename = "processing_error_log")]
    Errors,
}

impl ArchivedTable {
    pub const ALL: [Self; 4] = [Self::Videos, Self::Statuses, Self::Notifications, Self::Errors];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Videos => "videos",
            Self::Statuses => "video_processing_status",
            Self::Notifications => "realtime_notification_queue",
            Self::Errors => "processing_error_log",
        }
    }
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

/// The columns of an archived video.
#[must_use]
pub fn video_columns() -> Vec<String> {
    LEGACY_COLUMNS.into_iter().chain(NEW_COLUMNS).map(str::to_owned).collect()
}

/// A stored value. In JSON: null, a number, a text, `{"real":"0.75"}`, `{"blob":"00ff"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    Null,
    Integer(i64),
    Text(String),
    /// A float, as the shortest text that is read back as the same.
    Real {
        real: String,
    },
    /// Bytes, as hex digits.
    Blob {
        blob: String,
    },
}

impl Value {
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The text of a text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether the value, of whatever class, is written like this.
    #[must_use]
    pub fn reads(&self, written: &str) -> bool {
        match self {
            Self::Null | Self::Blob { .. } => false,
            Self::Integer(number) => number.to_string() == written,
            Self::Text(text) | Self::Real { real: text } => text == written,
        }
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }
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

/// Reading out, and writing back.
#[async_trait]
pub trait Archive {
    /// The columns of `table` that are archived, the key `id` first, of status rows
    /// [`VIDEO_TRUTH`] last; `None` when the table, or the new columns of `videos`, are not
    /// there.
    async fn archived_columns(&self, table: ArchivedTable) -> Result<Option<Vec<String>>>;

    /// How many rows `table` has, about: for a progress bar.
    async fn about_rows(&self, table: ArchivedTable) -> Result<u64>;

    /// Up to `limit` rows of `table` with `id` after `after`, in key order; none at the end.
    /// One short read that locks nothing. Pages are of different moments.
    async fn archive_page(
        &self,
        table: ArchivedTable,
        columns: &[String],
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Row>>;

    /// Writes up to 250 archived rows back, in one transaction, under these rules:
    /// - `videos`: [`decide`]; no legacy column changes, `updated_at` neither;
    /// - a status row replaces the row that the video has under another id; the same id is
    ///   left as it is; where [`decide::truth_is_outdated`], `ground_truth_status` and
    ///   `current_stage` follow from the video as it is now;
    /// - notifications and errors are inserted where their id is free; errors without
    ///   `parent_error_id`, which [`Self::link_errors`] sets;
    /// - a row whose video is gone is not restored.
    ///
    /// Doing it twice changes nothing more.
    async fn restore_rows(
        &self,
        table: ArchivedTable,
        columns: &[String],
        rows: &[Row],
    ) -> Result<Restored>;

    /// Sets `parent_error_id` of up to 250 error rows (id, parent) that have none, where
    /// the parent is there.
    async fn link_errors(&self, links: &[(String, String)]) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_back_as_they_were_written() {
        let row: Row = vec![
            Value::Null,
            Value::Integer(-9_007_199_254_740_993),
            Value::Text("0.75 \"'\u{0} é\n".to_owned()),
            Value::Text("null".to_owned()),
            Value::Real { real: "0.1".to_owned() },
            Value::Blob { blob: "00ff".to_owned() },
        ];
        let line = serde_json::to_string(&row).expect("a row is JSON");
        assert!(!line.contains('\n'), "{line}");
        assert_eq!(serde_json::from_str::<Row>(&line).expect("a row"), row);
    }
}
