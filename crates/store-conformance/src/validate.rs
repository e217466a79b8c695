//! `validate`: clean after a backfill, and each kind of corruption found by its check.

use macro_rules_attribute::apply;
use reelshift_plan::JobKind;
use reelshift_store::SharedStore;
use reelshift_store::ledger::VideoFilter;
use reelshift_store::report::{Check, CheckVerdict};
use reelshift_store::schema::StepGroup;
use reelshift_store::validation::{self, FirstDifferencesOnly};

use crate::Fixture;
use crate::arrange::{apply, claimed, everything, expanded, insert, videos, without_bridge};

/// Videos 1 to `count` of every legacy state, backfilled, without the bridge.
async fn backfilled(db: &dyn Fixture, count: usize) -> SharedStore {
    let mut some = videos(count);
    for (n, video) in some.iter_mut().enumerate() {
        video.processing_status = [Some("pending"), Some("processing"), Some("completed"), None]
            [n % 4]
            .map(str::to_owned);
        video.ground_truth = [Some(true), Some(false), None][n % 3];
    }
    insert(db, &some).await;
    let store = expanded(db).await;
    without_bridge(db, &store).await;
    let batch = claimed(&store, JobKind::Backfill, everything()).await;
    let filter = VideoFilter::default();
    let chunk = store
        .backfill_chunk(batch.lease, &everything(), None, 1_000, &filter)
        .await
        .expect("a chunk");
    assert_eq!((chunk.rows as usize, chunk.next), (count, None));
    store
}

/// What comparing every row shows, two windows at a time.
pub(super) async fn validate(store: &SharedStore) -> Vec<Check> {
    let checks = validation::validate(&**store, 2, &mut FirstDifferencesOnly).await;
    checks.expect("every row is compared")
}

/// The check whose name has this word.
fn named<'a>(checks: &'a [Check], word: &str) -> &'a Check {
    let mut found = checks.iter().filter(|check| check.name.contains(word));
    let check = found.next().unwrap_or_else(|| panic!("no check {word} in {checks:?}"));
    assert!(found.next().is_none(), "two checks {word} in {checks:?}");
    check
}

const CHECKS: [&str; 8] = [
    "integrity",
    "metadata",
    "workflow_state",
    "ground_truth",
    "stage",
    "foreign_key",
    "enum",
    "hash",
];

#[apply(behaviour!)]
async fn a_backfilled_database_is_clean(db: &dyn Fixture) {
    let store = backfilled(db, 24).await;
    db.execute(&format!("UPDATE videos SET file_hash = '{}' WHERE id = 'v0001'", "0a".repeat(32)))
        .await;
    let checks = validate(&store).await;
    for word in CHECKS {
        let check = named(&checks, word);
        assert!(!check.description.is_empty(), "{check:?}");
    }
    for check in &checks {
        assert_eq!((check.differences, check.first.as_slice()), (0, &[][..]), "{check:?}");
    }
    for word in ["integrity", "metadata", "workflow_state", "ground_truth", "stage"] {
        assert_eq!(named(&checks, word).rows, 24, "{word} looks at every row");
    }
}

#[apply(behaviour!)]
async fn finer_states_and_both_vocabularies_of_stages_are_clean(db: &dyn Fixture) {
    let mut some = videos(6);
    some[4].processing_status = Some("processing".to_owned());
    some[5].ground_truth = Some(true);
    insert(db, &some).await;
    let store = expanded(db).await;
    without_bridge(db, &store).await;
    let batch = claimed(&store, JobKind::Backfill, everything()).await;
    let chunk =
        store.backfill_chunk(batch.lease, &everything(), None, 10, &VideoFilter::default()).await;
    assert_eq!(chunk.expect("a chunk").rows, 6);
    for (n, state) in ["archived", "initializing", "uploading", "validating"].iter().enumerate() {
        db.execute(&format!(
            "UPDATE videos SET workflow_state = '{state}' WHERE id = 'v000{}'",
            n + 1
        ))
        .await;
    }
    db.execute(
        "UPDATE video_processing_status SET current_stage = 'inference' WHERE video_id = 'v0005'",
    )
    .await;
    for check in validate(&store).await {
        assert_eq!(check.differences, 0, "{check:?}");
    }
}

#[apply(behaviour!)]
async fn rows_before_their_backfill_are_differences(db: &dyn Fixture) {
    insert(db, &videos(3)).await;
    let store = expanded(db).await;
    without_bridge(db, &store).await;
    db.execute("DELETE FROM video_processing_status").await;
    db.execute("UPDATE videos SET original_filename = NULL, workflow_state = 'failed'").await;
    let checks = validate(&store).await;
    for word in ["integrity", "metadata", "workflow_state"] {
        let mut rows: Vec<_> =
            named(&checks, word).first.iter().map(|row| row.video_id.as_str()).collect();
        rows.dedup();
        assert_eq!(rows, ["v0001", "v0002", "v0003"], "{word}");
    }
}

/// A statement that spoils one row, which check must find it, and in which column.
/// `v0002` is `processing` without ground truth.
const CORRUPTIONS: [(&str, &str, &str); 20] = [
    (
        "UPDATE videos SET original_filename = 'Clip 2.mp4' WHERE id = 'v0002'",
        "metadata",
        "original_filename",
    ),
    (
        "UPDATE videos SET file_mime_type = 'video/MP4' WHERE id = 'v0002'",
        "metadata",
        "file_mime_type",
    ),
    (
        "UPDATE videos SET storage_location = '/media/clip 2.mp4 ' WHERE id = 'v0002'",
        "metadata",
        "storage_location",
    ),
    (
        "UPDATE videos SET retention_policy = 'standard_90_days ' WHERE id = 'v0002'",
        "metadata",
        "retention_policy",
    ),
    (
        "UPDATE video_processing_status SET current_stage = 'Ground_truth' WHERE video_id = 'v0002'",
        "stage",
        "current_stage",
    ),
    (
        "UPDATE video_processing_status SET current_stage = 'ground_truth ' WHERE video_id = 'v0002'",
        "stage",
        "current_stage",
    ),
    (
        "UPDATE video_processing_status SET upload_status = 'failed' WHERE video_id = 'v0002'",
        "integrity",
        "upload_status",
    ),
    (
        "UPDATE videos SET original_filename = NULL WHERE id = 'v0002'",
        "metadata",
        "original_filename",
    ),
    ("UPDATE videos SET file_mime_type = NULL WHERE id = 'v0002'", "metadata", "file_mime_type"),
    (
        "UPDATE videos SET storage_location = NULL WHERE id = 'v0002'",
        "metadata",
        "storage_location",
    ),
    (
        "UPDATE videos SET retention_policy = NULL WHERE id = 'v0002'",
        "metadata",
        "retention_policy",
    ),
    (
        "UPDATE videos SET workflow_state = 'completed' WHERE id = 'v0002'",
        "workflow_state",
        "workflow_state",
    ),
    (
        "UPDATE videos SET workflow_state = NULL WHERE id = 'v0002'",
        "workflow_state",
        "workflow_state",
    ),
    (
        "UPDATE video_processing_status SET ground_truth_status = 'failed' WHERE video_id = 'v0002'",
        "ground_truth",
        "ground_truth_status",
    ),
    (
        "UPDATE video_processing_status SET ground_truth_status = NULL WHERE video_id = 'v0002'",
        "ground_truth",
        "ground_truth_status",
    ),
    (
        "UPDATE video_processing_status SET current_stage = 'cooking' WHERE video_id = 'v0002'",
        "stage",
        "current_stage",
    ),
    (
        "UPDATE video_processing_status SET current_stage = NULL WHERE video_id = 'v0002'",
        "stage",
        "current_stage",
    ),
    ("UPDATE videos SET file_hash = 'abc' WHERE id = 'v0002'", "hash", "file_hash"),
    (
        "UPDATE videos SET file_hash = '0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef' \
         WHERE id = 'v0002'",
        "hash",
        "file_hash",
    ),
    (
        "UPDATE videos SET file_hash = '0123456789gggggg0123456789abcdef0123456789abcdef0123456789abcdef' \
         WHERE id = 'v0002'",
        "hash",
        "file_hash",
    ),
];

#[apply(behaviour!)]
async fn each_corruption_is_found_by_its_check_alone(db: &dyn Fixture) {
    let store = backfilled(db, 4).await;
    let videos = [
        "original_filename",
        "file_mime_type",
        "storage_location",
        "retention_policy",
        "workflow_state",
        "file_hash",
    ];
    let restore = async |row: &[Option<String>], columns: &[&str], table: &str, key: &str| {
        let set: Vec<_> = columns
            .iter()
            .zip(row)
            .map(|(column, value)| {
                format!(
                    "{column} = {}",
                    value.as_ref().map_or("NULL".to_owned(), |text| db.quoted(text))
                )
            })
            .collect();
        db.execute(&format!("UPDATE {table} SET {} WHERE {key} = 'v0002'", set.join(", "))).await;
    };
    let status = ["ground_truth_status", "current_stage", "upload_status"];
    let video_row = db.rows(&videos, "FROM videos WHERE id = 'v0002'").await.remove(0);
    let status_row =
        db.rows(&status, "FROM video_processing_status WHERE video_id = 'v0002'").await.remove(0);
    for (sql, word, column) in CORRUPTIONS {
        db.execute(sql).await;
        let checks = validate(&store).await;
        // What makes the two states disagree with the legacy columns can make them disagree
        // with each other too.
        let others = |check: &&Check| {
            !check.name.contains(word)
                && check.name != "state_consistency"
                && !(check.name == "enum_values" && sql.contains("ground_truth_status = NULL"))
        };
        for check in checks.iter().filter(others) {
            assert_eq!(check.differences, 0, "{sql}: {check:?}");
        }
        let check = named(&checks, word);
        assert_eq!(check.differences, 1, "{sql}: {check:?}");
        assert_eq!(
            (check.first[0].video_id.as_str(), check.first[0].column.as_str()),
            ("v0002", column),
            "{sql}"
        );
        assert_ne!(check.first[0].expected, check.first[0].found, "{sql}");
        restore(&video_row, &videos, "videos", "id").await;
        restore(&status_row, &status, "video_processing_status", "video_id").await;
        assert!(
            validate(&store).await.iter().all(|check| check.differences == 0),
            "restored after {sql}"
        );
    }
}

#[apply(behaviour!)]
async fn a_video_without_status_row_is_found(db: &dyn Fixture) {
    let store = backfilled(db, 4).await;
    db.execute("DELETE FROM video_processing_status WHERE video_id = 'v0003'").await;
    let checks = validate(&store).await;
    let integrity = named(&checks, "integrity");
    assert_eq!((integrity.differences, integrity.first[0].video_id.as_str()), (1, "v0003"));
}

#[apply(behaviour!)]
async fn a_status_row_without_video_is_found(db: &dyn Fixture) {
    let store = backfilled(db, 4).await;
    db.execute_unchecked(
        "INSERT INTO video_processing_status (id, video_id) VALUES ('orphan', 'nobody')",
    )
    .await;
    let checks = validate(&store).await;
    let keys = named(&checks, "foreign_key");
    assert_eq!((keys.differences, keys.first.len()), (1, 1));
    assert!(format!("{:?}", keys.first[0]).contains("nobody"), "{keys:?}");
}

#[apply(behaviour!)]
async fn an_error_without_video_is_found(db: &dyn Fixture) {
    let store = backfilled(db, 4).await;
    db.execute_unchecked(
        "INSERT INTO processing_error_log (id, video_id, processing_stage, error_type, error_message) \
         VALUES ('e1', 'nobody', 'hash', 't', 'm')",
    )
    .await;
    assert_eq!(named(&validate(&store).await, "foreign_key").differences, 1);
}

#[apply(behaviour!)]
async fn a_value_outside_its_enum_is_found(db: &dyn Fixture) {
    let store = backfilled(db, 4).await;
    db.execute_unchecked("UPDATE videos SET workflow_state = 'cooking' WHERE id = 'v0001'").await;
    db.execute_unchecked(
        "UPDATE video_processing_status SET upload_status = 'cooking' WHERE video_id = 'v0003'",
    )
    .await;
    let checks = validate(&store).await;
    let enums = named(&checks, "enum");
    let found: Vec<_> =
        enums.first.iter().map(|row| (row.video_id.as_str(), row.column.as_str())).collect();
    assert_eq!(enums.differences, 2, "{enums:?}");
    assert!(found[0].0 == "v0001" && found[0].1.contains("workflow_state"), "{found:?}");
    assert!(found[1].0 == "v0003" && found[1].1.contains("upload_status"), "{found:?}");
}

#[apply(behaviour!)]
async fn a_status_that_is_null_is_found(db: &dyn Fixture) {
    let store = backfilled(db, 4).await;
    db.execute(
        "UPDATE video_processing_status SET validation_status = NULL, extraction_status = NULL, \
         inference_status = NULL WHERE video_id = 'v0002'",
    )
    .await;
    let checks = validate(&store).await;
    let enums = named(&checks, "enum");
    assert!(enums.differences > 0, "{enums:?}");
    for status in ["validation_status", "extraction_status", "inference_status"] {
        assert!(enums.first.iter().any(|row| row.column.contains(status)), "{enums:?}");
    }
    db.execute("UPDATE video_processing_status SET upload_status = NULL WHERE video_id = 'v0003'")
        .await;
    assert_eq!(named(&validate(&store).await, "integrity").differences, 1);
}

#[apply(behaviour!)]
async fn an_error_whose_parent_is_gone_is_found(db: &dyn Fixture) {
    let store = backfilled(db, 4).await;
    db.execute_unchecked(
        "INSERT INTO processing_error_log (id, processing_stage, error_type, error_message, parent_error_id) \
         VALUES ('e1', 'hash', 't', 'm', 'nobody')",
    )
    .await;
    assert_eq!(named(&validate(&store).await, "foreign_key").differences, 1);
}

#[apply(behaviour!)]
async fn odd_errors_and_notifications_are_found(db: &dyn Fixture) {
    let store = backfilled(db, 4).await;
    let odd = [
        "INSERT INTO processing_error_log (id, processing_stage, error_type, error_message, severity) \
         VALUES ('e1', 'hash', 't', 'm', 'cooking')",
        "INSERT INTO processing_error_log (id, processing_stage, error_type, error_message, user_impact) \
         VALUES ('e2', 'hash', 't', 'm', 'cooking')",
        "INSERT INTO realtime_notification_queue (id, event_type, event_data, status) \
         VALUES ('n1', 't', '{}', 'cooking')",
    ];
    for (sql, differences) in odd.iter().zip(1..) {
        db.execute_unchecked(sql).await;
        assert_eq!(named(&validate(&store).await, "enum").differences, differences, "{sql}");
    }
}

#[apply(behaviour!)]
async fn what_is_missing_of_the_structure_is_named(db: &dyn Fixture) {
    let store = backfilled(db, 4).await;
    let on = if db.row_locks() { " ON processing_error_log" } else { "" };
    db.execute(&format!("DROP INDEX idx_error_type_severity{on}")).await;
    let checks = validate(&store).await;
    assert_eq!(named(&checks, "structure").differences, 1, "{checks:?}");
    assert!(checks.len() > 1, "the rows are compared all the same");
    db.execute("ALTER TABLE videos DROP COLUMN compliance_tags").await;
    let checks = validate(&store).await;
    let structure = named(&checks, "structure");
    assert_eq!(structure.differences, 2, "{structure:?}");
    assert!(
        structure.first.iter().any(|row| row.column.contains("compliance_tags")),
        "{structure:?}"
    );
}

#[apply(behaviour!)]
async fn the_first_ten_are_named_in_key_order(db: &dyn Fixture) {
    let store = backfilled(db, 30).await;
    db.execute("UPDATE videos SET retention_policy = NULL WHERE id > 'v0005'").await;
    let checks = validate(&store).await;
    let metadata = named(&checks, "metadata");
    assert_eq!((metadata.rows, metadata.differences), (30, 25));
    let named: Vec<_> = metadata.first.iter().map(|row| row.video_id.clone()).collect();
    assert_eq!(named, (6..=15).map(|n| format!("v{n:04}")).collect::<Vec<_>>());
    for row in &metadata.first {
        assert_eq!(
            (row.expected.as_deref(), row.found.as_deref()),
            (Some("standard_90_days"), None)
        );
    }
}

#[apply(behaviour!)]
async fn inconsistent_states_are_found(db: &dyn Fixture) {
    let store = backfilled(db, 8).await;
    assert_eq!(named(&validate(&store).await, "state_consistency").rows, 8);
    for (video, state, truth) in [
        ("v0001", "completed", "pending"),
        ("v0002", "failed", "generating"),
        ("v0003", "failed", "pending"),
        ("v0004", "processing", "failed"),
    ] {
        db.execute(&format!("UPDATE videos SET workflow_state = '{state}' WHERE id = '{video}'"))
            .await;
        db.execute(&format!(
            "UPDATE video_processing_status SET ground_truth_status = '{truth}' WHERE video_id = '{video}'"
        ))
        .await;
    }
    let checks = validate(&store).await;
    let check = named(&checks, "state_consistency");
    let found: Vec<_> = check.first.iter().map(|row| row.video_id.as_str()).collect();
    assert_eq!((check.verdict, found), (CheckVerdict::Difference, vec!["v0001", "v0002"]));
}

/// The verdicts on the specification's two queries.
async fn plans(store: &SharedStore) -> Vec<(String, CheckVerdict)> {
    let mut checks = validate(store).await;
    checks.retain(|check| check.name.starts_with("query_plan_"));
    checks.into_iter().map(|check| (check.name, check.verdict)).collect()
}

#[apply(behaviour!)]
async fn query_plans_are_not_yet_judged_before_index(db: &dyn Fixture) {
    let store = backfilled(db, 4).await;
    let verdicts = plans(&store).await;
    assert_eq!(verdicts.len(), 2);
    assert!(verdicts.iter().all(|(_, verdict)| *verdict == CheckVerdict::NotYet), "{verdicts:?}");
}

#[apply(behaviour!)]
async fn query_plans_after_index_are_no_difference(db: &dyn Fixture) {
    let store = backfilled(db, 60).await;
    apply(&store, &[StepGroup::Index], |_, _| {}).await.expect("index is applied");
    for (name, verdict) in plans(&store).await {
        assert!(
            [CheckVerdict::Ok, CheckVerdict::Warning].contains(&verdict),
            "{name}: {verdict:?}"
        );
    }
    for index in ["idx_video_workflow_state", "idx_video_workflow_updated"] {
        let on = if db.row_locks() { " ON videos" } else { "" };
        db.execute(&format!("DROP INDEX {index}{on}")).await;
    }
    let verdicts = plans(&store).await;
    assert_eq!(verdicts[0], ("query_plan_videos".to_owned(), CheckVerdict::Difference));
}
