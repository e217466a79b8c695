//! The specification's current-state analysis: `inspect`.

use reelshift_store::report::{DailyUploads, Inspection, StateCount};
use sqlx::{AssertSqlSafe, MySqlConnection, Row as _};

use crate::application_time::TimeColumn;
use crate::connection::MySqlStore;
use crate::error::Result;
use crate::mapping::WORKFLOW_STATE;
use crate::row;

/// Plain reads of the whole table, as the specification's analysis is: they lock nothing.
/// Zero dates, which old applications stored, count as no date; days are those of UTC.
pub(crate) async fn inspect(store: &MySqlStore) -> Result<Inspection> {
    let created_at = &store.legacy().await?.times.created_at;
    let mut connection = store.pool.acquire().await?;
    let limit = file_size_limit(&mut connection).await?;
    let created_utc = created_at.utc("created_at");
    let totals = sqlx::query(AssertSqlSafe(format!(
        "SELECT COUNT(*) AS total, COUNT(CASE WHEN status = 'uploaded' THEN 1 END) AS uploaded, \
           COUNT(CASE WHEN ground_truth_generated = TRUE THEN 1 END) AS processed, \
           AVG(file_size) + 0e0 AS avg_size, SUM(file_size) + 0e0 AS total_size, \
           MAX({created_utc}) AS latest, MIN({created_utc}) AS earliest, \
           COUNT(CASE WHEN processing_status = 'completed' \
             AND NOT (ground_truth_generated <=> TRUE) THEN 1 END) AS without_truth, \
           COUNT(CASE WHEN file_size IS NULL OR file_size < 0 OR file_size >= ? THEN 1 END) AS suspicious, \
           COUNT(CASE WHEN file_path IS NULL OR file_path = '' THEN 1 END) AS without_path \
         FROM videos"
    )))
    .bind(limit)
    .fetch_one(&mut *connection)
    .await?;
    Ok(Inspection {
        server: store.server.to_string(),
        total_videos: row::count(&totals, "total")?,
        uploaded_count: row::count(&totals, "uploaded")?,
        processed_count: row::count(&totals, "processed")?,
        avg_file_size: totals.try_get("avg_size")?,
        total_file_size: totals.try_get("total_size")?,
        latest_upload: totals.try_get("latest")?,
        earliest_upload: totals.try_get("earliest")?,
        daily: daily(&mut connection, created_at).await?,
        states: states(&mut connection).await?,
        completed_without_ground_truth: row::count(&totals, "without_truth")?,
        suspicious_sizes: row::count(&totals, "suspicious")?,
        without_file_path: row::count(&totals, "without_path")?,
    })
}

/// The largest value of `videos.file_size`: where an application stored more, the server
/// without strict mode stored this.
pub(crate) async fn file_size_limit(connection: &mut MySqlConnection) -> Result<i64> {
    let column_type: Option<String> = sqlx::query_scalar(
        "SELECT LOWER(CAST(COLUMN_TYPE AS CHAR)) FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'videos' AND COLUMN_NAME = 'file_size'",
    )
    .fetch_optional(connection)
    .await?;
    Ok(limit_of(&column_type.unwrap_or_default()))
}

fn limit_of(column_type: &str) -> i64 {
    match (column_type.starts_with("int"), column_type.contains("unsigned")) {
        (true, false) => i64::from(i32::MAX),
        (true, true) => i64::from(u32::MAX),
        (false, _) => i64::MAX,
    }
}

async fn daily(
    connection: &mut MySqlConnection,
    created_at: &TimeColumn,
) -> Result<Vec<DailyUploads>> {
    let rows = sqlx::query(AssertSqlSafe(format!(
        "SELECT DATE({}) AS upload_date, COUNT(*) AS uploads, AVG(file_size) + 0e0 AS avg_size \
         FROM videos WHERE created_at >= {} - INTERVAL 30 DAY \
         GROUP BY upload_date HAVING upload_date IS NOT NULL ORDER BY upload_date DESC",
        created_at.utc("created_at"),
        created_at.now()
    )))
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(DailyUploads {
                upload_date: row.try_get("upload_date")?,
                daily_uploads: row::count(row, "uploads")?,
                avg_size: row.try_get("avg_size")?,
            })
        })
        .collect()
}

async fn states(connection: &mut MySqlConnection) -> Result<Vec<StateCount>> {
    // `becomes` depends on the grouped columns only.
    let sql = format!(
        "SELECT v.status, v.processing_status, v.ground_truth_generated, COUNT(*) AS videos, \
           MAX({WORKFLOW_STATE}) AS becomes FROM videos v \
         GROUP BY v.status, v.processing_status, v.ground_truth_generated \
         ORDER BY videos DESC, v.status, v.processing_status, v.ground_truth_generated"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(StateCount {
                status: row.try_get("status")?,
                processing_status: row.try_get("processing_status")?,
                ground_truth_generated: row.try_get("ground_truth_generated")?,
                count: row::count(row, "videos")?,
                becomes: row.try_get("becomes")?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_overflows_where_its_column_does() {
        assert_eq!(limit_of("int(11)"), 2_147_483_647);
        assert_eq!(limit_of("int(10) unsigned"), 4_294_967_295);
        assert_eq!(limit_of("bigint(20)"), i64::MAX);
    }
}
