//! The error log: writing, cutting, selecting, grouping.

use macro_rules_attribute::apply;
use reelshift_store::failures::{ErrorEntry, ErrorSelection};
use reelshift_store::{ErrorRecord, SharedStore};
use uuid::Uuid;

use crate::Fixture;
use crate::arrange::{error, expanded, insert, videos};

async fn read(store: &SharedStore, selection: &ErrorSelection) -> Vec<ErrorEntry> {
    store.errors(selection, 100).await.expect("errors are read")
}

#[apply(behaviour!)]
async fn an_error_is_read_back_whole(db: &dyn Fixture) {
    insert(db, &videos(1)).await;
    let store = expanded(db).await;
    let mut record = error("file_missing", Some("v0001"), Uuid::now_v7());
    record.error_message = "it's \"gone\" 🎬\nreally".to_owned();
    store.record_errors(std::slice::from_ref(&record)).await.expect("recorded");
    let entries = read(&store, &ErrorSelection::default()).await;
    assert_eq!(entries.len(), 1);
    let entry = &entries[0];
    assert_eq!(entry.id, record.id.to_string());
    assert_eq!(entry.video_id, record.video_id);
    assert_eq!(entry.processing_stage, record.processing_stage);
    assert_eq!(entry.error_type, record.error_type);
    assert_eq!(entry.error_message, record.error_message);
    assert_eq!(entry.error_code, record.error_code);
    assert_eq!(entry.stack_trace, record.stack_trace);
    assert_eq!(entry.system_state.as_ref(), Some(&record.system_state));
    assert_eq!(entry.recovery_strategy.as_deref(), Some(record.recovery_strategy.as_str()));
    assert_eq!((entry.recovery_timestamp, &entry.parent_error_id), (None, &None));
    assert_ne!(entry.recovery_successful, Some(true));
    assert_eq!(entry.correlation_id, record.correlation_id);
    assert_eq!((entry.severity.as_str(), entry.user_impact.as_str()), ("high", "medium"));
    let now = store.ledger_report(1).await.expect("a report").at;
    assert!(
        (now - entry.created_at).num_seconds().abs() < 60,
        "the database's clock: {entry:?} at {now}"
    );
}

#[apply(behaviour!)]
async fn many_errors_are_written_at_once(db: &dyn Fixture) {
    let store = expanded(db).await;
    let batch = Uuid::now_v7();
    let records: Vec<_> =
        (0..500).map(|n| error(&format!("type {}", n % 2), None, batch)).collect();
    store.record_errors(&records).await.expect("recorded");
    store.record_errors(&[]).await.expect("nothing to record");
    assert_eq!(db.count("FROM processing_error_log").await, 500);
}

#[apply(behaviour!)]
async fn the_newest_errors_come_first(db: &dyn Fixture) {
    let store = expanded(db).await;
    let records: Vec<_> =
        (0..5).map(|n| error(&format!("type {n}"), None, Uuid::now_v7())).collect();
    store.record_errors(&records).await.expect("recorded");
    let newest = store.errors(&ErrorSelection::default(), 3).await.expect("errors are read");
    let expected: Vec<_> = records[2..].iter().rev().map(|record| record.id.to_string()).collect();
    assert_eq!(newest.into_iter().map(|entry| entry.id).collect::<Vec<_>>(), expected);
}

#[apply(behaviour!)]
async fn an_error_of_a_video_that_is_gone_names_none(db: &dyn Fixture) {
    insert(db, &videos(1)).await;
    let store = expanded(db).await;
    let gone = error("a_gone", Some("gone"), Uuid::now_v7());
    let there = error("b_there", Some("v0001"), Uuid::now_v7());
    store.record_errors(&[gone, there]).await.expect("recorded");
    let rows =
        db.rows(&["error_type", "video_id"], "FROM processing_error_log ORDER BY error_type").await;
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(rows, [[text("a_gone"), None], [text("b_there"), text("v0001")]]);
}

#[apply(behaviour!)]
async fn long_texts_are_cut_between_characters(db: &dyn Fixture) {
    let store = expanded(db).await;
    let long = "é🎬".repeat(40_000);
    let mut record = error("t", None, Uuid::now_v7());
    record.processing_stage = long.clone();
    record.error_type = long.clone();
    record.error_message = long.clone();
    record.error_code = Some(long.clone());
    record.stack_trace = Some(long.clone());
    record.recovery_strategy = long.clone();
    record.correlation_id = Some(long.clone());
    store.record_errors(&[record]).await.expect("recorded");
    let entry = read(&store, &ErrorSelection::default()).await.remove(0);
    let cut = [
        (Some(entry.processing_stage), 50),
        (Some(entry.error_type), 100),
        (entry.error_code, 50),
        (entry.recovery_strategy, 100),
        (entry.correlation_id, 36),
    ];
    for (text, characters) in cut {
        let text = text.expect("it is there");
        assert_eq!(text.chars().count(), characters, "{text}");
        assert!(long.starts_with(&text), "{text}");
    }
    for text in [Some(entry.error_message), entry.stack_trace] {
        let text = text.expect("it is there");
        assert!(text.len() > 10_000 && text.len() <= 65_535, "{} bytes", text.len());
        assert!(long.starts_with(text.trim_end_matches('…')), "a prefix");
    }
}

/// Errors of two batches, two stages and three types.
async fn several(store: &SharedStore) -> [Uuid; 2] {
    let batches = [Uuid::now_v7(), Uuid::now_v7()];
    let stage = |stage: &str, record: ErrorRecord| ErrorRecord {
        processing_stage: stage.to_owned(),
        ..record
    };
    let records = [
        stage("hash", error("file_missing", Some("v0001"), batches[0])),
        stage("hash", error("file_missing", Some("v0002"), batches[0])),
        stage("hash", error("file_missing", Some("v0003"), batches[1])),
        stage("hash", error("permission_denied", None, batches[1])),
        stage("backfill", error("database_deadlock", None, batches[1])),
        stage("backfill", error("database_deadlock", None, batches[1])),
    ];
    store.record_errors(&records).await.expect("recorded");
    batches
}

#[apply(behaviour!)]
async fn errors_are_selected_by_batch_type_and_stage(db: &dyn Fixture) {
    insert(db, &videos(3)).await;
    let store = expanded(db).await;
    let batches = several(&store).await;
    let select =
        |batch: Option<Uuid>, error_type: Option<&str>, stage: Option<&str>| ErrorSelection {
            batch,
            error_type: error_type.map(str::to_owned),
            processing_stage: stage.map(str::to_owned),
            ..ErrorSelection::default()
        };
    let expected = [
        (select(None, None, None), 6),
        (select(Some(batches[0]), None, None), 2),
        (select(Some(batches[1]), None, None), 4),
        (select(Some(Uuid::now_v7()), None, None), 0),
        (select(None, Some("file_missing"), None), 3),
        (select(None, Some("file"), None), 0),
        (select(None, None, Some("backfill")), 2),
        (select(Some(batches[1]), Some("file_missing"), Some("hash")), 1),
        (select(Some(batches[1]), Some("file_missing"), Some("backfill")), 0),
    ];
    for (selection, count) in expected {
        assert_eq!(read(&store, &selection).await.len(), count, "{selection:?}");
        let groups = store.error_groups(&selection, None).await.expect("errors are grouped");
        assert_eq!(
            groups.iter().map(|group| group.count).sum::<u64>(),
            count as u64,
            "{selection:?}"
        );
    }
}

#[apply(behaviour!)]
async fn groups_are_by_stage_and_type_largest_first(db: &dyn Fixture) {
    insert(db, &videos(3)).await;
    let store = expanded(db).await;
    several(&store).await;
    db.execute("UPDATE processing_error_log SET recovery_successful = 1 WHERE video_id IN ('v0001', 'v0003')").await;
    let groups =
        store.error_groups(&ErrorSelection::default(), None).await.expect("errors are grouped");
    let brief: Vec<_> = groups
        .iter()
        .map(|group| {
            (
                group.processing_stage.as_str(),
                group.error_type.as_str(),
                group.count,
                group.recovered,
            )
        })
        .collect();
    let expected = [
        ("hash", "file_missing", 3, 2),
        ("backfill", "database_deadlock", 2, 0),
        ("hash", "permission_denied", 1, 0),
    ];
    assert_eq!(brief, expected);
    assert_eq!(groups[0].sample, "file_missing happened");
    assert!(
        groups[0]
            .sample_video_id
            .as_deref()
            .is_some_and(|id| ["v0001", "v0002", "v0003"].contains(&id))
    );
    assert_eq!(groups[1].sample_video_id, None);
    for group in &groups {
        assert_eq!(group.severity, "high");
        assert_eq!(group.recovery_strategy.as_deref(), Some("retry"));
        assert!(group.first_at <= group.last_at);
    }
    let newest = store.error_groups(&ErrorSelection::default(), Some(1)).await;
    let newest = newest.expect("the newest is grouped");
    assert_eq!(newest.iter().map(|group| group.count).sum::<u64>(), 1);
}

#[apply(behaviour!)]
async fn errors_are_read_page_by_page(db: &dyn Fixture) {
    insert(db, &videos(3)).await;
    let store = expanded(db).await;
    several(&store).await;
    let all = read(&store, &ErrorSelection::default()).await;
    let mut paged = Vec::new();
    let mut before = None;
    loop {
        let selection = ErrorSelection { before, ..ErrorSelection::default() };
        let page = store.errors(&selection, 2).await.expect("a page is read");
        let Some(last) = page.last() else { break };
        before = Some(last.cursor());
        paged.extend(page);
    }
    assert_eq!(paged, all);
    let video = all.iter().find_map(|error| error.video_id.clone());
    let of_video = ErrorSelection { video: video.clone(), ..ErrorSelection::default() };
    let some = read(&store, &of_video).await;
    assert!(!some.is_empty() && some.iter().all(|error| error.video_id == video), "{some:?}");
}
