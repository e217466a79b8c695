//! What the two status readers read of one video. Times are cast to the one type
//! that the driver reads as UTC, which is the session's time zone.

use async_trait::async_trait;
use reelshift_store::Result;
use reelshift_store::status::{EnhancedRow, ErrorDetailsRow, LegacyRow, VideoStatuses};
use sqlx::{MySql, QueryBuilder, Row as _};

use crate::connection::MySqlStore;
use crate::deadline::{SHORT, within};
use crate::error;

#[async_trait]
impl VideoStatuses for MySqlStore {
    async fn legacy_status(&self, video_id: &str) -> Result<Option<LegacyRow>> {
        within(SHORT, legacy(self, video_id)).await
    }

    async fn enhanced_status(&self, video_id: &str) -> Result<Option<EnhancedRow>> {
        within(SHORT, enhanced(self, video_id)).await
    }

    async fn error_details(&self, video_id: &str) -> Result<Option<ErrorDetailsRow>> {
        within(SHORT, error_details(self, video_id)).await
    }
}

async fn legacy(store: &MySqlStore, video_id: &str) -> error::Result<Option<LegacyRow>> {
    let videos = store.legacy().await?;
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT v.id, v.filename, v.status, v.processing_status, v.ground_truth_generated, ",
    );
    query.push(videos.times.updated_at.utc("v.updated_at"));
    query.push(" AS updated_at FROM videos v WHERE ");
    videos.id.push_equals(&mut query, "v.id", video_id);
    let row = query.build().fetch_optional(&store.pool).await?;
    row.map(|row| {
        Ok(LegacyRow {
            id: row.try_get("id")?,
            filename: row.try_get("filename")?,
            status: row.try_get("status")?,
            processing_status: row.try_get("processing_status")?,
            ground_truth_generated: row.try_get("ground_truth_generated")?,
            updated_at: row.try_get("updated_at")?,
        })
    })
    .transpose()
}

async fn enhanced(store: &MySqlStore, video_id: &str) -> error::Result<Option<EnhancedRow>> {
    let videos = store.legacy().await?;
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT v.id, v.filename, CAST(v.workflow_state AS CHAR) AS workflow_state, v.file_hash, \
           s.current_stage, s.progress_percentage + 0e0 AS progress_percentage, \
           s.processed_frames, s.total_frames, s.error_count, s.last_error_message, \
           CAST(IF(s.estimated_completion_time = '0000-00-00 00:00:00', NULL, \
             s.estimated_completion_time) AS DATETIME(6)) AS estimated_completion_time, ",
    );
    query.push(videos.times.updated_at.utc("v.updated_at")).push(
        " AS updated_at FROM videos v \
         LEFT JOIN video_processing_status s ON s.video_id = v.id WHERE ",
    );
    videos.id.push_equals(&mut query, "v.id", video_id);
    let row = query.build().fetch_optional(&store.pool).await?;
    row.map(|row| {
        Ok(EnhancedRow {
            id: row.try_get("id")?,
            filename: row.try_get("filename")?,
            workflow_state: row.try_get("workflow_state")?,
            file_hash: row.try_get("file_hash")?,
            updated_at: row.try_get("updated_at")?,
            current_stage: row.try_get("current_stage")?,
            progress_percentage: row.try_get("progress_percentage")?,
            processed_frames: row.try_get("processed_frames")?,
            total_frames: row.try_get("total_frames")?,
            error_count: row.try_get("error_count")?,
            last_error_message: row.try_get("last_error_message")?,
            estimated_completion_time: row.try_get("estimated_completion_time")?,
        })
    })
    .transpose()
}

async fn error_details(
    store: &MySqlStore,
    video_id: &str,
) -> error::Result<Option<ErrorDetailsRow>> {
    // `created_at` has whole seconds; reelshift's ids sort by time within one.
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT processing_stage, error_type, recovery_strategy, recovery_successful, \
           correlation_id FROM processing_error_log WHERE ",
    );
    store.legacy().await?.id.push_equals(&mut query, "video_id", video_id);
    query.push(" ORDER BY created_at DESC, id DESC LIMIT 1");
    let row = query.build().fetch_optional(&store.pool).await?;
    row.map(|row| {
        Ok(ErrorDetailsRow {
            processing_stage: row.try_get("processing_stage")?,
            error_type: row.try_get("error_type")?,
            recovery_strategy: row.try_get("recovery_strategy")?,
            recovery_successful: row.try_get("recovery_successful")?,
            correlation_id: row.try_get("correlation_id")?,
        })
    })
    .transpose()
}
