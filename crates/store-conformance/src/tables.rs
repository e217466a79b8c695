//! What expand leaves behind: the specification's columns, defaults, indexes, enums and
//! foreign keys.

use macro_rules_attribute::apply;

use crate::Fixture;
use crate::arrange::{expanded, insert, videos};

/// The specification's nineteen columns of `videos` with their defaults, in order.
const VIDEOS: [(&str, Option<&str>); 19] = [
    ("workflow_state", Some("uploaded")),
    ("ml_model_version", None),
    ("inference_config", None),
    ("processing_node_id", None),
    ("video_quality_score", Some("0.75")),
    ("frame_quality_analysis", None),
    ("audio_quality_score", None),
    ("original_filename", None),
    ("file_hash", None),
    ("file_mime_type", None),
    ("storage_location", None),
    ("backup_location", None),
    ("total_processing_time_seconds", None),
    ("frames_per_second_processed", None),
    ("objects_detected_count", Some("0")),
    ("annotations_count", Some("0")),
    ("expiry_date", None),
    ("retention_policy", None),
    ("compliance_tags", None),
];

const NOW: Option<&str> = Some("current_timestamp");

const STATUS: [(&str, Option<&str>); 26] = [
    ("id", None),
    ("video_id", None),
    ("upload_status", Some("completed")),
    ("validation_status", Some("pending")),
    ("extraction_status", Some("pending")),
    ("inference_status", Some("pending")),
    ("ground_truth_status", Some("pending")),
    ("current_stage", Some("validation")),
    ("processing_started_at", None),
    ("processing_completed_at", None),
    ("total_frames", None),
    ("processed_frames", Some("0")),
    ("progress_percentage", Some("0")),
    ("error_count", Some("0")),
    ("last_error_message", None),
    ("last_error_timestamp", None),
    ("retry_count", Some("0")),
    ("max_retries", Some("3")),
    ("assigned_worker_id", None),
    ("processing_priority", Some("5")),
    ("estimated_completion_time", None),
    ("processing_duration_seconds", None),
    ("memory_usage_mb", None),
    ("cpu_usage_percentage", None),
    ("created_at", NOW),
    ("updated_at", NOW),
];

const NOTIFICATIONS: [(&str, Option<&str>); 20] = [
    ("id", None),
    ("event_type", None),
    ("priority", Some("5")),
    ("session_id", None),
    ("user_id", None),
    ("room_name", None),
    ("broadcast_to_all", Some("0")),
    ("event_data", None),
    ("event_metadata", None),
    ("status", Some("pending")),
    ("attempts", Some("0")),
    ("max_attempts", Some("3")),
    ("scheduled_at", NOW),
    ("process_after", NOW),
    ("expires_at", None),
    ("sent_at", None),
    ("last_error", None),
    ("next_retry_at", None),
    ("created_at", NOW),
    ("updated_at", NOW),
];

const ERRORS: [(&str, Option<&str>); 17] = [
    ("id", None),
    ("video_id", None),
    ("processing_stage", None),
    ("error_type", None),
    ("error_message", None),
    ("error_code", None),
    ("stack_trace", None),
    ("system_state", None),
    ("recovery_strategy", None),
    ("recovery_attempted", Some("0")),
    ("recovery_successful", None),
    ("recovery_timestamp", None),
    ("correlation_id", None),
    ("parent_error_id", None),
    ("severity", Some("medium")),
    ("user_impact", Some("low")),
    ("created_at", NOW),
];

/// A default as both dialects would write it.
fn normalised(default: &str) -> Option<String> {
    let default = default.trim_matches(|c: char| "'\"()".contains(c)).to_lowercase();
    match default.as_str() {
        "null" => None,
        "false" => Some("0".to_owned()),
        now if now.starts_with("current_timestamp") => Some("current_timestamp".to_owned()),
        other => Some(
            other.parse::<f64>().map_or_else(|_| other.to_owned(), |number| number.to_string()),
        ),
    }
}

async fn columns(db: &dyn Fixture, table: &str) -> Vec<(String, Option<String>)> {
    let rows = db.texts(&db.columns_sql(table)).await;
    let column = |row: Vec<Option<String>>| {
        let name = row[0].clone().expect("a column has a name");
        (name, row[1].as_deref().and_then(normalised))
    };
    rows.into_iter().map(column).collect()
}

fn owned(columns: &[(&str, Option<&str>)]) -> Vec<(String, Option<String>)> {
    columns.iter().map(|(name, default)| ((*name).to_owned(), default.map(str::to_owned))).collect()
}

#[apply(behaviour!)]
async fn videos_has_the_nineteen_columns_in_order(db: &dyn Fixture) {
    let legacy = columns(db, "videos").await;
    expanded(db).await;
    let now = columns(db, "videos").await;
    let first =
        now.iter().position(|(name, _)| name == "workflow_state").expect("workflow_state is there");
    assert_eq!(now.len(), legacy.len() + VIDEOS.len());
    assert_eq!(now[first..first + VIDEOS.len()], owned(&VIDEOS));
    let others: Vec<_> = now.iter().filter(|column| legacy.contains(column)).cloned().collect();
    assert_eq!(others, legacy, "the legacy columns are as they were");
    if db.places_columns() {
        assert_eq!(now[first - 1].0, "status");
    } else {
        assert_eq!(first, legacy.len());
    }
}

#[apply(behaviour!)]
async fn the_new_tables_have_their_columns_and_defaults(db: &dyn Fixture) {
    expanded(db).await;
    assert_eq!(columns(db, "video_processing_status").await, owned(&STATUS));
    assert_eq!(columns(db, "realtime_notification_queue").await, owned(&NOTIFICATIONS));
    assert_eq!(columns(db, "processing_error_log").await, owned(&ERRORS));
}

#[apply(behaviour!)]
async fn what_must_not_be_null_is_not(db: &dyn Fixture) {
    expanded(db).await;
    let tables = [
        ("video_processing_status", &["video_id"][..]),
        ("realtime_notification_queue", &["event_type", "priority", "event_data"]),
        ("processing_error_log", &["processing_stage", "error_type", "error_message"]),
    ];
    for (table, required) in tables {
        for row in db.texts(&db.columns_sql(table)).await {
            let name = row[0].as_deref().expect("a column has a name");
            if name == "id" {
                continue;
            }
            let expected = if required.contains(&name) { "NO" } else { "YES" };
            assert_eq!(row[2].as_deref(), Some(expected), "{table}.{name} may be NULL");
        }
    }
}

#[apply(behaviour!)]
async fn the_indexes_of_the_new_tables_are_there(db: &dyn Fixture) {
    expanded(db).await;
    let expected = [
        ("video_processing_status", "idx_video_processing_status_video_id", "1", "video_id"),
        (
            "video_processing_status",
            "idx_video_processing_status_current_stage",
            "0",
            "current_stage",
        ),
        (
            "video_processing_status",
            "idx_video_processing_status_processing_started",
            "0",
            "processing_started_at",
        ),
        (
            "realtime_notification_queue",
            "idx_notification_processing",
            "0",
            "status,priority,process_after",
        ),
        ("realtime_notification_queue", "idx_notification_session", "0", "session_id,status"),
        ("realtime_notification_queue", "idx_notification_expiry", "0", "expires_at,status"),
        ("processing_error_log", "idx_error_video_stage", "0", "video_id,processing_stage"),
        ("processing_error_log", "idx_error_type_severity", "0", "error_type,severity"),
        ("processing_error_log", "idx_error_created", "0", "created_at"),
    ];
    for (table, name, unique, columns) in expected {
        let row = [name, unique, columns].map(|text| Some(text.to_owned())).to_vec();
        let indexes = db.texts(&db.indexes_sql(table)).await;
        assert!(indexes.contains(&row), "{table}: {row:?} in {indexes:?}");
    }
}

#[apply(behaviour!)]
async fn a_second_status_row_of_a_video_is_refused(db: &dyn Fixture) {
    insert(db, &videos(1)).await;
    expanded(db).await;
    db.execute("DELETE FROM video_processing_status").await;
    db.execute("INSERT INTO video_processing_status (id, video_id) VALUES ('s1', 'v0001')").await;
    let second = "INSERT INTO video_processing_status (id, video_id) VALUES ('s2', 'v0001')";
    db.try_execute(second).await.expect_err("one status row a video");
    assert_eq!(db.count("FROM video_processing_status").await, 1);
}

#[apply(behaviour!)]
async fn other_enum_values_are_refused(db: &dyn Fixture) {
    insert(db, &videos(1)).await;
    expanded(db).await;
    db.execute("DELETE FROM video_processing_status").await;
    db.execute("INSERT INTO video_processing_status (id, video_id) VALUES ('s1', 'v0001')").await;
    db.execute("INSERT INTO realtime_notification_queue (id, event_type, event_data) VALUES ('n1', 'e', '{}')").await;
    db.execute(
        "INSERT INTO processing_error_log (id, processing_stage, error_type, error_message) \
         VALUES ('e1', 'hash', 't', 'm')",
    )
    .await;
    let enums = [
        ("videos", "workflow_state", "archived"),
        ("video_processing_status", "upload_status", "uploading"),
        ("video_processing_status", "validation_status", "validating"),
        ("video_processing_status", "extraction_status", "extracting"),
        ("video_processing_status", "inference_status", "processing"),
        ("video_processing_status", "ground_truth_status", "generating"),
        ("realtime_notification_queue", "status", "expired"),
        ("processing_error_log", "severity", "critical"),
        ("processing_error_log", "user_impact", "none"),
    ];
    for (table, column, value) in enums {
        db.execute(&format!("UPDATE {table} SET {column} = '{value}'")).await;
        let odd = db.try_execute(&format!("UPDATE {table} SET {column} = 'cooking'")).await;
        odd.expect_err(&format!("{table}.{column} takes no 'cooking'"));
        assert_eq!(db.value(column, &format!("FROM {table}")).await.as_deref(), Some(value));
    }
}

#[apply(behaviour!)]
async fn deleting_a_video_deletes_what_hangs_on_it(db: &dyn Fixture) {
    insert(db, &videos(2)).await;
    expanded(db).await;
    db.execute("DELETE FROM video_processing_status").await;
    for n in 1..=2 {
        let status = format!(
            "INSERT INTO video_processing_status (id, video_id) VALUES ('s{n}', 'v000{n}')"
        );
        db.execute(&status).await;
        db.execute(&format!(
            "INSERT INTO processing_error_log (id, video_id, processing_stage, error_type, error_message) \
             VALUES ('e{n}', 'v000{n}', 'hash', 't', 'm')"
        ))
        .await;
    }
    db.execute("UPDATE processing_error_log SET parent_error_id = 'e1' WHERE id = 'e2'").await;
    db.execute("DELETE FROM videos WHERE id = 'v0001'").await;
    let left = db.rows(&["id"], "FROM video_processing_status").await;
    assert_eq!(left, [[Some("s2".to_owned())]]);
    let errors = db.rows(&["id", "parent_error_id"], "FROM processing_error_log").await;
    assert_eq!(errors, [[Some("e2".to_owned()), None]], "the parent is set to NULL");
}

#[apply(behaviour!)]
async fn a_status_row_needs_its_video(db: &dyn Fixture) {
    expanded(db).await;
    let orphan = "INSERT INTO video_processing_status (id, video_id) VALUES ('s1', 'nobody')";
    db.try_execute(orphan).await.expect_err("the foreign key refuses it");
}
