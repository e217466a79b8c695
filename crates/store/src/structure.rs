//! What of the specification's schema is there: the lists are the specification's, and
//! share nothing with the shipped steps. An adapter reads its catalogue into [`Found`].

use std::collections::HashSet;

use crate::Result;
use crate::report::{Check, CheckVerdict, Difference, FIRST_DIFFERENCES};
use crate::schema::{JournalEntry, Object, Schema};

const VIDEOS: &str = "workflow_state ml_model_version inference_config processing_node_id \
     video_quality_score frame_quality_analysis audio_quality_score original_filename file_hash \
     file_mime_type storage_location backup_location total_processing_time_seconds \
     frames_per_second_processed objects_detected_count annotations_count expiry_date \
     retention_policy compliance_tags";

const STATUS: &str = "id video_id upload_status validation_status extraction_status \
     inference_status ground_truth_status current_stage processing_started_at \
     processing_completed_at total_frames processed_frames progress_percentage error_count \
     last_error_message last_error_timestamp retry_count max_retries assigned_worker_id \
     processing_priority estimated_completion_time processing_duration_seconds memory_usage_mb \
     cpu_usage_percentage created_at updated_at";

const NOTIFICATIONS: &str = "id event_type priority session_id user_id room_name \
     broadcast_to_all event_data event_metadata status attempts max_attempts scheduled_at \
     process_after expires_at sent_at last_error next_retry_at created_at updated_at";

const ERRORS: &str = "id video_id processing_stage error_type error_message error_code \
     stack_trace system_state recovery_strategy recovery_attempted recovery_successful \
     recovery_timestamp correlation_id parent_error_id severity user_impact created_at";

const COLUMNS: [(&str, &str); 4] = [
    ("videos", VIDEOS),
    ("video_processing_status", STATUS),
    ("realtime_notification_queue", NOTIFICATIONS),
    ("processing_error_log", ERRORS),
];

/// Indexes of the new tables, with their columns, as [`Found::indexes`] writes them.
const EXPAND_INDEXES: [(&str, &str); 9] = [
    ("video_processing_status", "unique (video_id)"),
    ("video_processing_status", "(current_stage)"),
    ("video_processing_status", "(processing_started_at)"),
    ("realtime_notification_queue", "(status, priority, process_after)"),
    ("realtime_notification_queue", "(session_id, status)"),
    ("realtime_notification_queue", "(expires_at, status)"),
    ("processing_error_log", "(video_id, processing_stage)"),
    ("processing_error_log", "(error_type, severity)"),
    ("processing_error_log", "(created_at)"),
];

/// Those of the phase `index`.
const PHASE_INDEXES: [(&str, &str); 15] = [
    ("videos", "(workflow_state)"),
    ("videos", "(processing_node_id)"),
    ("videos", "(video_quality_score)"),
    ("videos", "(file_hash)"),
    ("videos", "(expiry_date)"),
    ("videos", "(objects_detected_count)"),
    ("videos", "(workflow_state, updated_at)"),
    ("videos", "(project_id, workflow_state)"),
    ("video_processing_status", "(video_id, progress_percentage)"),
    ("video_processing_status", "(error_count, last_error_timestamp)"),
    ("video_processing_status", "(retry_count, max_retries)"),
    ("realtime_notification_queue", "(next_retry_at, status)"),
    ("realtime_notification_queue", "(event_type, created_at)"),
    ("processing_error_log", "(correlation_id)"),
    ("processing_error_log", "(recovery_strategy, recovery_attempted)"),
];

const FOREIGN_KEYS: [(&str, &str); 3] = [
    ("video_processing_status", "foreign key (video_id) to videos (id)"),
    ("processing_error_log", "foreign key (video_id) to videos (id)"),
    ("processing_error_log", "foreign key (parent_error_id) to processing_error_log (id)"),
];

/// The objects of a database, in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// `table.column`
    pub columns: HashSet<String>,
    /// `table.(column, column)`, or `table.unique (column)`
    pub indexes: HashSet<String>,
    /// `table.foreign key (column) to table (column)`
    pub foreign_keys: HashSet<String>,
    /// The triggers and views of the steps that were applied, and whether each is there.
    pub made: Vec<(String, bool)>,
}

/// The triggers and views that `journal` says were made, and whether each is there.
///
/// # Errors
/// When the catalogue cannot be read.
pub async fn made(
    store: &(dyn Schema + Sync),
    journal: &[JournalEntry],
) -> Result<Vec<(String, bool)>> {
    let done = |number| journal.iter().any(|entry| entry.number == number && entry.done);
    let mut made = Vec::new();
    for step in store.steps().iter().filter(|step| done(step.number)) {
        if matches!(step.creates, Object::Trigger(_) | Object::View(_)) {
            made.push((step.creates.to_string(), store.exists(&step.creates).await?));
        }
    }
    Ok(made)
}

/// The check `structure`, and whether the tables and columns are there that every other
/// check reads. The indexes of the phase `index` are asked for once it is `indexed`.
#[must_use]
pub fn check(found: &Found, indexed: bool) -> (Check, bool) {
    let mut check = Check::new(
        "structure",
        "every table, column, index, foreign key, trigger and view of the specification is there",
    );
    for (table, names) in COLUMNS {
        let prefix = format!("{table}.");
        let there = found.columns.iter().any(|column| column.starts_with(&prefix));
        look(&mut check, table.to_owned(), "a table", there);
        for name in names.split(' ').filter(|_| there) {
            let column = format!("{table}.{name}");
            let there = found.columns.contains(&column);
            look(&mut check, column, "a column", there);
        }
    }
    let readable = check.differences == 0;
    let of_phase = PHASE_INDEXES.iter().filter(|_| indexed);
    for (table, of) in EXPAND_INDEXES.iter().chain(of_phase) {
        let (any, unique) = (format!("{table}.{of}"), format!("{table}.unique {of}"));
        let there = found.indexes.contains(&any) || found.indexes.contains(&unique);
        look(&mut check, format!("{table} {of}"), "an index", there);
    }
    for (table, of) in FOREIGN_KEYS {
        let there = found.foreign_keys.contains(&format!("{table}.{of}"));
        look(&mut check, format!("{table} {of}"), "a foreign key", there);
    }
    for (what, there) in &found.made {
        look(&mut check, what.clone(), "in place: apply its phase again", *there);
    }
    (check, readable)
}

/// A check that the missing tables or columns do not allow.
#[must_use]
pub fn not_looked_at(name: &str, description: &str) -> Check {
    let note = "not looked at: what it reads is missing, as `structure` says".to_owned();
    Check { verdict: CheckVerdict::NotYet, note: Some(note), ..Check::new(name, description) }
}

fn look(check: &mut Check, what: String, kind: &str, there: bool) {
    check.count(1, u64::from(!there));
    if !there && check.first.len() < FIRST_DIFFERENCES as usize {
        check.first.push(Difference {
            video_id: String::new(),
            column: what,
            expected: Some(kind.to_owned()),
            found: None,
        });
    }
}
