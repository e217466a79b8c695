//! The outcome of hashing: hashes, failed items, quarantine, recovery.

use macro_rules_attribute::apply;
use reelshift_plan::JobKind;
use reelshift_store::ledger::{Claimed, Finished, RerunSelection};
use reelshift_store::videos::{FailedItem, FileResults, HashedFile};
use reelshift_store::{ErrorRecord, SharedStore};
use uuid::Uuid;

use crate::Fixture;
use crate::arrange::{claim_one, claimed, error, everything, expanded, insert, videos, worker};

fn hash(digit: &str) -> String {
    digit.repeat(64)
}

/// The `n`th video's file, hashed; `bytes` is 500.
pub(crate) fn hashed(n: usize, digit: &str) -> HashedFile {
    HashedFile {
        id: format!("v{n:04}"),
        file_path: format!("/media/clip {n}.mp4"),
        file_size: Some(1_000),
        sha256: hash(digit),
        bytes: 500,
        from_checksum: false,
    }
}

fn failed(n: usize, error_type: &str, batch: Uuid) -> FailedItem {
    let video_id = format!("v{n:04}");
    FailedItem { error: error(error_type, Some(&video_id), batch), video_id }
}

/// Videos 1 to `count`, and a leased hash batch over them.
async fn hashing(db: &dyn Fixture, count: usize) -> (SharedStore, Claimed) {
    insert(db, &videos(count)).await;
    let store = expanded(db).await;
    let batch = claimed(&store, JobKind::Hash, everything()).await;
    (store, batch)
}

async fn record(store: &SharedStore, batch: &Claimed, results: FileResults) -> u64 {
    store.record_files(batch.lease, &results).await.expect("the results are recorded")
}

async fn hash_of(db: &dyn Fixture, n: usize) -> Option<String> {
    db.value("file_hash", &format!("FROM videos WHERE id = 'v{n:04}'")).await
}

#[apply(behaviour!)]
async fn hashes_are_written_and_counted(db: &dyn Fixture) {
    let (store, batch) = hashing(db, 3).await;
    let results =
        FileResults { hashed: vec![hashed(1, "a"), hashed(3, "b")], ..FileResults::default() };
    assert_eq!(record(&store, &batch, results).await, 2);
    let hashes = [hash_of(db, 1).await, hash_of(db, 2).await, hash_of(db, 3).await];
    assert_eq!(hashes, [Some(hash("a")), None, Some(hash("b"))]);
    let counts = db.rows(&["rows_done", "bytes_done", "state"], "FROM reelshift_batches").await;
    assert_eq!(counts, [["2", "1000", "leased"].map(|text| Some(text.to_owned()))]);
    let more = FileResults { hashed: vec![hashed(2, "c")], ..FileResults::default() };
    assert_eq!(record(&store, &batch, more).await, 1);
    let counts = db.rows(&["rows_done", "bytes_done"], "FROM reelshift_batches").await;
    assert_eq!(counts, [["3", "1500"].map(|text| Some(text.to_owned()))]);
}

#[apply(behaviour!)]
async fn hashes_from_stored_checksums_are_counted_apart(db: &dyn Fixture) {
    let (store, batch) = hashing(db, 3).await;
    db.execute("UPDATE videos SET file_path = '/media/new.mp4' WHERE id = 'v0003'").await;
    let trusted = |n, digit| HashedFile { from_checksum: true, ..hashed(n, digit) };
    let results = FileResults {
        hashed: vec![trusted(1, "a"), hashed(2, "b"), trusted(3, "c")],
        ..FileResults::default()
    };
    assert_eq!(record(&store, &batch, results).await, 2);
    let snapshot = store.ledger_report(1).await.expect("a report");
    let report = &snapshot.runs[0];
    assert_eq!((report.rows_done, report.checksums_trusted), (2, 1), "the third is another file's");
}

#[apply(behaviour!)]
async fn a_hash_changes_nothing_else_but_updated_at(db: &dyn Fixture) {
    let (store, batch) = hashing(db, 2).await;
    let columns = db.texts(&db.columns_sql("videos")).await;
    let columns: Vec<_> =
        columns.into_iter().map(|mut row| row.remove(0).expect("a name")).collect();
    let others: Vec<_> = columns
        .iter()
        .map(String::as_str)
        .filter(|name| !["file_hash", "updated_at"].contains(name))
        .collect();
    let before = db.rows(&others, "FROM videos ORDER BY id").await;
    let times = db.rows(&["updated_at"], "FROM videos ORDER BY id").await;
    record(&store, &batch, FileResults { hashed: vec![hashed(1, "a")], ..FileResults::default() })
        .await;
    assert_eq!(db.rows(&others, "FROM videos ORDER BY id").await, before);
    let now = db.rows(&["updated_at"], "FROM videos ORDER BY id").await;
    assert!(now[0] > times[0], "the application sees that the row changed: {now:?}");
    assert_eq!(now[1], times[1]);
}

#[apply(behaviour!)]
async fn a_hash_of_another_path_is_not_written(db: &dyn Fixture) {
    let (store, batch) = hashing(db, 3).await;
    db.execute("UPDATE videos SET file_path = '/media/new.mp4' WHERE id = 'v0001'").await;
    db.execute("UPDATE videos SET file_path = NULL WHERE id = 'v0002'").await;
    let results = FileResults {
        hashed: vec![hashed(1, "a"), hashed(2, "b"), hashed(3, "c")],
        ..FileResults::default()
    };
    assert_eq!(record(&store, &batch, results).await, 1);
    assert_eq!(
        [hash_of(db, 1).await, hash_of(db, 2).await, hash_of(db, 3).await],
        [None, None, Some(hash("c"))]
    );
}

#[apply(behaviour!)]
async fn a_path_that_differs_in_case_or_spaces_is_another(db: &dyn Fixture) {
    let (store, batch) = hashing(db, 2).await;
    db.execute("UPDATE videos SET file_path = '/media/CLIP 1.mp4' WHERE id = 'v0001'").await;
    db.execute("UPDATE videos SET file_path = '/media/clip 2.mp4 ' WHERE id = 'v0002'").await;
    let results =
        FileResults { hashed: vec![hashed(1, "a"), hashed(2, "b")], ..FileResults::default() };
    assert_eq!(record(&store, &batch, results).await, 0);
    assert_eq!([hash_of(db, 1).await, hash_of(db, 2).await], [None, None]);
}

#[apply(behaviour!)]
async fn a_hash_of_a_file_of_another_size_is_not_written(db: &dyn Fixture) {
    let (store, batch) = hashing(db, 4).await;
    db.execute("UPDATE videos SET file_size = 1001 WHERE id = 'v0001'").await;
    db.execute("UPDATE videos SET file_size = NULL WHERE id IN ('v0002', 'v0003')").await;
    let without_size = |n, digit| HashedFile { file_size: None, ..hashed(n, digit) };
    let files = vec![hashed(1, "a"), hashed(2, "b"), without_size(3, "c"), without_size(4, "d")];
    let results = FileResults { hashed: files, ..FileResults::default() };
    assert_eq!(record(&store, &batch, results).await, 1);
    assert_eq!(
        [hash_of(db, 1).await, hash_of(db, 2).await, hash_of(db, 3).await, hash_of(db, 4).await],
        [None, None, Some(hash("c")), None]
    );
}

#[apply(behaviour!)]
async fn odd_paths_are_compared_as_they_are(db: &dyn Fixture) {
    let mut some = videos(1);
    let path = r"C:\clips\it's a 'clip' 🎬 100%_.mp4";
    some[0].file_path = Some(path.to_owned());
    insert(db, &some).await;
    let store = expanded(db).await;
    let batch = claimed(&store, JobKind::Hash, everything()).await;
    let file = HashedFile { file_path: path.to_owned(), ..hashed(1, "a") };
    assert_eq!(
        record(&store, &batch, FileResults { hashed: vec![file], ..FileResults::default() }).await,
        1
    );
    assert_eq!(hash_of(db, 1).await, Some(hash("a")));
}

#[apply(behaviour!)]
async fn a_failed_item_is_logged_set_aside_and_counted(db: &dyn Fixture) {
    let (store, batch) = hashing(db, 3).await;
    let status =
        "INSERT INTO video_processing_status (id, video_id, error_count, updated_at) VALUES";
    db.execute("DELETE FROM video_processing_status").await;
    db.execute(&format!("{status} ('s1', 'v0001', 2, '2026-01-01 00:00:00'), ('s2', 'v0002', 0, '2026-01-01 00:00:00')")).await;
    let item = failed(1, "file_missing", batch.id);
    let (message, id) = (item.error.error_message.clone(), item.error.id);
    let results =
        FileResults { failed: vec![item], hashed: vec![hashed(2, "b")], ..FileResults::default() };
    assert_eq!(record(&store, &batch, results).await, 1);

    let errors = db.rows(&["id", "video_id", "error_type"], "FROM processing_error_log").await;
    assert_eq!(errors, [[id.to_string(), "v0001".to_owned(), "file_missing".to_owned()].map(Some)]);
    let quarantine =
        db.rows(&["kind", "video_id", "run_id", "batch_id"], "FROM reelshift_quarantine").await;
    let expected =
        ["hash".to_owned(), "v0001".to_owned(), batch.run_id.to_string(), batch.id.to_string()];
    assert_eq!(quarantine, [expected.map(Some)]);
    let columns = ["id", "error_count", "last_error_message", "last_error_timestamp IS NOT NULL"];
    let statuses = db.rows(&columns, "FROM video_processing_status ORDER BY id").await;
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(statuses[0], [text("s1"), text("3"), Some(message), text("1")]);
    assert_eq!(statuses[1], [text("s2"), text("0"), None, text("0")]);
    let run = &store.ledger_report(1).await.expect("a report").runs[0];
    assert_eq!(run.quarantined, 1);
    assert!(store.files_to_hash(&["v0001".to_owned()]).await.expect("files").files.is_empty());
}

#[apply(behaviour!)]
async fn a_batch_with_failed_items_is_done(db: &dyn Fixture) {
    let (store, batch) = hashing(db, 2).await;
    let results = FileResults {
        failed: vec![failed(1, "file_missing", batch.id), failed(2, "file_missing", batch.id)],
        ..FileResults::default()
    };
    assert_eq!(record(&store, &batch, results).await, 0);
    assert_eq!(
        store
            .finish(&[Finished { lease: batch.lease, last_error_id: None }])
            .await
            .expect("it ends"),
        1
    );
    let settled = store.settle(batch.run_id).await.expect("settles");
    assert_eq!(settled, reelshift_plan::RunState::Done);
}

#[apply(behaviour!)]
async fn what_was_only_noticed_is_logged_and_hashed(db: &dyn Fixture) {
    let (store, batch) = hashing(db, 1).await;
    let noticed = ErrorRecord {
        severity: reelshift_store::Severity::Low,
        ..error("size_differs", Some("v0001"), batch.id)
    };
    let results = FileResults {
        hashed: vec![hashed(1, "a")],
        noticed: vec![noticed],
        ..FileResults::default()
    };
    assert_eq!(record(&store, &batch, results).await, 1);
    let errors =
        db.rows(&["video_id", "error_type", "severity"], "FROM processing_error_log").await;
    assert_eq!(errors, [["v0001", "size_differs", "low"].map(|text| Some(text.to_owned()))]);
    assert_eq!(db.count("FROM reelshift_quarantine").await, 0);
    assert_eq!(hash_of(db, 1).await, Some(hash("a")));
}

#[apply(behaviour!)]
async fn a_video_deleted_meanwhile_is_logged_without_its_id(db: &dyn Fixture) {
    let (store, batch) = hashing(db, 3).await;
    db.execute("DELETE FROM videos WHERE id IN ('v0001', 'v0002', 'v0003')").await;
    let results = FileResults {
        hashed: vec![hashed(1, "a")],
        failed: vec![failed(2, "file_missing", batch.id)],
        noticed: vec![error("size_differs", Some("v0003"), batch.id)],
    };
    assert_eq!(record(&store, &batch, results).await, 0);
    let errors =
        db.rows(&["error_type", "video_id"], "FROM processing_error_log ORDER BY error_type").await;
    let of = |error_type: &str| vec![Some(error_type.to_owned()), None];
    assert_eq!(errors, [of("file_missing"), of("size_differs")]);
}

#[apply(behaviour!)]
async fn hashing_after_a_failure_marks_it_as_recovered(db: &dyn Fixture) {
    let (store, batch) = hashing(db, 2).await;
    let items = vec![failed(1, "file_missing", batch.id), failed(2, "file_missing", batch.id)];
    record(&store, &batch, FileResults { failed: items, ..FileResults::default() }).await;
    store.finish(&[Finished { lease: batch.lease, last_error_id: None }]).await.expect("it ends");
    let selection = RerunSelection { quarantined_only: true, ..RerunSelection::default() };
    assert_eq!(store.rerun(&selection, None, "ops").await.expect("again").items, 2);
    let again = claim_one(&store, worker(&store).await, JobKind::Hash).await;
    let results = FileResults {
        hashed: vec![hashed(1, "a")],
        failed: vec![failed(2, "file_missing", again.id)],
        ..FileResults::default()
    };
    assert_eq!(record(&store, &again, results).await, 1);
    let columns = ["video_id", "recovery_successful", "recovery_timestamp IS NOT NULL"];
    let recovered = "FROM processing_error_log WHERE recovery_successful = 1";
    let rows = db.rows(&columns, recovered).await;
    assert_eq!(rows, [["v0001", "1", "1"].map(|text| Some(text.to_owned()))]);
    assert_eq!(db.count("FROM processing_error_log").await, 3);
}

#[apply(behaviour!)]
async fn the_same_item_can_fail_again(db: &dyn Fixture) {
    let (store, batch) = hashing(db, 1).await;
    for _ in 0..2 {
        let results = FileResults {
            failed: vec![failed(1, "file_missing", batch.id)],
            ..FileResults::default()
        };
        assert_eq!(record(&store, &batch, results).await, 0);
    }
    assert_eq!(db.count("FROM reelshift_quarantine").await, 1);
    assert_eq!(db.count("FROM processing_error_log").await, 2);
}
