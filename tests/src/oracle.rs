//! What a migrated row must hold, computed from its legacy columns alone, in code that
//! shares nothing with the product.

use sqlx::Row;

use crate::Legacy;

/// Compares every row of a migrated database with what the specification's backfill makes
/// of it.
///
/// # Panics
/// Naming the first row that differs.
pub async fn check_every_row(legacy: &Legacy) -> usize {
    check(legacy, false).await
}

/// The same where an application has written rows since, through old and new columns: a
/// finer state counts as its class, and a stage may be any that a trigger sets or leaves.
///
/// # Panics
/// Naming the first row that differs.
pub async fn check_every_live_row(legacy: &Legacy) -> usize {
    check(legacy, true).await
}

async fn check(legacy: &Legacy, live: bool) -> usize {
    let rows = legacy
        .rows(
            "SELECT v.id, v.filename, v.file_path, v.processing_status,
                    CASE WHEN v.ground_truth_generated THEN 1 ELSE 0 END AS gt,
                    CAST(v.workflow_state AS CHAR(20)) AS workflow_state, v.original_filename,
                    v.file_mime_type, v.storage_location, v.retention_policy,
                    CAST(s.ground_truth_status AS CHAR(20)) AS ground_truth_status,
                    CAST(s.upload_status AS CHAR(20)) AS upload_status, s.current_stage,
                    (SELECT COUNT(*) FROM video_processing_status x WHERE x.video_id = v.id) AS status_rows
             FROM videos v LEFT JOIN video_processing_status s ON s.video_id = v.id",
        )
        .await;
    for row in &rows {
        let id: String = row.get("id");
        let text = |column: &str| row.get::<Option<String>, _>(column);
        let (state, truth, stage) =
            match (row.get::<i64, _>("gt"), text("processing_status").as_deref()) {
                (1, _) => ("completed", "completed", "completed"),
                (_, Some("pending")) => ("uploaded", "pending", "validation"),
                (_, Some("processing")) => ("processing", "generating", "ground_truth"),
                _ => ("failed", "failed", "validation"),
            };
        let ending = text("filename").unwrap_or_default().to_lowercase();
        let mime = match ending.rsplit_once('.').map(|(_, ending)| ending) {
            Some("mp4") => "video/mp4",
            Some("avi") => "video/avi",
            Some("mov") => "video/quicktime",
            Some("mkv") => "video/x-matroska",
            _ => "video/unknown",
        };
        let holds = |column: &str, expected: Option<&str>| {
            assert_eq!(text(column).as_deref(), expected, "{column} of video {id}");
        };
        assert_eq!(row.get::<i64, _>("status_rows"), 1, "status rows of video {id}");
        holds("ground_truth_status", Some(truth));
        if live {
            let found = text("workflow_state").unwrap_or_default();
            let class = match found.as_str() {
                "initializing" | "uploading" | "validating" => "uploaded",
                other => other,
            };
            assert!(class == state || class == "archived", "workflow_state {found} of video {id}");
            let stages = ["validation", "ground_truth", "inference", "completed", "failed"];
            let found = text("current_stage").unwrap_or_default();
            assert!(stages.contains(&found.as_str()), "current_stage {found} of video {id}");
        } else {
            holds("workflow_state", Some(state));
            holds("current_stage", Some(stage));
        }
        holds("upload_status", Some("completed"));
        holds("original_filename", text("filename").as_deref());
        holds("file_mime_type", Some(mime));
        holds("storage_location", text("file_path").as_deref());
        holds("retention_policy", Some("standard_90_days"));
    }
    rows.len()
}
