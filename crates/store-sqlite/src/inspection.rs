//! The specification's current-state analysis: `inspect`. Columns of the platform are cast, so
//! that no odd value can make it fail.

use chrono::{DateTime, NaiveDate, Utc};
use reelshift_store::report::{DailyUploads, Inspection, StateCount};
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection as _, Row as _, SqliteConnection};

use crate::error::Result;
use crate::mapping::workflow_state;
use crate::{SqliteStore, row, timestamp};

pub(crate) async fn inspect(store: &SqliteStore) -> Result<Inspection> {
    let server = crate::schema::server(store).await?;
    let mut connection = store.readers.acquire().await?;
    let mut tx = connection.begin().await?;
    // A size at 2^31 - 1 is what other databases made of anything larger.
    let row = sqlx::query(
        "SELECT COUNT(*) AS total,
             COUNT(CASE WHEN v.status = 'uploaded' THEN 1 END) AS uploaded,
             COUNT(CASE WHEN v.ground_truth_generated = 1 THEN 1 END) AS processed,
             AVG(CAST(v.file_size AS REAL)) AS avg_size,
             CASE WHEN COUNT(v.file_size) > 0 THEN TOTAL(CAST(v.file_size AS REAL)) END AS total_size,
             MAX(strftime('%Y-%m-%d %H:%M:%f', v.created_at)) AS latest,
             MIN(strftime('%Y-%m-%d %H:%M:%f', v.created_at)) AS earliest,
             COUNT(CASE WHEN v.processing_status = 'completed' AND v.ground_truth_generated IS NOT 1
                        THEN 1 END) AS completed_without,
             COUNT(CASE WHEN v.file_size IS NULL OR CAST(v.file_size AS INTEGER) < 0
                             OR CAST(v.file_size AS INTEGER) = 2147483647 THEN 1 END) AS suspicious,
             COUNT(CASE WHEN COALESCE(v.file_path, '') COLLATE BINARY = '' THEN 1 END) AS without_path
         FROM videos v",
    )
    .fetch_one(&mut *tx)
    .await?;
    let daily = daily(&mut tx).await?;
    let states = states(&mut tx).await?;
    tx.commit().await?;
    Ok(Inspection {
        server,
        total_videos: row::count(&row, "total")?,
        uploaded_count: row::count(&row, "uploaded")?,
        processed_count: row::count(&row, "processed")?,
        avg_file_size: row.try_get("avg_size")?,
        total_file_size: row.try_get("total_size")?,
        latest_upload: upload(&row, "latest")?,
        earliest_upload: upload(&row, "earliest")?,
        daily,
        states,
        completed_without_ground_truth: row::count(&row, "completed_without")?,
        suspicious_sizes: row::count(&row, "suspicious")?,
        without_file_path: row::count(&row, "without_path")?,
    })
}

/// A time of the platform; one that cannot be read is none.
fn upload(row: &SqliteRow, column: &str) -> Result<Option<DateTime<Utc>>> {
    Ok(row.try_get::<Option<String>, _>(column)?.as_deref().and_then(timestamp::parse))
}

async fn daily(tx: &mut SqliteConnection) -> Result<Vec<DailyUploads>> {
    let rows: Vec<(String, i64, Option<f64>)> = sqlx::query_as(
        "SELECT date(v.created_at) AS day, COUNT(*), AVG(CAST(v.file_size AS REAL)) FROM videos v
         WHERE julianday(v.created_at) >= julianday('now', '-30 days')
         GROUP BY day ORDER BY day DESC",
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|(day, uploads, avg_size)| {
            Some(DailyUploads {
                upload_date: NaiveDate::parse_from_str(&day, "%Y-%m-%d").ok()?,
                daily_uploads: u64::try_from(uploads).ok()?,
                avg_size,
            })
        })
        .collect())
}

async fn states(tx: &mut SqliteConnection) -> Result<Vec<StateCount>> {
    let rows = sqlx::query(concat!(
        "SELECT CAST(v.status AS TEXT) AS status, CAST(v.processing_status AS TEXT) AS processing,
             v.ground_truth_generated = 1 AS generated, COUNT(*) AS count, ",
        workflow_state!(),
        " AS becomes
         FROM videos v GROUP BY status, processing, generated, becomes
         ORDER BY count DESC, status, processing, generated"
    ))
    .fetch_all(tx)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(StateCount {
                status: row::platform_text(row, "status")?,
                processing_status: row::platform_text(row, "processing")?,
                ground_truth_generated: row.try_get("generated")?,
                count: row::count(row, "count")?,
                becomes: row.try_get("becomes")?,
            })
        })
        .collect()
}
