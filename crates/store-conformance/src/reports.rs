//! `status` and `inspect`.

use chrono::{Days, NaiveDateTime, TimeDelta};
use macro_rules_attribute::apply;
use reelshift_plan::{JobKind, RunState, WorkerState};
use reelshift_store::ledger::Finished;
use reelshift_store::report::{BatchCounts, LedgerReport, RunReport};
use reelshift_store::videos::{FailedItem, FileResults};
use uuid::Uuid;

use crate::Fixture;
use crate::arrange::{
    LONG, claim_one, claimed, create, error, everything, expanded, insert, items, plan, running,
    set_run_state, videos, worker,
};

#[apply(behaviour!)]
async fn an_empty_ledger_has_an_empty_snapshot(db: &dyn Fixture) {
    let store = expanded(db).await;
    let snapshot = store.ledger_report(10).await.expect("a report");
    assert!(snapshot.runs.is_empty() && snapshot.workers.is_empty() && snapshot.errors.is_empty());
    assert_eq!(snapshot.server, store.server().await.expect("the server says what it is"));
}

#[apply(behaviour!)]
async fn a_snapshot_counts_what_a_run_did(db: &dyn Fixture) {
    insert(db, &videos(3)).await;
    let store = expanded(db).await;
    let run = running(&store, JobKind::Hash, plan(None), &vec![everything(); 6]).await;
    let (busy, gone) = (worker(&store).await, worker(&store).await);
    store.deregister_worker(gone).await.expect("it leaves");
    let claimed = store.claim(busy, JobKind::Hash, 4).await.expect("a claim");
    let item = FailedItem {
        video_id: "v0001".to_owned(),
        error: error("missing", Some("v0001"), claimed[0].id),
    };
    let results = FileResults { failed: vec![item], ..FileResults::default() };
    store.record_files(claimed[0].lease, &results).await.expect("recorded");
    store
        .finish(&[Finished { lease: claimed[0].lease, last_error_id: None }])
        .await
        .expect("it ends");
    for batch in &claimed[1..3] {
        store
            .fail_attempt(batch.lease, false, LONG, &error("broken", None, batch.id))
            .await
            .expect("it fails");
    }
    db.execute(
        "UPDATE reelshift_batches SET state = 'cancelled' WHERE seq = \
         (SELECT * FROM (SELECT MAX(seq) FROM reelshift_batches) AS last)",
    )
    .await;

    let snapshot = store.ledger_report(10).await.expect("a report");
    let report = &snapshot.runs[0];
    assert_eq!(report.run, store.run(run.id).await.expect("read").expect("there"));
    assert_eq!(
        report.batches,
        BatchCounts { pending: 1, leased: 1, done: 1, failed: 2, cancelled: 1 }
    );
    assert_eq!((report.quarantined, report.failed_open), (1, 2));
    let one = store.run_report(run.id).await.expect("read").expect("there");
    let elapsed_seconds = report.elapsed_seconds;
    assert_eq!(&RunReport { elapsed_seconds, ..one }, report, "alone as among all");
    assert_eq!(store.run_report(Uuid::nil()).await.expect("read"), None);
    assert!((0.0..600.0).contains(&report.elapsed_seconds), "{report:?}");
    let workers: Vec<_> =
        snapshot.workers.iter().map(|worker| (worker.id, worker.state, worker.leases)).collect();
    assert_eq!(workers.len(), 2);
    assert!(
        workers.contains(&(busy, WorkerState::Live, 1))
            && workers.contains(&(gone, WorkerState::Left, 0)),
        "{workers:?}"
    );
    let errors: Vec<_> =
        snapshot.errors.iter().map(|group| (group.error_type.as_str(), group.count)).collect();
    assert_eq!(errors, [("broken", 2), ("missing", 1)]);
    let broken = &snapshot.errors[0];
    assert_eq!((broken.last_hour, broken.hour_before), (2, 0));
    let trace = error("broken", None, claimed[1].id).correlation_id;
    assert_eq!(broken.sample_correlation_id, trace);
    let ago = (snapshot.at - TimeDelta::minutes(90)).format("%Y-%m-%d %H:%M:%S");
    db.execute(&format!("UPDATE processing_error_log SET created_at = '{ago}'")).await;
    let older = &store.ledger_report(10).await.expect("a report").errors[0];
    assert_eq!((older.last_hour, older.hour_before), (0, 2));

    let rerun = reelshift_store::ledger::RerunSelection {
        batch: Some(claimed[1].id),
        ..Default::default()
    };
    store.rerun(&rerun, None, "ops").await.expect("again");
    let report = &store.ledger_report(10).await.expect("a report").runs[0];
    assert_eq!((report.batches.failed, report.failed_open), (2, 1), "one was enqueued again");
}

#[apply(behaviour!)]
async fn a_snapshot_shows_the_newest_runs_first(db: &dyn Fixture) {
    let store = expanded(db).await;
    let mut ids = Vec::new();
    for n in 0..4 {
        ids.insert(0, create(&store, JobKind::Hash, plan(Some(&format!("p{n}")))).await.id);
        set_run_state(db, ids[0], RunState::Cancelled).await;
    }
    let snapshot = store.ledger_report(3).await.expect("a report");
    assert_eq!(snapshot.runs.iter().map(|report| report.run.id).collect::<Vec<_>>(), ids[..3]);
}

#[apply(behaviour!)]
async fn a_snapshot_shows_every_run_that_somebody_has_to_look_at(db: &dyn Fixture) {
    insert(db, &videos(1)).await;
    let store = expanded(db).await;
    let mut expected = Vec::new();
    let named = |n: usize| plan(Some(&format!("p{n}")));
    // The first of these is done too, but not the newest of its kind; the second is.
    for (n, state) in [
        RunState::Done,
        RunState::Done,
        RunState::Planning,
        RunState::Paused,
        RunState::Failed,
        RunState::Sweeping,
    ]
    .into_iter()
    .enumerate()
    {
        let run = create(&store, JobKind::Backfill, named(n)).await.id;
        set_run_state(db, run, state).await;
        if n > 0 {
            expected.insert(0, run);
        }
    }
    // Done with an item in quarantine, and older than the newest one that is done.
    let batch = claimed(&store, JobKind::Hash, items(&["v0001"])).await;
    let item = FailedItem {
        video_id: "v0001".to_owned(),
        error: error("file_missing", Some("v0001"), batch.id),
    };
    let results = FileResults { failed: vec![item], ..FileResults::default() };
    store.record_files(batch.lease, &results).await.expect("recorded");
    set_run_state(db, batch.run_id, RunState::Done).await;
    expected.insert(0, batch.run_id);
    for n in 0..12 {
        let run = create(&store, JobKind::Hash, named(n)).await.id;
        set_run_state(db, run, if n < 2 { RunState::Done } else { RunState::Cancelled }).await;
        if n == 1 || n >= 10 {
            expected.insert(0, run);
        }
    }
    // Without a batch they would have had nothing to do.
    let empty = format!("'{}'", create(&store, JobKind::Hash, named(99)).await.id);
    db.execute(&format!("UPDATE reelshift_runs SET batches_total = 1 WHERE id <> {empty}")).await;
    db.execute(&format!("UPDATE reelshift_runs SET state = 'done' WHERE id = {empty}")).await;
    expected.insert(0, Uuid::parse_str(empty.trim_matches('\'')).expect("an id"));
    let shown = async |most| {
        let snapshot = store.ledger_report(most).await.expect("a report");
        assert_eq!(snapshot.runs_left_out, 0);
        snapshot.runs.iter().map(|report| report.run.id).collect::<Vec<_>>()
    };
    assert_eq!(shown(2).await, expected);
    assert_eq!(shown(99).await.len(), 6 + 1 + 12 + 1);
}

#[apply(behaviour!)]
async fn a_snapshot_says_how_many_runs_it_leaves_out(db: &dyn Fixture) {
    let store = expanded(db).await;
    let mut newest = Uuid::nil();
    for n in 0..LedgerReport::MAX_RUNS + 3 {
        newest = create(&store, JobKind::Hash, plan(Some(&format!("p{n}")))).await.id;
    }
    let snapshot = store.ledger_report(1).await.expect("a report");
    assert_eq!((snapshot.runs.len(), snapshot.runs_left_out), (LedgerReport::MAX_RUNS, 3));
    assert_eq!(snapshot.runs[0].run.id, newest);
}

#[apply(behaviour!)]
async fn the_clock_of_a_run_that_ended_stands_still(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = running(&store, JobKind::Hash, plan(None), &[everything()]).await;
    let batch = claim_one(&store, worker(&store).await, JobKind::Hash).await;
    store.finish(&[Finished { lease: batch.lease, last_error_id: None }]).await.expect("it ends");
    assert_eq!(store.settle(run.id).await.expect("settles"), RunState::Done);
    let first = store.ledger_report(1).await.expect("a report");
    crate::arrange::eventually("the database's clock to move on", async || {
        let now = store.ledger_report(1).await.expect("a report");
        assert!((now.runs[0].elapsed_seconds - first.runs[0].elapsed_seconds).abs() < 1e-6);
        (now.at > first.at).then_some(())
    })
    .await;
}

#[apply(behaviour!)]
async fn inspection_of_an_empty_table_has_no_averages(db: &dyn Fixture) {
    let found = db.store().await.inspect().await.expect("it works before expand");
    assert_eq!((found.total_videos, found.uploaded_count, found.processed_count), (0, 0, 0));
    assert_eq!((found.avg_file_size, found.total_file_size), (None, None));
    assert_eq!((found.latest_upload, found.earliest_upload), (None, None));
    assert!(found.daily.is_empty() && found.states.is_empty());
}

/// The database's clock, `days` ago.
async fn days_ago(db: &dyn Fixture, days: u64) -> NaiveDateTime {
    let now =
        db.texts("SELECT CAST(CURRENT_TIMESTAMP AS CHAR)").await[0][0].clone().expect("a time");
    let now = NaiveDateTime::parse_from_str(&now, "%Y-%m-%d %H:%M:%S").expect("a time");
    now.checked_sub_days(Days::new(days)).expect("a day")
}

#[apply(behaviour!)]
async fn inspection_finds_the_specifications_figures(db: &dyn Fixture) {
    let mut some = videos(8);
    some[0].processing_status = Some("completed".to_owned());
    some[1].ground_truth = Some(true);
    some[2].status = None;
    some[3].file_size = None;
    some[4].file_size = Some(-1);
    some[5].file_size = Some(2_147_483_647);
    some[6].file_path = None;
    some[7].file_path = Some(String::new());
    let (today, yesterday, long_ago) =
        (days_ago(db, 0).await, days_ago(db, 1).await, days_ago(db, 40).await);
    for (n, at) in
        [long_ago, yesterday, yesterday, yesterday, today, today, today].into_iter().enumerate()
    {
        some[n].created_at = Some(at.format("%Y-%m-%d %H:%M:%S").to_string());
    }
    some[7].created_at = None;
    insert(db, &some).await;

    let found = db.store().await.inspect().await.expect("it works before expand");
    assert_eq!((found.total_videos, found.uploaded_count, found.processed_count), (8, 7, 1));
    let total = 5_000 - 1 + 2_147_483_647_i64;
    let close = |found: Option<f64>, expected: f64| {
        found.is_some_and(|found| (found - expected).abs() < 0.01)
    };
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let total = total as f64;
    assert!(close(found.total_file_size, total), "{found:?}");
    assert!(close(found.avg_file_size, total / 7.0), "NULL does not count: {found:?}");
    assert_eq!(found.latest_upload, Some(today.and_utc()));
    assert_eq!(found.earliest_upload, Some(long_ago.and_utc()));
    let daily: Vec<_> =
        found.daily.iter().map(|day| (day.upload_date, day.daily_uploads)).collect();
    assert_eq!(daily, [(today.date(), 3), (yesterday.date(), 3)]);
    assert!(close(found.daily[1].avg_size, 1_000.0), "{found:?}");
    assert_eq!(found.completed_without_ground_truth, 1);
    assert_eq!(found.suspicious_sizes, 3);
    assert_eq!(found.without_file_path, 2);
}

#[apply(behaviour!)]
async fn inspection_counts_each_combination_of_states(db: &dyn Fixture) {
    let combinations = [
        (Some("uploaded"), Some("pending"), Some(false), "uploaded", 3),
        (Some("uploaded"), Some("processing"), Some(false), "processing", 1),
        (Some("uploaded"), Some("completed"), Some(false), "failed", 2),
        (None, Some("pending"), Some(true), "completed", 1),
        (Some("odd"), None, None, "failed", 1),
    ];
    let mut some = videos(8);
    let mut rows = some.iter_mut();
    for (status, processing, truth, _, count) in combinations {
        for row in rows.by_ref().take(count) {
            row.status = status.map(str::to_owned);
            row.processing_status = processing.map(str::to_owned);
            row.ground_truth = truth;
        }
    }
    insert(db, &some).await;
    let found = db.store().await.inspect().await.expect("it works before expand");
    assert_eq!(found.states.len(), combinations.len(), "{:?}", found.states);
    for (status, processing, truth, becomes, count) in combinations {
        let state = found.states.iter().find(|state| {
            (
                state.status.as_deref(),
                state.processing_status.as_deref(),
                state.ground_truth_generated,
            ) == (status, processing, truth)
        });
        let state = state
            .unwrap_or_else(|| panic!("{status:?} {processing:?} {truth:?} in {:?}", found.states));
        assert_eq!((state.becomes.as_str(), state.count), (becomes, count as u64));
    }
}
