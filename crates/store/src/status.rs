//! What Phase 3's two status readers read of one video. How it is shown is
//! `reelshift-rollout`'s.
//!
//! Times are UTC. One that cannot be read (a zero date, or a text of SQLite that is no
//! time) is `None`: a reader answers whatever the platform stored.

use async_trait::async_trait;
use chrono::NaiveDateTime;

use crate::Result;

/// What the legacy reader reads, of the legacy columns only: it works before expand and
/// after a rollback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyRow {
    /// As stored, which may be spelled otherwise than what was asked for.
    pub id: String,
    pub filename: Option<String>,
    pub status: Option<String>,
    pub processing_status: Option<String>,
    pub ground_truth_generated: Option<bool>,
    pub updated_at: Option<NaiveDateTime>,
}

/// What the enhanced reader reads. What comes from `video_processing_status` is `None`
/// where the video has no row in it.
#[derive(Debug, Clone, PartialEq)]
pub struct EnhancedRow {
    /// As stored, which may be spelled otherwise than what was asked for.
    pub id: String,
    pub filename: Option<String>,
    pub workflow_state: Option<String>,
    /// The SHA-256 of the file, in hexadecimal digits.
    pub file_hash: Option<String>,
    pub updated_at: Option<NaiveDateTime>,
    pub current_stage: Option<String>,
    pub progress_percentage: Option<f64>,
    pub processed_frames: Option<i64>,
    pub total_frames: Option<i64>,
    pub error_count: Option<i64>,
    pub last_error_message: Option<String>,
    pub estimated_completion_time: Option<NaiveDateTime>,
}

/// What is known of a video's newest error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorDetailsRow {
    pub processing_stage: String,
    pub error_type: String,
    pub recovery_strategy: Option<String>,
    pub recovery_successful: Option<bool>,
    pub correlation_id: Option<String>,
}

/// The rows behind the status of one video; `None` when there is no such video.
#[async_trait]
pub trait VideoStatuses: std::fmt::Debug + Send + Sync {
    async fn legacy_status(&self, video_id: &str) -> Result<Option<LegacyRow>>;

    async fn enhanced_status(&self, video_id: &str) -> Result<Option<EnhancedRow>>;

    /// The video's newest row of `processing_error_log`; `None` when it has none.
    async fn error_details(&self, video_id: &str) -> Result<Option<ErrorDetailsRow>>;
}
