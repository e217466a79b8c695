//! The video status reader of Phase 3: the specification's two shapes, field by field.
//!
//! With `advanced_error_handling` on for the video, either shape has one field more,
//! `error_details`, if the video ever failed; otherwise the shapes are exactly the
//! specification's.

use std::sync::Arc;

use chrono::{NaiveDateTime, Timelike};
use reelshift_plan::Flag;
use reelshift_store::status::{EnhancedRow, ErrorDetailsRow, LegacyRow};
use reelshift_store::{Result, VideoStatuses};
use serde::Serialize;

use crate::cache::FlagCache;

/// The status of a video, in the shape that the flags chose.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum VideoStatus {
    Enhanced(EnhancedStatus),
    Legacy(LegacyStatus),
}

/// The full pipeline. Times are UTC as Python's `datetime.isoformat()` writes a naive
/// time: `2026-01-31T12:00:00`, with microseconds only where there are some.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnhancedStatus {
    pub id: String,
    pub filename: Option<String>,
    pub workflow_state: Option<String>,
    pub current_stage: Option<String>,
    pub progress_percentage: f64,
    pub processed_frames: i64,
    pub total_frames: i64,
    pub error_count: i64,
    pub last_error: Option<String>,
    pub estimated_completion: Option<String>,
    pub updated_at: Option<String>,
    enhanced_processing: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_details: Option<ErrorDetails>,
}

/// What applications read before the migration. Times as in [`EnhancedStatus`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LegacyStatus {
    pub id: String,
    pub filename: Option<String>,
    pub status: Option<String>,
    pub processing_status: Option<String>,
    pub ground_truth_generated: Option<bool>,
    pub updated_at: Option<String>,
    enhanced_processing: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_details: Option<ErrorDetails>,
}

/// The video's newest error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorDetails {
    pub processing_stage: String,
    pub error_type: String,
    pub recovery_strategy: Option<String>,
    /// Whether a later attempt succeeded; `None` while that is open.
    pub recovery_successful: Option<bool>,
    /// The trace to look up.
    pub correlation_id: Option<String>,
}

impl VideoStatus {
    /// The id as the database stores it.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Enhanced(status) => &status.id,
            Self::Legacy(status) => &status.id,
        }
    }
}

impl From<EnhancedRow> for EnhancedStatus {
    fn from(row: EnhancedRow) -> Self {
        Self {
            id: row.id,
            filename: row.filename,
            workflow_state: row.workflow_state,
            current_stage: row.current_stage,
            progress_percentage: row.progress_percentage.unwrap_or(0.0),
            processed_frames: row.processed_frames.unwrap_or(0),
            total_frames: row.total_frames.unwrap_or(0),
            error_count: row.error_count.unwrap_or(0),
            last_error: row.last_error_message,
            estimated_completion: row.estimated_completion_time.map(isoformat),
            updated_at: row.updated_at.map(isoformat),
            enhanced_processing: true,
            error_details: None,
        }
    }
}

impl From<LegacyRow> for LegacyStatus {
    fn from(row: LegacyRow) -> Self {
        Self {
            id: row.id,
            filename: row.filename,
            status: row.status,
            processing_status: row.processing_status,
            ground_truth_generated: row.ground_truth_generated,
            updated_at: row.updated_at.map(isoformat),
            enhanced_processing: false,
            error_details: None,
        }
    }
}

impl From<ErrorDetailsRow> for ErrorDetails {
    fn from(row: ErrorDetailsRow) -> Self {
        Self {
            processing_stage: row.processing_stage,
            error_type: row.error_type,
            recovery_strategy: row.recovery_strategy,
            recovery_successful: row.recovery_successful,
            correlation_id: row.correlation_id,
        }
    }
}

/// As Python's `datetime.isoformat()`.
fn isoformat(time: NaiveDateTime) -> String {
    let fraction = if time.nanosecond() / 1_000 == 0 { "" } else { "%.6f" };
    time.format(&format!("%Y-%m-%dT%H:%M:%S{fraction}")).to_string()
}

/// Reads the status of videos.
#[derive(Debug, Clone)]
pub struct VideoStatusReader {
    videos: Arc<dyn VideoStatuses>,
    flags: Arc<FlagCache>,
}

impl VideoStatusReader {
    #[must_use]
    pub fn new(videos: Arc<dyn VideoStatuses>, flags: Arc<FlagCache>) -> Self {
        Self { videos, flags }
    }

    /// The status of one video, in the shape that `enhanced_video_processing` chooses for
    /// it; `None` when there is no such video.
    ///
    /// # Errors
    /// As the store.
    pub async fn read(&self, video_id: &str) -> Result<Option<VideoStatus>> {
        let flags = self.flags.current().await?;
        let enhanced = |id: &str| flags.is_on_for(Flag::EnhancedVideoProcessing, id);
        let asked = enhanced(video_id);
        let Some(mut status) = self.read_shape(video_id, asked).await? else { return Ok(None) };
        // A collation that ignores case finds a video under other spellings of its id; the
        // stored one decides, so that a video has one shape.
        if enhanced(status.id()) != asked {
            match self.read_shape(status.id(), !asked).await? {
                Some(other) => status = other,
                None => return Ok(None),
            }
        }
        if flags.is_on_for(Flag::AdvancedErrorHandling, status.id()) {
            let details = if_there(self.videos.error_details(status.id()).await)?;
            let details = details.flatten().map(ErrorDetails::from);
            match &mut status {
                VideoStatus::Enhanced(status) => status.error_details = details,
                VideoStatus::Legacy(status) => status.error_details = details,
            }
        }
        Ok(Some(status))
    }

    /// What both readers read of one video, whatever the flags say: of the new columns nothing
    /// where they are not there.
    ///
    /// # Errors
    /// As the store.
    pub async fn rows(&self, video_id: &str) -> Result<Option<(LegacyRow, Option<EnhancedRow>)>> {
        let Some(legacy) = self.videos.legacy_status(video_id).await? else { return Ok(None) };
        let enhanced = if_there(self.videos.enhanced_status(&legacy.id).await)?.flatten();
        Ok(Some((legacy, enhanced)))
    }

    /// The legacy shape too where the enhanced one cannot be had: after a rollback a flag may
    /// still be on, and what it shows is gone.
    async fn read_shape(&self, video_id: &str, enhanced: bool) -> Result<Option<VideoStatus>> {
        if enhanced && let Some(row) = if_there(self.videos.enhanced_status(video_id).await)? {
            return Ok(row.map(|row| VideoStatus::Enhanced(row.into())));
        }
        let row = self.videos.legacy_status(video_id).await?;
        Ok(row.map(|row| VideoStatus::Legacy(row.into())))
    }
}

/// What was read; `None` where the database will go on refusing it, as it refuses to read
/// columns and tables that are not there.
fn if_there<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.is_transient() => Err(error),
        Err(error) => {
            tracing::debug!(%error, "a status is answered without what only the new schema has");
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;

    fn noon() -> NaiveDateTime {
        let day = NaiveDate::from_ymd_opt(2026, 1, 31).expect("a day");
        day.and_hms_opt(12, 0, 0).expect("a time")
    }

    #[test]
    fn times_are_written_as_python_writes_them() {
        assert_eq!(isoformat(noon()), "2026-01-31T12:00:00");
        let later = noon() + chrono::TimeDelta::microseconds(250);
        assert_eq!(isoformat(later), "2026-01-31T12:00:00.000250");
    }

    /// The text, not the value: the order of the fields is the specification's too.
    fn text(status: &VideoStatus) -> String {
        serde_json::to_string(status).expect("it is JSON")
    }

    #[test]
    fn the_enhanced_shape_is_the_specifications() {
        let row = EnhancedRow {
            id: "v1".to_owned(),
            filename: Some("a.mp4".to_owned()),
            workflow_state: Some("processing".to_owned()),
            file_hash: None,
            updated_at: Some(noon()),
            current_stage: None,
            progress_percentage: None,
            processed_frames: None,
            total_frames: None,
            error_count: None,
            last_error_message: None,
            estimated_completion_time: None,
        };
        let status = VideoStatus::Enhanced(row.into());
        assert_eq!(
            text(&status),
            r#"{"id":"v1","filename":"a.mp4","workflow_state":"processing","current_stage":null,"progress_percentage":0.0,"processed_frames":0,"total_frames":0,"error_count":0,"last_error":null,"estimated_completion":null,"updated_at":"2026-01-31T12:00:00","enhanced_processing":true}"#
        );
    }

    #[test]
    fn the_legacy_shape_is_the_specifications() {
        let row = LegacyRow {
            id: "v1".to_owned(),
            filename: None,
            status: Some("uploaded".to_owned()),
            processing_status: Some("pending".to_owned()),
            ground_truth_generated: Some(false),
            updated_at: None,
        };
        let status = VideoStatus::Legacy(row.into());
        assert_eq!(
            text(&status),
            r#"{"id":"v1","filename":null,"status":"uploaded","processing_status":"pending","ground_truth_generated":false,"updated_at":null,"enhanced_processing":false}"#
        );
    }
}
