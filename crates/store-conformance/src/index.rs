//! The phase index: the specification's indexes by name and column, and its view.

use macro_rules_attribute::apply;
use reelshift_store::schema::{Step, StepGroup, StepOutcome};
use reelshift_store::{Result, SharedStore};

use crate::Fixture;
use crate::arrange::{execute_step, expanded, insert, undo_step, videos};

/// The specification's indexes of phase 4.1.
const INDEXES: [(&str, &str, &str); 15] = [
    ("videos", "idx_video_workflow_state", "workflow_state"),
    ("videos", "idx_video_processing_node", "processing_node_id"),
    ("videos", "idx_video_quality", "video_quality_score"),
    ("videos", "idx_video_hash", "file_hash"),
    ("videos", "idx_video_expiry", "expiry_date"),
    ("videos", "idx_video_objects_count", "objects_detected_count"),
    ("videos", "idx_video_workflow_updated", "workflow_state,updated_at"),
    ("videos", "idx_video_project_workflow", "project_id,workflow_state"),
    ("video_processing_status", "idx_processing_progress", "video_id,progress_percentage"),
    ("video_processing_status", "idx_processing_errors", "error_count,last_error_timestamp"),
    ("video_processing_status", "idx_processing_retry", "retry_count,max_retries"),
    ("realtime_notification_queue", "idx_notification_retry", "next_retry_at,status"),
    ("realtime_notification_queue", "idx_notification_event_type", "event_type,created_at"),
    ("processing_error_log", "idx_error_correlation", "correlation_id"),
    ("processing_error_log", "idx_error_recovery", "recovery_strategy,recovery_attempted"),
];

/// Applies one group, and says what came of each step.
pub(super) async fn apply(store: &SharedStore, group: StepGroup) -> Result<Vec<StepOutcome>> {
    let mut outcomes = Vec::new();
    let report = |_: &Step, outcome| outcomes.push(outcome);
    crate::arrange::apply(store, &[group], report).await?;
    Ok(outcomes)
}

#[apply(behaviour!)]
async fn the_specifications_indexes_are_there(db: &dyn Fixture) {
    let store = expanded(db).await;
    let outcomes = apply(&store, StepGroup::Index).await.expect("index is applied");
    assert!(outcomes.iter().all(|outcome| *outcome == StepOutcome::Applied), "{outcomes:?}");
    for (table, name, columns) in INDEXES {
        let row = [name, "0", columns].map(|text| Some(text.to_owned())).to_vec();
        let indexes = db.texts(&db.indexes_sql(table)).await;
        assert!(indexes.contains(&row), "{table}: {row:?} in {indexes:?}");
    }
    let again = apply(&store, StepGroup::Index).await.expect("index is applied again");
    assert!(again.iter().all(|outcome| *outcome == StepOutcome::AlreadyDone), "{again:?}");
}

#[apply(behaviour!)]
async fn the_view_counts_the_last_day(db: &dyn Fixture) {
    let store = expanded(db).await;
    apply(&store, StepGroup::Index).await.expect("index is applied");
    let mut some = videos(9);
    some[0].created_at = Some("2001-01-01 00:00:00".to_owned());
    insert(db, &some).await;
    db.execute("UPDATE videos SET created_at = CURRENT_TIMESTAMP WHERE id > 'v0001'").await;
    let states = [
        "failed",
        "uploading",
        "processing",
        "processing",
        "completed",
        "completed",
        "completed",
        "failed",
        "archived",
    ];
    for (n, state) in states.iter().enumerate() {
        db.execute(&format!(
            "UPDATE videos SET workflow_state = '{state}', objects_detected_count = 3, \
             total_processing_time_seconds = {}, updated_at = '2026-03-04 05:06:07' WHERE id = 'v000{}'",
            n * 10,
            n + 1
        ))
        .await;
    }
    let columns = [
        "uploading_count",
        "processing_count",
        "completed_count",
        "failed_count",
        "avg_processing_time",
        "total_objects_detected",
        "total_videos",
        "last_updated",
    ];
    let row = db.rows(&columns, "FROM v_processing_dashboard_stats").await.remove(0);
    let mut row: Vec<_> = row.into_iter().map(|text| text.expect("a figure")).collect();
    let average: f64 = row.remove(4).parse().expect("a number");
    assert!((average - 45.0).abs() < 1e-6, "{average}");
    assert_eq!(row, ["1", "2", "3", "1", "24", "8", "2026-03-04 05:06:07"]);
}

#[apply(behaviour!)]
async fn index_and_automate_go_on_where_they_were_stopped(db: &dyn Fixture) {
    let store = expanded(db).await;
    for group in [StepGroup::Index, StepGroup::Automate] {
        let steps: Vec<_> =
            store.steps().iter().filter(|step| step.group == group).cloned().collect();
        for step in &steps {
            store.journal_started(step).await.expect("the start is journaled");
            execute_step(&store, step).await;
        }
        let outcomes = apply(&store, group).await.expect("it goes on");
        assert_eq!(outcomes, vec![StepOutcome::Recognised; steps.len()]);
    }
}

#[apply(behaviour!)]
async fn index_and_automate_are_undone_by_their_down_statements(db: &dyn Fixture) {
    let store = expanded(db).await;
    let tables = [
        "videos",
        "video_processing_status",
        "realtime_notification_queue",
        "processing_error_log",
    ];
    let indexes = async || {
        let mut all = Vec::new();
        for table in tables {
            let mut some = db.texts(&db.indexes_sql(table)).await;
            some.sort();
            all.push(some);
        }
        all
    };
    let before = indexes().await;
    let later = |step: &&Step| matches!(step.group, StepGroup::Index | StepGroup::Automate);
    let steps: Vec<_> = store.steps().iter().filter(later).cloned().collect();
    for step in &steps {
        execute_step(&store, step).await;
    }
    for step in steps.iter().rev() {
        undo_step(&store, step).await;
        assert!(
            !store.exists(&step.creates).await.expect("the schema is read"),
            "{}",
            step.creates
        );
    }
    assert_eq!(indexes().await, before);
}
