//! What the two status readers read, and the server's load.

use chrono::{NaiveDate, NaiveDateTime};
use macro_rules_attribute::apply;
use reelshift_store::status::{EnhancedRow, LegacyRow};
use uuid::Uuid;

use crate::Fixture;
use crate::arrange::{error, expanded, insert, videos, without_bridge};

fn at(hour: u32) -> Option<NaiveDateTime> {
    NaiveDate::from_ymd_opt(2026, 2, 3)?.and_hms_opt(hour, 5, 6)
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[apply(behaviour!)]
async fn the_legacy_row_is_read_before_expand(db: &dyn Fixture) {
    let mut some = videos(2);
    some[0].ground_truth = Some(true);
    some[0].filename = text("clip é.mp4");
    let last = &mut some[1];
    (last.filename, last.status, last.processing_status) = (None, None, None);
    (last.ground_truth, last.updated_at) = (None, None);
    insert(db, &some).await;
    let store = db.store().await;
    let expected = LegacyRow {
        id: "v0001".to_owned(),
        filename: text("clip é.mp4"),
        status: text("uploaded"),
        processing_status: text("pending"),
        ground_truth_generated: Some(true),
        updated_at: at(4),
    };
    assert_eq!(store.legacy_status("v0001").await.expect("read"), Some(expected));
    let empty = LegacyRow {
        id: "v0002".to_owned(),
        filename: None,
        status: None,
        processing_status: None,
        ground_truth_generated: None,
        updated_at: None,
    };
    assert_eq!(store.legacy_status("v0002").await.expect("read"), Some(empty));
}

#[apply(behaviour!)]
async fn an_unknown_video_has_no_status(db: &dyn Fixture) {
    insert(db, &videos(1)).await;
    let store = expanded(db).await;
    for id in ["v0002", "", "%", "v0001'--"] {
        assert_eq!(store.legacy_status(id).await.expect("read"), None, "{id}");
        assert_eq!(store.enhanced_status(id).await.expect("read"), None, "{id}");
        assert_eq!(store.error_details(id).await.expect("read"), None, "{id}");
    }
}

#[apply(behaviour!)]
async fn a_video_without_status_row_has_an_enhanced_status(db: &dyn Fixture) {
    let store = expanded(db).await;
    without_bridge(db, &store).await;
    insert(db, &videos(1)).await;
    db.execute("UPDATE videos SET workflow_state = NULL, updated_at = '2026-02-03 09:05:06'").await;
    let expected = EnhancedRow {
        id: "v0001".to_owned(),
        filename: text("clip 1.mp4"),
        workflow_state: None,
        file_hash: None,
        updated_at: at(9),
        current_stage: None,
        progress_percentage: None,
        processed_frames: None,
        total_frames: None,
        error_count: None,
        last_error_message: None,
        estimated_completion_time: None,
    };
    assert_eq!(store.enhanced_status("v0001").await.expect("read"), Some(expected));
}

#[apply(behaviour!)]
async fn an_enhanced_status_has_what_its_status_row_has(db: &dyn Fixture) {
    let store = expanded(db).await;
    without_bridge(db, &store).await;
    insert(db, &videos(2)).await;
    db.execute(
        "INSERT INTO video_processing_status (id, video_id, current_stage, progress_percentage, \
         processed_frames, total_frames, error_count, last_error_message, estimated_completion_time) \
         VALUES ('s1', 'v0001', 'inference', 41.3, 413, 1000, 2, 'gone 🎬', '2026-02-03 07:05:06')",
    )
    .await;
    db.execute(
        "UPDATE videos SET workflow_state = 'processing', file_hash = 'ab12', \
           updated_at = '2026-02-03 09:05:06' WHERE id = 'v0001'",
    )
    .await;
    let expected = EnhancedRow {
        id: "v0001".to_owned(),
        filename: text("clip 1.mp4"),
        workflow_state: text("processing"),
        file_hash: text("ab12"),
        updated_at: at(9),
        current_stage: text("inference"),
        progress_percentage: Some(41.3),
        processed_frames: Some(413),
        total_frames: Some(1_000),
        error_count: Some(2),
        last_error_message: text("gone 🎬"),
        estimated_completion_time: at(7),
    };
    assert_eq!(store.enhanced_status("v0001").await.expect("read"), Some(expected));
}

#[apply(behaviour!)]
async fn a_time_that_is_none_is_read_as_none(db: &dyn Fixture) {
    let store = expanded(db).await;
    insert(db, &videos(1)).await;
    db.execute_unchecked("UPDATE videos SET updated_at = '0000-00-00 00:00:00'").await;
    let legacy = store.legacy_status("v0001").await.expect("read").expect("there");
    assert_eq!(legacy.updated_at, None);
    let enhanced = store.enhanced_status("v0001").await.expect("read").expect("there");
    assert_eq!(enhanced.updated_at, None);
}

#[apply(behaviour!)]
async fn error_details_are_of_the_newest_error(db: &dyn Fixture) {
    insert(db, &videos(2)).await;
    let store = expanded(db).await;
    assert_eq!(store.error_details("v0001").await.expect("read"), None);
    let mut records: Vec<_> =
        (0..3).map(|n| error(&format!("type {n}"), Some("v0001"), Uuid::now_v7())).collect();
    records.push(error("another video's", Some("v0002"), Uuid::now_v7()));
    records[2].recovery_strategy = "retry_later".to_owned();
    records[2].correlation_id = text("4bf92f3577b34da6a3ce929d0e0e4736");
    store.record_errors(&records).await.expect("recorded");
    let details = store.error_details("v0001").await.expect("read").expect("there");
    assert_eq!(details.error_type, "type 2");
    assert_eq!(details.processing_stage, records[2].processing_stage);
    assert_eq!(details.recovery_strategy.as_deref(), Some("retry_later"));
    assert_eq!(details.correlation_id, records[2].correlation_id);
    assert_ne!(details.recovery_successful, Some(true));
}

#[apply(behaviour!)]
async fn load_is_that_of_a_server(db: &dyn Fixture) {
    let store = db.store().await;
    let embedded = store.address().system.is_embedded();
    let load = store.load().await.expect("it is sampled");
    assert_eq!(load.is_none(), embedded);
    if let Some(load) = load {
        assert!(load.active_connections >= 1, "the one that asks: {load:?}");
        assert!(load.max_query_seconds >= load.avg_query_seconds, "{load:?}");
        assert!(load.avg_query_seconds >= 0.0, "{load:?}");
    }
}
