//! What the two status readers read of one video. Every column is cast: SQLite stores what
//! it is given, and a reader answers all the same.

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
use reelshift_store::Result;
use reelshift_store::status::{EnhancedRow, ErrorDetailsRow, LegacyRow, VideoStatuses};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::{SqliteStore, error, row};

#[async_trait]
impl VideoStatuses for SqliteStore {
    async fn legacy_status(&self, video_id: &str) -> Result<Option<LegacyRow>> {
        self.short(legacy(self, video_id)).await
    }

    async fn enhanced_status(&self, video_id: &str) -> Result<Option<EnhancedRow>> {
        self.short(enhanced(self, video_id)).await
    }

    async fn error_details(&self, video_id: &str) -> Result<Option<ErrorDetailsRow>> {
        self.short(error_details(self, video_id)).await
    }
}

async fn legacy(store: &SqliteStore, video_id: &str) -> error::Result<Option<LegacyRow>> {
    let row = sqlx::query(
        "SELECT v.id, CAST(v.filename AS TEXT) AS filename, CAST(v.status AS TEXT) AS status,
             CAST(v.processing_status AS TEXT) AS processing_status,
             v.ground_truth_generated = 1 AS ground_truth_generated,
             CAST(v.updated_at AS TEXT) AS updated_at
         FROM videos v WHERE v.id = ?",
    )
    .bind(video_id)
    .fetch_optional(&store.readers)
    .await?;
    row.map(|row| {
        Ok(LegacyRow {
            id: row.try_get("id")?,
            filename: row::platform_text(&row, "filename")?,
            status: row::platform_text(&row, "status")?,
            processing_status: row::platform_text(&row, "processing_status")?,
            ground_truth_generated: row.try_get("ground_truth_generated")?,
            updated_at: time(&row, "updated_at")?,
        })
    })
    .transpose()
}

async fn enhanced(store: &SqliteStore, video_id: &str) -> error::Result<Option<EnhancedRow>> {
    let row = sqlx::query(
        "SELECT v.id, CAST(v.filename AS TEXT) AS filename,
             CAST(v.workflow_state AS TEXT) AS workflow_state,
             CAST(v.file_hash AS TEXT) AS file_hash,
             CAST(v.updated_at AS TEXT) AS updated_at,
             CAST(s.current_stage AS TEXT) AS current_stage,
             CAST(s.progress_percentage AS REAL) AS progress_percentage,
             CAST(s.processed_frames AS INTEGER) AS processed_frames,
             CAST(s.total_frames AS INTEGER) AS total_frames,
             CAST(s.error_count AS INTEGER) AS error_count,
             CAST(s.last_error_message AS TEXT) AS last_error_message,
             CAST(s.estimated_completion_time AS TEXT) AS estimated_completion_time
         FROM videos v LEFT JOIN video_processing_status s ON s.video_id = v.id WHERE v.id = ?",
    )
    .bind(video_id)
    .fetch_optional(&store.readers)
    .await?;
    row.map(|row| {
        Ok(EnhancedRow {
            id: row.try_get("id")?,
            filename: row::platform_text(&row, "filename")?,
            workflow_state: row::platform_text(&row, "workflow_state")?,
            file_hash: row::platform_text(&row, "file_hash")?,
            updated_at: time(&row, "updated_at")?,
            current_stage: row::platform_text(&row, "current_stage")?,
            progress_percentage: row.try_get("progress_percentage")?,
            processed_frames: row.try_get("processed_frames")?,
            total_frames: row.try_get("total_frames")?,
            error_count: row.try_get("error_count")?,
            last_error_message: row::platform_text(&row, "last_error_message")?,
            estimated_completion_time: time(&row, "estimated_completion_time")?,
        })
    })
    .transpose()
}

async fn error_details(
    store: &SqliteStore,
    video_id: &str,
) -> error::Result<Option<ErrorDetailsRow>> {
    // `created_at` has whole seconds; reelshift's ids sort by time within one.
    let row = sqlx::query(
        "SELECT CAST(processing_stage AS TEXT) AS processing_stage,
             CAST(error_type AS TEXT) AS error_type,
             CAST(recovery_strategy AS TEXT) AS recovery_strategy,
             recovery_successful = 1 AS recovery_successful,
             CAST(correlation_id AS TEXT) AS correlation_id
         FROM processing_error_log WHERE video_id = ? ORDER BY created_at DESC, id DESC LIMIT 1",
    )
    .bind(video_id)
    .fetch_optional(&store.readers)
    .await?;
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

fn time(row: &SqliteRow, column: &str) -> error::Result<Option<NaiveDateTime>> {
    Ok(row.try_get::<Option<String>, _>(column)?.as_deref().and_then(parse))
}

/// A time in any of the forms of SQLite's documentation that applications write: with a
/// blank or a `T`, with or without fractions, an offset, or the time of day.
fn parse(text: &str) -> Option<NaiveDateTime> {
    let text = text.trim().replacen(' ', "T", 1);
    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(&text, format).ok())
        .or_else(|| DateTime::parse_from_rfc3339(&text).ok().map(|time| time.naive_utc()))
        .or_else(|| Some(text.parse::<NaiveDate>().ok()?.and_time(NaiveTime::MIN)))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn times_are_read_as_applications_write_them() {
        let read = |text| parse(text).map(|time| time.to_string());
        let noon = Some("2026-01-31 12:00:00".to_owned());
        for text in [
            "2026-01-31 12:00:00",
            "2026-01-31T12:00:00.000000",
            "2026-01-31 12:00",
            "2026-01-31T12:00:00Z",
            "2026-01-31 13:00:00+01:00",
        ] {
            assert_eq!(read(text), noon, "{text}");
        }
        assert_eq!(
            read("2026-01-31 12:00:00.000250").as_deref(),
            Some("2026-01-31 12:00:00.000250")
        );
        assert_eq!(read("2026-01-31").as_deref(), Some("2026-01-31 00:00:00"));
        assert_eq!(read("soon"), None);
    }
}
