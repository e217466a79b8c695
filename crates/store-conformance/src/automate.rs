//! The phase automate: which notifications a change queues, exactly as the specification
//! has them, one a change.

use chrono::NaiveDateTime;
use macro_rules_attribute::apply;
use reelshift_plan::JobKind;
use reelshift_store::SharedStore;
use reelshift_store::schema::StepGroup;
use reelshift_store::videos::{FailedItem, FileResults};
use serde_json::{Value, json};

use crate::Fixture;
use crate::arrange::{
    claimed, error, everything, expanded, insert, video, videos, with_bridge, without_bridge,
};
use crate::index::apply;
use crate::videos::drain;

const STATES: [&str; 8] = [
    "initializing",
    "uploading",
    "uploaded",
    "validating",
    "processing",
    "completed",
    "failed",
    "archived",
];

/// A database with the triggers, and the flag as given.
async fn automated(db: &dyn Fixture, flag: bool) -> SharedStore {
    let store = expanded(db).await;
    apply(&store, StepGroup::Automate).await.expect("automate is applied");
    set_flag(db, flag).await;
    store
}

async fn set_flag(db: &dyn Fixture, enabled: bool) {
    db.execute(&format!(
        "REPLACE INTO reelshift_flags (name, enabled, rollout_percent, updated_by, updated_at) \
         VALUES ('realtime_notifications', {}, 100, 'test', CURRENT_TIMESTAMP)",
        u8::from(enabled)
    ))
    .await;
}

#[derive(Debug)]
struct Notification {
    event: String,
    priority: String,
    room: String,
    data: Value,
    minutes: i64,
    rest: [Option<String>; 4],
}

/// Takes what is queued out of the queue.
async fn take(db: &dyn Fixture) -> Vec<Notification> {
    let columns = [
        "event_type",
        "priority",
        "room_name",
        "event_data",
        "expires_at",
        "scheduled_at",
        "status",
        "attempts",
        "broadcast_to_all",
        "session_id",
        "id",
    ];
    let rows = db.rows(&columns, "FROM realtime_notification_queue").await;
    db.execute("DELETE FROM realtime_notification_queue").await;
    rows.into_iter()
        .map(|row| {
            let text = |n: usize| row[n].clone().expect("not NULL");
            let time = |n: usize| {
                NaiveDateTime::parse_from_str(&text(n), "%Y-%m-%d %H:%M:%S").expect("a time")
            };
            assert_eq!(text(10).len(), 36, "a UUID");
            Notification {
                event: text(0),
                priority: text(1),
                room: text(2),
                data: serde_json::from_str(&text(3)).expect("JSON"),
                minutes: (time(4) - time(5)).num_minutes(),
                rest: [6, 7, 8, 9].map(|n| row[n].clone()),
            }
        })
        .collect()
}

/// The one notification of a statement.
async fn one(db: &dyn Fixture, statement: &str) -> Notification {
    db.execute(statement).await;
    let mut queued = take(db).await;
    assert_eq!(queued.len(), 1, "{statement}: {queued:?}");
    let one = queued.remove(0);
    assert_eq!(one.room, "video_v0001");
    assert_eq!(
        one.rest,
        [Some("pending"), Some("0"), Some("0"), None].map(|t| t.map(str::to_owned))
    );
    one
}

async fn none(db: &dyn Fixture, statement: &str) {
    db.execute(statement).await;
    let queued = take(db).await;
    assert!(queued.is_empty(), "{statement}: {queued:?}");
}

fn is_workflow(one: &Notification, old: Option<&str>, new: &str) {
    let priority = match new {
        "failed" => "1",
        "completed" => "2",
        _ => "3",
    };
    assert_eq!((one.event.clone(), one.priority.as_str()), (format!("workflow_{new}"), priority));
    assert_eq!(one.minutes, 60);
    assert!(one.data["timestamp"].is_string(), "{one:?}");
    let timestamp = one.data["timestamp"].clone();
    let expected =
        json!({ "video_id": "v0001", "old_state": old, "new_state": new, "timestamp": timestamp });
    assert_eq!(one.data, expected);
}

#[apply(behaviour!)]
async fn every_change_of_state_queues_one_notification(db: &dyn Fixture) {
    automated(db, true).await;
    insert(db, &[video(1)]).await;
    none(db, "UPDATE videos SET resolution = '1x1'").await;
    for old in STATES {
        for new in STATES {
            db.execute(&format!("UPDATE videos SET workflow_state = '{old}'")).await;
            take(db).await;
            let change = format!("UPDATE videos SET workflow_state = '{new}'");
            if old == new {
                none(db, &change).await;
            } else {
                is_workflow(&one(db, &change).await, Some(old), new);
            }
            let stage = db.value("current_stage", "FROM video_processing_status").await;
            let expected = match new {
                "processing" => "inference",
                "completed" | "failed" => new,
                _ => continue,
            };
            assert_eq!(stage.as_deref(), Some(expected), "{old} to {new}");
        }
    }
}

#[apply(behaviour!)]
async fn every_change_of_the_legacy_columns_queues_one_notification(db: &dyn Fixture) {
    automated(db, true).await;
    none(db, "INSERT INTO videos (id, processing_status) VALUES ('v0001', 'processing')").await;
    let changes = [
        ("processing_status = 'completed', ground_truth_generated = 1", "processing", "completed"),
        ("processing_status = 'failed', ground_truth_generated = 0", "completed", "failed"),
        ("processing_status = 'pending'", "failed", "uploaded"),
        ("processing_status = 'processing'", "uploaded", "processing"),
    ];
    for (set, old, new) in changes {
        is_workflow(&one(db, &format!("UPDATE videos SET {set}")).await, Some(old), new);
    }
    // Both sides at once: the legacy columns win, and what counts is what is left.
    let both = "UPDATE videos SET processing_status = 'failed', workflow_state = 'completed'";
    is_workflow(&one(db, both).await, Some("processing"), "failed");
    none(db, "UPDATE videos SET processing_status = 'queued', workflow_state = 'completed'").await;
    none(db, "UPDATE videos SET workflow_state = NULL").await;
    is_workflow(
        &one(db, "UPDATE videos SET workflow_state = 'archived'").await,
        Some("failed"),
        "archived",
    );
    is_workflow(
        &one(db, "UPDATE videos SET processing_status = 'pending'").await,
        Some("archived"),
        "uploaded",
    );
}

#[apply(behaviour!)]
async fn a_state_that_was_null_is_a_change(db: &dyn Fixture) {
    let store = automated(db, true).await;
    insert(db, &[video(1)]).await;
    without_bridge(db, &store).await;
    db.execute("UPDATE videos SET workflow_state = NULL").await;
    with_bridge(&store).await;
    take(db).await;
    is_workflow(
        &one(db, "UPDATE videos SET workflow_state = 'processing'").await,
        None,
        "processing",
    );
}

/// What is set, and which event with which priority that is.
const PROGRESS: [(&str, Option<(&str, &str)>); 15] = [
    ("progress_percentage = 4.99", None),
    ("progress_percentage = 9.99", Some(("progress_update", "4"))),
    ("progress_percentage = 14.98", None),
    ("progress_percentage = 5", None),
    ("current_stage = 'extraction'", Some(("stage_changed", "4"))),
    ("current_stage = 'extraction', processed_frames = 7", None),
    ("current_stage = NULL", Some(("stage_changed", "4"))),
    ("current_stage = 'inference', progress_percentage = 50", Some(("stage_changed", "4"))),
    ("error_count = 1", Some(("processing_error", "1"))),
    (
        "error_count = 2, current_stage = 'x', progress_percentage = 60",
        Some(("processing_error", "1")),
    ),
    ("error_count = 0", None),
    ("progress_percentage = 97", Some(("progress_update", "4"))),
    ("progress_percentage = 100", None),
    ("current_stage = 'completed'", Some(("stage_changed", "2"))),
    ("progress_percentage = NULL, error_count = NULL", None),
];

#[apply(behaviour!)]
async fn progress_queues_what_the_specification_says(db: &dyn Fixture) {
    automated(db, true).await;
    insert(db, &[video(1)]).await;
    let mut steps = PROGRESS.to_vec();
    steps.push(("progress_percentage = 100", Some(("progress_update", "2"))));
    steps.push(("error_count = 1", Some(("processing_error", "1"))));
    for (set, expected) in steps {
        let statement = format!("UPDATE video_processing_status SET {set}");
        let Some((event, priority)) = expected else {
            none(db, &statement).await;
            continue;
        };
        let queued = one(db, &statement).await;
        assert_eq!((queued.event.as_str(), queued.priority.as_str()), (event, priority), "{set}");
        assert_eq!(queued.minutes, 30);
        let columns = ["current_stage", "progress_percentage", "error_count"];
        let row = db.rows(&columns, "FROM video_processing_status").await.remove(0);
        let number = |text: &Option<String>| {
            text.as_deref().map(|text| text.parse::<f64>().expect("a number"))
        };
        let data = &queued.data;
        assert_eq!(data["video_id"], "v0001");
        assert_eq!(data["stage"].as_str(), row[0].as_deref(), "{set}");
        assert_eq!(data["progress"].as_f64(), number(&row[1]), "{set}");
        assert_eq!(data["error_count"].as_f64(), number(&row[2]), "{set}");
        assert!(data["timestamp"].is_string());
        assert_eq!(data.as_object().map(serde_json::Map::len), Some(5));
    }
}

#[apply(behaviour!)]
async fn the_stored_flag_decides(db: &dyn Fixture) {
    automated(db, false).await;
    insert(db, &[video(1)]).await;
    let changes = |state: &str, stage: &str| {
        [
            format!("UPDATE videos SET workflow_state = '{state}'"),
            format!("UPDATE video_processing_status SET current_stage = '{stage}'"),
        ]
    };
    for change in changes("processing", "extraction") {
        none(db, &change).await;
    }
    set_flag(db, true).await;
    for change in changes("completed", "validation") {
        one(db, &change).await;
    }
    db.execute("DELETE FROM reelshift_flags").await;
    for change in changes("failed", "extraction") {
        none(db, &change).await;
    }
}

/// A session's own variable goes before the flag, as the specification has it; SQLite has
/// no variables.
#[apply(behaviour!)]
async fn no_notification_is_queued_at_nought_percent(db: &dyn Fixture) {
    automated(db, true).await;
    insert(db, &[video(1)]).await;
    db.execute("UPDATE reelshift_flags SET rollout_percent = 0").await;
    none(db, "UPDATE videos SET workflow_state = 'failed'").await;
    none(db, "UPDATE video_processing_status SET error_count = 1").await;
    db.execute("UPDATE reelshift_flags SET rollout_percent = 100").await;
    one(db, "UPDATE videos SET workflow_state = 'completed'").await;
}

#[apply(behaviour!)]
async fn a_session_may_decide_for_itself(db: &dyn Fixture) {
    automated(db, false).await;
    insert(db, &[video(1)]).await;
    if !db.row_locks() {
        return;
    }
    let with = |value: &str, statement: &str| {
        format!(
            "SET @enable_realtime_notifications = {value}; {statement}; \
             SET @enable_realtime_notifications = NULL"
        )
    };
    one(db, &with("1", "UPDATE videos SET workflow_state = 'processing'")).await;
    one(db, &with("1", "UPDATE video_processing_status SET error_count = 1")).await;
    set_flag(db, true).await;
    none(db, &with("0", "UPDATE videos SET workflow_state = 'completed'")).await;
    none(db, &with("0", "UPDATE video_processing_status SET error_count = 2")).await;
    one(db, &with("NULL", "UPDATE videos SET workflow_state = 'failed'")).await;
}

#[apply(behaviour!)]
async fn a_statement_of_many_rows_queues_one_for_each(db: &dyn Fixture) {
    automated(db, true).await;
    insert(db, &videos(50)).await;
    db.execute("UPDATE videos SET processing_status = 'processing' WHERE id > 'v0010'").await;
    let queued = take(db).await;
    assert_eq!(queued.len(), 40);
    assert!(queued.iter().all(|one| one.event == "workflow_processing"), "{queued:?}");
    db.execute("UPDATE video_processing_status SET progress_percentage = 50").await;
    assert_eq!(take(db).await.len(), 50);
}

#[apply(behaviour!)]
async fn what_the_fleet_writes_queues_nothing(db: &dyn Fixture) {
    let mut some = videos(6);
    for (n, video) in some.iter_mut().enumerate() {
        video.processing_status =
            [Some("processing"), Some("failed"), None][n % 3].map(str::to_owned);
    }
    insert(db, &some).await;
    let store = automated(db, true).await;
    db.execute(
        "INSERT INTO video_processing_status (id, video_id, ground_truth_status) VALUES ('s1', 'v0001', 'failed')",
    )
    .await;
    let batch = claimed(&store, JobKind::Backfill, everything()).await;
    assert_eq!(drain(&store, &batch, 4).await, 6);
    let batch = claimed(&store, JobKind::Hash, everything()).await;
    let failed = FailedItem {
        video_id: "v0002".to_owned(),
        error: error("missing", Some("v0002"), batch.id),
    };
    let results = FileResults { failed: vec![failed], ..FileResults::default() };
    store.record_files(batch.lease, &results).await.expect("recorded");
    let queued = take(db).await;
    assert!(queued.is_empty(), "{queued:?}");
    let counted =
        db.value("error_count", "FROM video_processing_status WHERE video_id = 'v0002'").await;
    assert_eq!(counted.as_deref(), Some("1"));
    one(db, "UPDATE videos SET workflow_state = 'archived' WHERE id = 'v0001'").await;
    if !db.row_locks() {
        assert_eq!(db.count("FROM reelshift_quiet").await, 0);
    }
}
