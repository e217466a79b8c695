//! Runs of validation: what their windows show is kept with the batch, once, and goes with the
//! run.

use std::time::Duration;

use macro_rules_attribute::apply;
use reelshift_plan::{JobKind, RunState};
use reelshift_store::comparisons::{ComparedTable, ComparedWindow, FoundDifference};
use reelshift_store::history::Pruned;
use reelshift_store::ledger::{Finished, Lease, NewBatch, RerunSelection, RunPlan};
use reelshift_store::report::Check;
use reelshift_store::{SharedStore, StoreError};

use crate::Fixture;
use crate::arrange::{
    claim_one, claimed, create, error, everything, expanded, forged, insert, items, plan, planner,
    set_run_state, videos, without_bridge, worker,
};

/// Six videos that no backfill has touched: each differs.
async fn untouched(db: &dyn Fixture) -> SharedStore {
    insert(db, &videos(6)).await;
    let store = expanded(db).await;
    without_bridge(db, &store).await;
    db.execute("UPDATE videos SET retention_policy = NULL").await;
    store
}

/// Compares the videos after `after` up to `upto`, as a worker does.
async fn compared(store: &SharedStore, after: Option<&str>, upto: &str) -> ComparedWindow {
    let table = ComparedTable::Videos;
    let keys = store.key_window(table, after, Some(upto), 100).await.expect("read");
    let keys = keys.expect("rows are left");
    let compared = store.compare(table, after, &keys.upto, u32::MAX).await.expect("compared");
    ComparedWindow { table, upto: keys.upto, rows: keys.rows, compared }
}

async fn record(store: &SharedStore, lease: Lease, after: Option<&str>, upto: &str) {
    let window = compared(store, after, upto).await;
    store.record_comparison(lease, &window).await.expect("recorded");
}

fn metadata(checks: &[Check]) -> &Check {
    checks.iter().find(|check| check.name == "metadata").expect("metadata is checked")
}

#[apply(behaviour!)]
async fn windows_hold_so_many_rows_and_end_where_they_are_told(db: &dyn Fixture) {
    let store = untouched(db).await;
    let window = async |table, after, upto, rows| {
        let window = store.key_window(table, after, upto, rows).await.expect("read");
        window.map(|window| (window.upto, window.rows))
    };
    let videos = ComparedTable::Videos;
    assert_eq!(window(videos, None, None, 4).await, Some(("v0004".to_owned(), 4)));
    assert_eq!(window(videos, Some("v0004"), None, 4).await, Some(("v0006".to_owned(), 2)));
    assert_eq!(
        window(videos, Some("v0002"), Some("v0003"), 4).await,
        Some(("v0003".to_owned(), 1))
    );
    assert_eq!(window(videos, Some("v0003"), Some("v0003"), 4).await, None);
    assert_eq!(window(videos, Some("v0006"), None, 4).await, None);
    db.execute_unchecked(
        "INSERT INTO video_processing_status (id, video_id) VALUES ('s', 'v0005')",
    )
    .await;
    let statuses = ComparedTable::Statuses;
    assert_eq!(window(statuses, Some("v0004"), None, 1).await, Some(("v0005".to_owned(), 1)));
    for table in [ComparedTable::Errors, ComparedTable::Notifications] {
        assert_eq!(window(table, None, None, 4).await, None, "{table}");
    }
}

#[apply(behaviour!)]
async fn what_windows_show_is_counted_by_check(db: &dyn Fixture) {
    let store = untouched(db).await;
    let batch = claimed(&store, JobKind::Validate, everything()).await;
    record(&store, batch.lease, None, "v0002").await;
    record(&store, batch.lease, Some("v0002"), "v0006").await;
    let checks = store.run_checks(batch.run_id).await.expect("read");
    let check = metadata(&checks);
    assert_eq!((check.rows, check.is_valid()), (6, false));
    assert!(check.differences >= 6, "{check:?}");
    assert_eq!(check.first.first().map(|row| row.video_id.as_str()), Some("v0001"));
    let columns = "FROM reelshift_batches";
    assert_eq!(db.value("rows_done", columns).await.as_deref(), Some("6"));
    assert_eq!(db.value("checkpoint", columns).await.as_deref(), Some("v0006"));
    let other = create(&store, JobKind::Validate, plan(Some("other"))).await;
    let none = store.run_checks(other.id).await.expect("read");
    assert!(none.iter().all(|check| check.rows == 0 && check.is_valid()), "{none:?}");
    assert_eq!(none.len(), store.row_checks().len(), "each check is named");
}

#[apply(behaviour!)]
async fn every_difference_of_a_run_is_kept_once(db: &dyn Fixture) {
    let store = untouched(db).await;
    let batch = claimed(&store, JobKind::Validate, everything()).await;
    for _ in 0..2 {
        record(&store, batch.lease, None, "v0006").await;
    }
    let (run, table) = (batch.run_id, ComparedTable::Videos);
    let keys = store.differing_keys(run, table, None, 4).await.expect("read");
    assert_eq!(keys, ["v0001", "v0002", "v0003", "v0004"]);
    let rest = store.differing_keys(run, table, Some("v0004"), 4).await.expect("read");
    assert_eq!(rest, ["v0005", "v0006"]);
    let none = store.differing_keys(run, ComparedTable::Errors, None, 4).await.expect("read");
    assert!(none.is_empty(), "{none:?}");
    let differences = store.differences(run, table, &rest).await.expect("read");
    let policies: Vec<_> = differences
        .iter()
        .filter(|difference| difference.column == "retention_policy")
        .cloned()
        .collect();
    let policy = |key: &str| FoundDifference {
        table: "videos".to_owned(),
        key: key.to_owned(),
        check: "metadata".to_owned(),
        column: "retention_policy".to_owned(),
        expected: Some("standard_90_days".to_owned()),
        found: None,
    };
    assert_eq!(policies, [policy("v0005"), policy("v0006")]);
}

#[apply(behaviour!)]
async fn a_lost_lease_records_no_comparison(db: &dyn Fixture) {
    let store = untouched(db).await;
    let batch = claimed(&store, JobKind::Validate, everything()).await;
    let window = compared(&store, None, "v0006").await;
    let refused = store.record_comparison(forged(batch.lease), &window).await;
    assert!(matches!(refused, Err(StoreError::LeaseLost)), "{refused:?}");
    for table in ["reelshift_comparisons", "reelshift_differences"] {
        assert_eq!(db.count(&format!("FROM {table}")).await, 0, "{table}");
    }
    assert_eq!(db.value("rows_done", "FROM reelshift_batches").await.as_deref(), Some("0"));
}

#[apply(behaviour!)]
async fn a_failed_batch_that_runs_again_counts_once(db: &dyn Fixture) {
    let store = untouched(db).await;
    let batch = claimed(&store, JobKind::Validate, everything()).await;
    record(&store, batch.lease, None, "v0004").await;
    let failure = error("database_rejected", None, batch.id);
    store.fail_attempt(batch.lease, false, Duration::ZERO, &failure).await.expect("it fails");
    let again = RerunSelection { run: Some(batch.run_id), ..RerunSelection::default() };
    assert_eq!(store.rerun(&again, None, "ops@example").await.expect("enqueued").batches, 1);
    let batch = claim_one(&store, worker(&store).await, JobKind::Validate).await;
    record(&store, batch.lease, None, "v0006").await;
    let checks = store.run_checks(batch.run_id).await.expect("read");
    assert_eq!(metadata(&checks).rows, 6);
}

#[apply(behaviour!)]
async fn what_a_validation_found_is_pruned_with_its_run(db: &dyn Fixture) {
    let store = untouched(db).await;
    let batch = claimed(&store, JobKind::Validate, everything()).await;
    record(&store, batch.lease, None, "v0006").await;
    let finished = Finished { lease: batch.lease, last_error_id: None };
    store.finish(&[finished]).await.expect("done");
    assert_eq!(store.settle(batch.run_id).await.expect("settled"), RunState::Done);
    let newer = create(&store, JobKind::Validate, plan(Some("newer"))).await;
    set_run_state(db, newer.id, RunState::Done).await;
    let both =
        "UPDATE reelshift_runs SET batches_total = 1, finished_at = '2026-01-02 03:04:05.678'";
    db.execute(both).await;
    let found = db.count("FROM reelshift_differences").await as u64;
    assert!(found > 6, "{found}");
    let age = Duration::from_hours(24);
    let told = store.prunable(age).await.expect("told").removable;
    let mut pruned = Pruned::default();
    loop {
        match store.prune(age, 4).await.expect("pruned") {
            some if some.is_empty() => break,
            some => pruned.add(some),
        }
    }
    let workers = pruned.workers;
    let expected = Pruned { runs: 1, batches: 1, differences: found, workers, ..Pruned::default() };
    assert_eq!((told.differences, pruned), (found, expected));
    for table in ["reelshift_comparisons", "reelshift_differences"] {
        assert_eq!(db.count(&format!("FROM {table}")).await, 0, "{table}");
    }
}

#[apply(behaviour!)]
async fn a_repair_does_not_sweep(db: &dyn Fixture) {
    let store = untouched(db).await;
    let whole = create(&store, JobKind::Backfill, plan(None)).await;
    let repair = RunPlan { repair: true, ..plan(None) };
    let run = create(&store, JobKind::Backfill, repair.clone()).await;
    assert_ne!(run.id, whole.id, "a repair is another run than a backfill of everything");
    assert_eq!(run.plan, repair);
    let lease = planner(&store, run.id).await;
    let bounds = items(&["v0002"]);
    let batch = NewBatch {
        id: uuid::Uuid::now_v7(),
        bounds,
        rows_total: 1,
        bytes_total: 0,
        traceparent: None,
    };
    store.add_batches(&lease, None, &[batch]).await.expect("added");
    assert_eq!(store.finish_planning(&lease).await.expect("planned"), RunState::Running);
    let batch = claim_one(&store, worker(&store).await, JobKind::Backfill).await;
    let chunk = store.backfill_chunk(batch.lease, &batch.bounds, None, 10, &batch.filter).await;
    assert_eq!(chunk.expect("written").rows, 1);
    let finished = Finished { lease: batch.lease, last_error_id: None };
    store.finish(&[finished]).await.expect("done");
    assert_eq!(store.settle(run.id).await.expect("settled"), RunState::Done);
}
