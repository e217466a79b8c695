//! Rows that refuse to be written: told apart, set aside without being touched, and done
//! after all.

use macro_rules_attribute::apply;
use reelshift_plan::{BatchState, JobKind, RunState};
use reelshift_store::ledger::{Bounds, Claimed, Finished, RerunSelection, VideoFilter};
use reelshift_store::videos::{FailedItem, FileResults, HashedFile};
use reelshift_store::{ErrorRecord, Rule, SharedStore, StoreError};

use crate::Fixture;
use crate::arrange::{
    claim_one, claimed, error, everything, expanded, insert, items, plan, running, videos, worker,
};
use crate::videos::{drain, found};

/// The name of the trigger that is somebody else's.
const THEIRS: &str = "tr_theirs";

/// A trigger that lets nobody update the video `id`.
async fn refuse(db: &dyn Fixture, id: &str) {
    db.execute(&db.refusing(THEIRS, "UPDATE ON videos", &format!("NEW.id = '{id}'"))).await;
}

fn refused(id: &str, batch: &Claimed) -> FailedItem {
    let error = ErrorRecord {
        processing_stage: "backfill".to_owned(),
        ..error("database_trigger_refused", Some(id), batch.id)
    };
    FailedItem { video_id: id.to_owned(), error }
}

async fn backfilling(db: &dyn Fixture, count: usize) -> (SharedStore, Claimed) {
    insert(db, &videos(count)).await;
    let store = expanded(db).await;
    let batch = claimed(&store, JobKind::Backfill, everything()).await;
    (store, batch)
}

async fn chunk(
    store: &SharedStore,
    batch: &Claimed,
    bounds: &Bounds,
) -> reelshift_store::Result<u32> {
    let chunk = store.backfill_chunk(batch.lease, bounds, None, 100, &VideoFilter::default()).await;
    chunk.map(|chunk| chunk.rows)
}

#[apply(behaviour!)]
async fn the_rows_of_a_chunk_can_be_looked_at(db: &dyn Fixture) {
    let (store, batch) = backfilling(db, 6).await;
    let filter = VideoFilter::default();
    let look = async |bounds: &Bounds, after: Option<&str>, limit| {
        store.rows_to_backfill(bounds, after, limit, &filter).await.expect("rows are looked at")
    };
    assert_eq!(look(&batch.bounds, None, 2).await, ["v0001", "v0002"]);
    assert_eq!(look(&batch.bounds, Some("v0004"), 9).await, ["v0005", "v0006"]);
    assert_eq!(look(&items(&["v0003", "v0005"]), None, 9).await, ["v0003", "v0005"]);
    assert!(look(&items(&[]), None, 9).await.is_empty());
    assert_eq!(found(db).await.len(), 0, "nothing was written");
    assert_eq!(chunk(&store, &batch, &items(&["v0003"])).await.expect("a chunk"), 1);
    assert_eq!(look(&batch.bounds, None, 3).await, ["v0001", "v0002", "v0004"]);
}

#[apply(behaviour!)]
async fn what_refuses_a_row_is_told(db: &dyn Fixture) {
    let (store, batch) = backfilling(db, 3).await;
    refuse(db, "v0002").await;
    let trigger = chunk(&store, &batch, &batch.bounds).await.expect_err("it is refused");
    assert!(
        matches!(trigger, StoreError::RowRefused { rule: Rule::Trigger, code: Some(_), .. }),
        "{trigger:?}"
    );
    assert!(trigger.to_string().contains("refused by them"), "{trigger}");
    assert_eq!(found(db).await.len(), 0, "the chunk is undone as a whole");
    db.execute(&format!("DROP TRIGGER {THEIRS}")).await;
    db.execute("UPDATE videos SET filename = 'the same'").await;
    db.execute("UPDATE videos SET original_filename = NULL").await;
    db.execute("CREATE UNIQUE INDEX theirs ON videos (original_filename)").await;
    let constraint = chunk(&store, &batch, &batch.bounds).await.expect_err("it is refused");
    assert!(
        matches!(constraint, StoreError::RowRefused { rule: Rule::Constraint, .. }),
        "{constraint:?}"
    );
}

#[apply(behaviour!)]
async fn a_row_is_set_aside_without_being_touched(db: &dyn Fixture) {
    let (store, batch) = backfilling(db, 4).await;
    refuse(db, "v0002").await;
    let row =
        async || db.rows(&["workflow_state", "updated_at"], "FROM videos WHERE id = 'v0002'").await;
    let before = row().await;
    let item = refused("v0002", &batch);
    let aside = store.set_aside(batch.lease, std::slice::from_ref(&item)).await;
    assert_eq!(aside.expect("it is set aside"), 1);
    assert_eq!(row().await, before);
    let quarantine = db.rows(&["kind", "video_id", "error_id"], "FROM reelshift_quarantine").await;
    let expected = ["backfill".to_owned(), "v0002".to_owned(), item.error.id.to_string()];
    assert_eq!(quarantine, [expected.map(Some)]);
    let status = db
        .rows(
            &["error_count", "last_error_message", "ground_truth_status"],
            "FROM video_processing_status WHERE video_id = 'v0002'",
        )
        .await;
    let expected = ["1", &item.error.error_message, "pending"].map(|text| Some(text.to_owned()));
    assert_eq!(status, [expected]);
    assert_eq!(drain(&store, &batch, 2).await, 3, "all others");
    store.finish(&[Finished { lease: batch.lease, last_error_id: None }]).await.expect("it ends");
    assert_eq!(store.settle(batch.run_id).await.expect("settles"), RunState::Sweeping);
    assert_eq!(
        store
            .window(None, 100, &VideoFilter::default())
            .await
            .expect("a window")
            .map(|w| w.needing),
        Some(0),
        "the sweep passes it over"
    );
    let report = &store.ledger_report(1).await.expect("a report").runs[0];
    assert_eq!((report.quarantined, report.rows_done), (1, 3));
}

#[apply(behaviour!)]
async fn a_status_row_that_refuses_too_is_left_out(db: &dyn Fixture) {
    let (store, batch) = backfilling(db, 2).await;
    db.execute(&db.refusing(THEIRS, "INSERT ON video_processing_status", "1 = 1")).await;
    let aside = store.set_aside(batch.lease, &[refused("v0001", &batch)]).await;
    assert_eq!(aside.expect("it is set aside all the same"), 1);
    assert_eq!(db.count("FROM reelshift_quarantine").await, 1);
    assert_eq!(db.count("FROM processing_error_log WHERE video_id = 'v0001'").await, 1);
    assert_eq!(db.count("FROM video_processing_status").await, 0);
}

#[apply(behaviour!)]
async fn a_video_that_is_gone_is_only_logged(db: &dyn Fixture) {
    let (store, batch) = backfilling(db, 2).await;
    db.execute("DELETE FROM videos WHERE id = 'v0001'").await;
    let gone = [refused("v0001", &batch), refused("v0002", &batch)];
    assert_eq!(store.set_aside(batch.lease, &gone).await.expect("set aside"), 1);
    assert_eq!(db.count("FROM processing_error_log WHERE video_id IS NULL").await, 1);
    assert_eq!(db.count("FROM reelshift_quarantine").await, 1);
}

#[apply(behaviour!)]
async fn a_row_that_is_done_after_all_has_recovered(db: &dyn Fixture) {
    let (store, batch) = backfilling(db, 2).await;
    store.set_aside(batch.lease, &[refused("v0001", &batch)]).await.expect("set aside");
    assert_eq!(drain(&store, &batch, 10).await, 1);
    store.finish(&[Finished { lease: batch.lease, last_error_id: None }]).await.expect("it ends");
    let selection = RerunSelection { quarantined_only: true, ..RerunSelection::default() };
    assert_eq!(store.rerun(&selection, None, "ops").await.expect("again").items, 1);
    let again = claim_one(&store, worker(&store).await, JobKind::Backfill).await;
    assert_eq!(drain(&store, &again, 10).await, 1);
    let columns = ["recovery_attempted", "recovery_successful", "recovery_timestamp IS NOT NULL"];
    let recovered = db.rows(&columns, "FROM processing_error_log").await;
    assert_eq!(recovered, [["1", "1", "1"].map(|text| Some(text.to_owned()))]);
}

/// What the log says of the recovery of `error`.
async fn recovery(db: &dyn Fixture, error: &ErrorRecord) -> [Option<String>; 2] {
    let found = format!("FROM processing_error_log WHERE id = '{}'", error.id);
    let rows = db.rows(&["recovery_attempted", "recovery_successful"], &found).await;
    rows[0].clone().try_into().expect("two columns")
}

/// Fails an attempt for `error_type`, and sets one of two rows aside for a refusal in the
/// next, which then ends well. Returns the errors of the attempt and of the row.
async fn failed_then_set_aside(
    db: &dyn Fixture,
    error_type: &str,
) -> (SharedStore, ErrorRecord, ErrorRecord) {
    let (store, batch) = backfilling(db, 2).await;
    let attempt = error(error_type, None, batch.id);
    let again = store.fail_attempt(batch.lease, true, std::time::Duration::ZERO, &attempt).await;
    assert_eq!(again.expect("it fails"), BatchState::Pending);
    let batch = claim_one(&store, worker(&store).await, JobKind::Backfill).await;
    let item = refused("v0001", &batch);
    store.set_aside(batch.lease, std::slice::from_ref(&item)).await.expect("set aside");
    assert_eq!(drain(&store, &batch, 10).await, 1);
    let ended = Finished { lease: batch.lease, last_error_id: batch.last_error_id };
    store.finish(&[ended]).await.expect("it ends");
    let parent = format!("FROM processing_error_log WHERE id = '{}'", item.error.id);
    assert_eq!(db.value("parent_error_id", &parent).await, Some(attempt.id.to_string()));
    (store, attempt, item.error)
}

#[apply(behaviour!)]
async fn an_attempt_has_not_recovered_while_its_row_is_set_aside(db: &dyn Fixture) {
    let text = |values: [&str; 2]| values.map(|value| Some(value.to_owned()));
    let (store, attempt, item) = failed_then_set_aside(db, "database_trigger_refused").await;
    assert_eq!(recovery(db, &attempt).await, text(["1", "0"]), "its row failed for the same");
    let selection = RerunSelection { quarantined_only: true, ..RerunSelection::default() };
    assert_eq!(store.rerun(&selection, None, "a test").await.expect("again").items, 1);
    let again = claim_one(&store, worker(&store).await, JobKind::Backfill).await;
    assert_eq!(drain(&store, &again, 10).await, 1);
    for error in [&item, &attempt] {
        assert_eq!(
            recovery(db, error).await,
            text(["1", "1"]),
            "{} is made good",
            error.error_type
        );
    }
}

#[apply(behaviour!)]
async fn an_attempt_has_recovered_where_its_row_failed_for_something_else(db: &dyn Fixture) {
    let (_, attempt, item) = failed_then_set_aside(db, "database_deadlock").await;
    assert_eq!(recovery(db, &attempt).await, ["1", "1"].map(|value| Some(value.to_owned())));
    assert_ne!(recovery(db, &item).await[1].as_deref(), Some("1"));
}

#[apply(behaviour!)]
async fn status_rows_of_what_is_set_aside_are_counted(db: &dyn Fixture) {
    let (store, batch) = backfilling(db, 3).await;
    let aside = ["v0001", "v0002"].map(|id| refused(id, &batch));
    store.set_aside(batch.lease, &aside).await.expect("set aside");
    // Once more: they have theirs by now.
    store.set_aside(batch.lease, &aside).await.expect("set aside");
    assert_eq!(drain(&store, &batch, 10).await, 1);
    let report = &store.ledger_report(1).await.expect("a report").runs[0];
    assert_eq!(report.status_rows_created, 3);
    assert_eq!(db.count("FROM video_processing_status").await, 3);
}

#[apply(behaviour!)]
async fn a_claim_tells_what_earlier_attempts_did(db: &dyn Fixture) {
    let (store, batch) = backfilling(db, 3).await;
    assert_eq!((batch.rows_done, batch.rows_quarantined), (0, 0));
    store.set_aside(batch.lease, &[refused("v0001", &batch)]).await.expect("set aside");
    assert_eq!(drain(&store, &batch, 10).await, 2);
    assert_eq!(store.release(&[batch.lease]).await.expect("given back"), 1);
    let again = claim_one(&store, worker(&store).await, JobKind::Backfill).await;
    assert_eq!((again.rows_done, again.rows_quarantined), (2, 1));
}

#[apply(behaviour!)]
async fn a_row_that_fails_again_names_its_failure_before(db: &dyn Fixture) {
    let (store, batch) = backfilling(db, 2).await;
    let both = |error_type: &str| {
        ["v0001", "v0002"].map(|id| {
            let item = refused(id, &batch);
            FailedItem {
                error: ErrorRecord { error_type: error_type.to_owned(), ..item.error },
                ..item
            }
        })
    };
    let [first, second] = [both("first"), both("second")];
    store.set_aside(batch.lease, &first).await.expect("set aside");
    store.set_aside(batch.lease, &second).await.expect("again");
    for (before, after) in first.iter().zip(&second) {
        let (before, after) = (before.error.id, after.error.id);
        let parent = |id| format!("FROM processing_error_log WHERE id = '{id}'");
        assert_eq!(db.value("parent_error_id", &parent(after)).await, Some(before.to_string()));
        assert_eq!(db.value("parent_error_id", &parent(before)).await, None);
        assert_eq!(
            db.rows(&["recovery_attempted", "recovery_successful"], &parent(before)).await,
            [["1", "0"].map(|text| Some(text.to_owned()))],
            "what followed failed too"
        );
    }
    // A write without an answer is repeated: nothing changes.
    let log = db.contents("processing_error_log").await;
    store.set_aside(batch.lease, &second).await.expect("once more");
    assert_eq!(db.contents("processing_error_log").await, log);
}

#[apply(behaviour!)]
async fn a_refused_hash_names_its_rule(db: &dyn Fixture) {
    insert(db, &videos(2)).await;
    let store = expanded(db).await;
    let batch = claimed(&store, JobKind::Hash, items(&["v0001", "v0002"])).await;
    refuse(db, "v0001").await;
    let hashed = HashedFile {
        id: "v0001".to_owned(),
        file_path: "/media/clip 1.mp4".to_owned(),
        file_size: Some(1_000),
        sha256: "a".repeat(64),
        bytes: 1,
        from_checksum: false,
    };
    let results = FileResults { hashed: vec![hashed], ..FileResults::default() };
    let error = store.record_files(batch.lease, &results).await.expect_err("it is refused");
    assert!(matches!(error, StoreError::RowRefused { rule: Rule::Trigger, .. }), "{error:?}");
}

#[apply(behaviour!)]
async fn items_go_on_from_the_batch_that_set_them_aside(db: &dyn Fixture) {
    insert(db, &videos(4)).await;
    let store = expanded(db).await;
    let bounds = [items(&["v0001", "v0002"]), items(&["v0003", "v0004"])];
    let run = running(&store, JobKind::Backfill, plan(None), &bounds).await;
    let worker = worker(&store).await;
    let mut origins = Vec::new();
    for id in ["v0001", "v0003"] {
        let batch = claim_one(&store, worker, JobKind::Backfill).await;
        store.set_aside(batch.lease, &[refused(id, &batch)]).await.expect("set aside");
        origins.push(batch);
    }
    // The first batch is done, the second fails besides.
    let done = Finished { lease: origins[0].lease, last_error_id: None };
    store.finish(&[done]).await.expect("it ends");
    let failure = error("broken", None, origins[1].id);
    store
        .fail_attempt(origins[1].lease, false, std::time::Duration::ZERO, &failure)
        .await
        .expect("it fails");
    let selection = RerunSelection { quarantined_only: true, ..RerunSelection::default() };
    let rerun = store.rerun(&selection, None, "ops").await.expect("again");
    assert_eq!((rerun.items, rerun.item_batches), (2, 2), "one batch for each origin");
    for origin in &origins {
        let again = claim_one(&store, worker, JobKind::Backfill).await;
        let parent = db
            .value("parent_id", &format!("FROM reelshift_batches WHERE id = '{}'", again.id))
            .await;
        assert_eq!(parent, Some(origin.id.to_string()));
        assert_eq!(again.traceparent, origin.traceparent, "the trace goes on");
    }
    let report = store.ledger_report(1).await.expect("a report").runs.remove(0);
    assert_eq!((report.run.id, report.failed_open), (run.id, 1), "its items are not the batch");
    let rest = store.rerun(&RerunSelection::default(), None, "ops").await.expect("again");
    assert_eq!((rest.batches, rest.items), (1, 0));
}
