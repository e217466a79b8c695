//! Reading the key range for planning: windows, and the videos to hash.

use chrono::{DateTime, Utc};
use macro_rules_attribute::apply;
use reelshift_plan::JobKind;
use reelshift_store::SharedStore;
use reelshift_store::ledger::{Bounds, VideoFilter};
use reelshift_store::schema::StepGroup;
use reelshift_store::videos::{
    FailedItem, FileResults, FileToHash, FilesToHash, HashedFile, UnhashedVideo, Window,
};

use crate::Fixture;
use crate::arrange::{
    Video, claimed, error, everything, expanded, insert, video, videos, without_bridge,
};

fn all() -> VideoFilter {
    VideoFilter::default()
}

fn utc(text: &str) -> Option<DateTime<Utc>> {
    Some(format!("{text}Z").parse().expect("a time"))
}

/// The windows of `rows` videos from the start to the end.
async fn windows(store: &SharedStore, rows: u32, filter: &VideoFilter) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    loop {
        let after = windows.last().map(|window| window.upto.clone());
        let Some(window) = store.window(after.as_deref(), rows, filter).await.expect("a window")
        else {
            return windows;
        };
        assert!(windows.len() < 1_000, "windows have an end: {window:?}");
        windows.push(window);
    }
}

fn of(windows: &[Window]) -> Vec<(&str, u64)> {
    windows.iter().map(|window| (window.upto.as_str(), window.needing)).collect()
}

#[apply(behaviour!)]
async fn windows_cover_the_table_in_key_order(db: &dyn Fixture) {
    insert(db, &videos(7)).await;
    let store = expanded(db).await;
    assert_eq!(of(&windows(&store, 3, &all()).await), [("v0003", 3), ("v0006", 3), ("v0007", 1)]);
    assert_eq!(of(&windows(&store, 7, &all()).await), [("v0007", 7)]);
    assert_eq!(of(&windows(&store, 100, &all()).await), [("v0007", 7)]);
}

#[apply(behaviour!)]
async fn an_empty_table_has_no_window(db: &dyn Fixture) {
    let store = expanded(db).await;
    assert_eq!(store.window(None, 10, &all()).await.expect("a window"), None);
}

#[apply(behaviour!)]
async fn windows_follow_the_databases_own_order(db: &dyn Fixture) {
    let ids = ["a1", "B2", "b1", "A2", "c'3", "Zz", "é9", "e8"];
    let some: Vec<_> = ids.iter().map(|id| Video { id: (*id).to_owned(), ..video(1) }).collect();
    insert(db, &some).await;
    let store = expanded(db).await;
    let ordered = db.rows(&["id"], "FROM videos ORDER BY id").await;
    let expected: Vec<_> = ordered.iter().map(|row| row[0].clone().expect("an id")).collect();
    let found: Vec<_> =
        windows(&store, 1, &all()).await.into_iter().map(|window| window.upto).collect();
    assert_eq!(found, expected);
    let files = store.unhashed(Some(&expected[2]), 3, &all()).await.expect("files");
    assert_eq!(files.into_iter().map(|file| file.id).collect::<Vec<_>>(), expected[3..6]);
}

#[apply(behaviour!)]
async fn only_rows_that_need_backfill_count(db: &dyn Fixture) {
    insert(db, &videos(9)).await;
    let store = expanded(db).await;
    without_bridge(db, &store).await;
    let batch = claimed(&store, JobKind::Backfill, everything()).await;
    let bounds = everything();
    store.backfill_chunk(batch.lease, &bounds, None, 100, &all()).await.expect("a chunk");
    let needing = async || windows(&store, 100, &all()).await[0].needing;
    assert_eq!(needing().await, 0, "all rows agree");
    let undone = [
        ("UPDATE videos SET workflow_state = 'failed' WHERE id = 'v0001'", 1),
        ("UPDATE videos SET workflow_state = NULL WHERE id = 'v0002'", 2),
        ("UPDATE videos SET original_filename = NULL WHERE id = 'v0003'", 3),
        ("UPDATE videos SET retention_policy = NULL WHERE id = 'v0004'", 4),
        ("DELETE FROM video_processing_status WHERE video_id = 'v0005'", 5),
        (
            "UPDATE video_processing_status SET ground_truth_status = 'failed' WHERE video_id = 'v0006'",
            6,
        ),
        ("UPDATE videos SET processing_status = 'processing' WHERE id = 'v0009'", 7),
        ("UPDATE videos SET workflow_state = 'processing' WHERE id = 'v0009'", 7),
        (
            "UPDATE video_processing_status SET ground_truth_status = 'generating' WHERE video_id = 'v0009'",
            7,
        ),
        (
            "UPDATE video_processing_status SET current_stage = 'inference' WHERE video_id = 'v0009'",
            6,
        ),
        ("UPDATE videos SET workflow_state = 'archived' WHERE id = 'v0007'", 6),
        ("UPDATE videos SET workflow_state = 'validating' WHERE id = 'v0008'", 6),
        ("UPDATE videos SET retention_policy = 'for ever' WHERE id = 'v0008'", 6),
        ("UPDATE videos SET filename = NULL, original_filename = NULL WHERE id = 'v0008'", 6),
        ("UPDATE videos SET file_mime_type = NULL WHERE id = 'v0008'", 7),
    ];
    for (sql, expected) in undone {
        db.execute(sql).await;
        assert_eq!(needing().await, expected, "{sql}");
    }
}

#[apply(behaviour!)]
async fn quarantined_rows_need_no_backfill(db: &dyn Fixture) {
    insert(db, &videos(3)).await;
    let store = expanded(db).await;
    let batch = claimed(&store, JobKind::Backfill, everything()).await;
    let failed = vec![FailedItem {
        video_id: "v0002".to_owned(),
        error: error("bad_row", Some("v0002"), batch.id),
    }];
    let results = FileResults { failed, ..FileResults::default() };
    store.record_files(batch.lease, &results).await.expect("set aside");
    assert_eq!(of(&windows(&store, 10, &all()).await), [("v0003", 2)]);
    let chunk =
        store.backfill_chunk(batch.lease, &everything(), None, 10, &all()).await.expect("a chunk");
    assert_eq!(chunk.rows, 2);
    let files = store.unhashed(None, 10, &all()).await.expect("files");
    assert_eq!(files.len(), 3, "set aside for backfill is not set aside for hash");
}

/// Videos that differ in what a filter looks at, with the filters and the ids they leave.
async fn filtered(db: &dyn Fixture) -> Vec<(VideoFilter, Vec<&'static str>)> {
    let mut some = videos(6);
    some[0].project = Some("it's 🎬".to_owned());
    some[1].project = None;
    some[2].status = Some("archived".to_owned());
    some[3].created_at = Some("2026-03-01 00:00:00".to_owned());
    some[4].created_at = Some("2026-03-01 00:00:01".to_owned());
    some[5].created_at = None;
    insert(db, &some).await;
    let march = utc("2026-03-01T00:00:00");
    let second = utc("2026-03-01T00:00:01");
    let with_time = || vec!["v0001", "v0002", "v0003", "v0004", "v0005"];
    vec![
        (all(), vec!["v0001", "v0002", "v0003", "v0004", "v0005", "v0006"]),
        (VideoFilter { project: Some("it's 🎬".to_owned()), ..all() }, vec!["v0001"]),
        (
            VideoFilter { project: Some("p1".to_owned()), ..all() },
            vec!["v0003", "v0004", "v0005", "v0006"],
        ),
        (VideoFilter { status: Some("archived".to_owned()), ..all() }, vec!["v0003"]),
        (VideoFilter { created_after: march, ..all() }, vec!["v0004", "v0005"]),
        (VideoFilter { created_after: second, ..all() }, vec!["v0005"]),
        (VideoFilter { created_before: march, ..all() }, vec!["v0001", "v0002", "v0003"]),
        (VideoFilter { created_after: march, created_before: second, ..all() }, vec!["v0004"]),
        (VideoFilter { project: Some("nobody".to_owned()), ..all() }, vec![]),
        // Times that a TIMESTAMP cannot hold.
        (VideoFilter { created_before: utc("2100-01-01T00:00:00"), ..all() }, with_time()),
        (VideoFilter { created_before: utc("9999-12-31T23:59:59"), ..all() }, with_time()),
        (VideoFilter { created_after: utc("0001-01-01T00:00:00"), ..all() }, with_time()),
        (VideoFilter { created_after: utc("1900-01-01T00:00:00"), ..all() }, with_time()),
        (VideoFilter { created_before: utc("1900-01-01T00:00:00"), ..all() }, vec![]),
        (VideoFilter { created_after: utc("2100-01-01T00:00:00"), ..all() }, vec![]),
    ]
}

#[apply(behaviour!)]
async fn windows_keep_to_their_filter(db: &dyn Fixture) {
    let filters = filtered(db).await;
    let store = expanded(db).await;
    for (filter, ids) in filters {
        let mut found = windows(&store, 1, &filter).await;
        found.retain(|window| window.needing > 0);
        let needing: Vec<_> = ids.iter().map(|id| (*id, 1)).collect();
        assert_eq!(of(&found), needing, "{filter:?}");
        let whole = windows(&store, 10, &filter).await;
        assert_eq!(
            whole.iter().map(|window| window.needing).sum::<u64>(),
            ids.len() as u64,
            "{filter:?}"
        );
    }
}

#[apply(behaviour!)]
async fn chunks_keep_to_their_filter(db: &dyn Fixture) {
    let filters = filtered(db).await;
    let store = expanded(db).await;
    without_bridge(db, &store).await;
    for (filter, ids) in filters {
        db.execute("DELETE FROM reelshift_batches").await;
        db.execute("DELETE FROM reelshift_runs").await;
        db.execute("DELETE FROM video_processing_status").await;
        let batch = claimed(&store, JobKind::Backfill, everything()).await;
        let chunk = store
            .backfill_chunk(batch.lease, &everything(), None, 10, &filter)
            .await
            .expect("a chunk");
        assert_eq!(chunk.rows as usize, ids.len(), "{filter:?}");
        let written =
            db.rows(&["video_id"], "FROM video_processing_status ORDER BY video_id").await;
        let written: Vec<_> = written.iter().map(|row| row[0].as_deref().expect("an id")).collect();
        assert_eq!(written, ids, "{filter:?}");
    }
}

#[apply(behaviour!)]
async fn unhashed_videos_keep_to_their_filter(db: &dyn Fixture) {
    let filters = filtered(db).await;
    let store = expanded(db).await;
    for phase in [StepGroup::Expand, StepGroup::Index] {
        crate::index::apply(&store, phase).await.expect("applied");
        for (filter, ids) in &filters {
            let found = store.unhashed(None, 10, filter).await.expect("files");
            let found: Vec<_> = found.iter().map(|file| file.id.as_str()).collect();
            assert_eq!(&found, ids, "{filter:?} after {phase:?}");
        }
    }
}

/// Nine videos of which `v0001`, `v0002`, `v0003` and `v0009` are to be hashed.
async fn to_hash(db: &dyn Fixture) -> SharedStore {
    let mut some = videos(9);
    some[0].file_size = Some(-5);
    some[1].file_size = None;
    some[1].file_path = Some(r"C:\clips\it's a 'clip' 🎬 100%.mp4".to_owned());
    some[2].file_path = Some(" ".to_owned());
    some[3].file_path = None;
    some[4].file_path = Some(String::new());
    insert(db, &some).await;
    let store = expanded(db).await;
    db.execute(&format!(
        "UPDATE videos SET file_hash = '{}' WHERE id IN ('v0006', 'v0007')",
        "a".repeat(64)
    ))
    .await;
    let batch = claimed(&store, JobKind::Hash, everything()).await;
    let failed = vec![FailedItem {
        video_id: "v0008".to_owned(),
        error: error("file_missing", Some("v0008"), batch.id),
    }];
    let results = FileResults { failed, ..FileResults::default() };
    store.record_files(batch.lease, &results).await.expect("set aside");
    store
}

fn file(id: &str, file_path: &str, file_size: Option<i64>) -> FileToHash {
    FileToHash { id: id.to_owned(), file_path: file_path.to_owned(), file_size }
}

#[apply(behaviour!)]
async fn unhashed_videos_are_those_with_a_path_and_no_hash(db: &dyn Fixture) {
    let store = to_hash(db).await;
    let expected =
        [("v0001", Some(-5)), ("v0002", None), ("v0003", Some(1_000)), ("v0009", Some(1_000))]
            .map(|(id, file_size)| UnhashedVideo { id: id.to_owned(), file_size });
    // The index on the hash, where there is one, changes how they are found and nothing else.
    for phase in [StepGroup::Expand, StepGroup::Index] {
        crate::index::apply(&store, phase).await.expect("applied");
        for (after, limit, these) in [
            (None, 100, 0..4),
            (None, 2, 0..2),
            (Some("v0002"), 1, 2..3),
            (Some("v0003"), 10, 3..4),
            (Some("v0009"), 10, 4..4),
        ] {
            let found = store.unhashed(after, limit, &all()).await.expect("files");
            assert_eq!(found, expected[these], "{limit} after {after:?}, after {phase:?}");
        }
    }
}

#[apply(behaviour!)]
async fn files_to_hash_are_those_still_to_be_hashed(db: &dyn Fixture) {
    let store = to_hash(db).await;
    let ids: Vec<String> = (1..=9)
        .rev()
        .map(|n| format!("v{n:04}"))
        .chain(["gone".to_owned(), "it's".to_owned()])
        .collect();
    let found = store.files_to_hash(&ids).await.expect("files");
    let expected = [
        file("v0001", "/media/clip 1.mp4", Some(-5)),
        file("v0002", r"C:\clips\it's a 'clip' 🎬 100%.mp4", None),
        file("v0003", " ", Some(1_000)),
        file("v0009", "/media/clip 9.mp4", Some(1_000)),
    ];
    assert_eq!(found.files, expected);
    assert_eq!(store.files_to_hash(&[]).await.expect("files"), FilesToHash::default());
    let one = store.files_to_hash(&ids[..1]).await.expect("files");
    assert_eq!(one.files, expected[3..]);
}

/// Whatever bytes a column can hold, planning passes the row, and its batch is told which
/// paths name no file.
#[apply(behaviour!)]
async fn a_path_that_is_not_utf8_is_told_apart(db: &dyn Fixture) {
    let mut some = videos(4);
    some[2].file_path = Some("line\nfeed".to_owned());
    some[3].file_path = Some("x".repeat(490));
    insert(db, &some).await;
    for sql in db.path_not_utf8("v0002") {
        db.execute(&sql).await;
    }
    let store = expanded(db).await;
    let planned = store.unhashed(None, 10, &all()).await.expect("planned");
    let ids: Vec<_> = planned.into_iter().map(|video| video.id).collect();
    assert_eq!(ids, ["v0001", "v0002", "v0003", "v0004"]);
    let found = store.files_to_hash(&ids).await.expect("files");
    let paths: Vec<_> = found.files.iter().map(|file| file.file_path.as_str()).collect();
    assert_eq!(paths, ["/media/clip 1.mp4", "line\nfeed", "x".repeat(490).as_str()]);
    let [odd] = found.not_utf8.as_slice() else { panic!("one path is odd: {found:?}") };
    assert_eq!((odd.id.as_str(), odd.shown.as_str()), ("v0002", "a\u{fffd}b.mp4"));
    // The hash of a path in a binary column is written all the same.
    let batch = claimed(&store, JobKind::Hash, everything()).await;
    let hashed = found
        .files
        .into_iter()
        .map(|FileToHash { id, file_path, file_size }| HashedFile {
            id,
            file_path,
            file_size,
            sha256: "a".repeat(64),
            bytes: 1,
            from_checksum: false,
        })
        .collect();
    let results = FileResults { hashed, ..FileResults::default() };
    assert_eq!(store.record_files(batch.lease, &results).await.expect("recorded"), 3);
}

/// An id is data as well.
#[apply(behaviour!)]
async fn an_id_of_any_characters_is_worked_on(db: &dyn Fixture) {
    let ids = ["a\0b", "c\nd", "e\u{1}\u{7f}", "f\"'\\%_`", "🎬"];
    let some: Vec<_> = ids.iter().map(|id| Video { id: (*id).to_owned(), ..video(1) }).collect();
    insert(db, &some).await;
    let store = expanded(db).await;
    let planned = store.unhashed(None, 10, &all()).await.expect("planned");
    let ids: Vec<_> = planned.into_iter().map(|video| video.id).collect();
    assert_eq!(ids.len(), 5, "{ids:?}");
    let batch = claimed(&store, JobKind::Hash, Bounds::Items(ids.clone())).await;
    assert_eq!(batch.bounds, Bounds::Items(ids.clone()));
    let files = store.files_to_hash(&ids).await.expect("files").files;
    assert_eq!(files.iter().map(|file| file.id.clone()).collect::<Vec<_>>(), ids);
    let failed = FailedItem {
        video_id: ids[0].clone(),
        error: error("file_missing", Some(&ids[0]), batch.id),
    };
    let results = FileResults { failed: vec![failed], ..FileResults::default() };
    store.record_files(batch.lease, &results).await.expect("set aside");
    assert_eq!(store.files_to_hash(&ids).await.expect("files").files.len(), 4);

    without_bridge(db, &store).await;
    db.execute("UPDATE videos SET workflow_state = NULL").await;
    let bounds = Bounds::Items(ids.clone());
    let batch = claimed(&store, JobKind::Backfill, bounds.clone()).await;
    let chunk = store.backfill_chunk(batch.lease, &bounds, None, 10, &all()).await;
    assert_eq!(chunk.expect("a chunk").rows, 5);
    assert_eq!(of(&windows(&store, 10, &all()).await)[0].1, 0, "all rows agree");
}
