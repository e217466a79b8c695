//! Failed work enqueued again.

use std::time::Duration;

use chrono::TimeDelta;
use macro_rules_attribute::apply;
use reelshift_plan::{JobKind, RunState};
use reelshift_store::audit::{AuditEvent, AuditSelection};
use reelshift_store::failures::ErrorSelection;
use reelshift_store::ledger::{Bounds, Claimed, Finished, Rerun, RerunSelection, Since};
use reelshift_store::listings::QuarantineSelection;
use reelshift_store::videos::{FailedItem, FileResults};
use reelshift_store::{SharedStore, StoreError};
use uuid::Uuid;

use crate::Fixture;
use crate::arrange::{
    LONG, batch_states, claim_one, claimed, error, everything, expanded, insert, items, plan,
    run_state, running, videos, worker,
};

async fn rerun(store: &SharedStore, selection: &RerunSelection) -> Rerun {
    store.rerun(selection, None, "ops").await.expect("failed work is enqueued again")
}

const fn batches(batches: u64) -> Rerun {
    Rerun { batches, items: 0, item_batches: 0 }
}

/// A run of two batches; each fails for good, with `error_type`, and the run settles.
async fn failed_run(store: &SharedStore, project: &str, error_type: &str) -> (Uuid, [Claimed; 2]) {
    let run = running(
        store,
        JobKind::Hash,
        plan(Some(project)),
        &[everything(), items(&["v0001", "v0002"])],
    )
    .await;
    let worker = worker(store).await;
    let batches = [
        claim_one(store, worker, JobKind::Hash).await,
        claim_one(store, worker, JobKind::Hash).await,
    ];
    for batch in &batches {
        let error = error(error_type, None, batch.id);
        store.fail_attempt(batch.lease, false, LONG, &error).await.expect("it fails");
    }
    assert_eq!(store.settle(run.id).await.expect("settles"), RunState::Failed);
    (run.id, batches)
}

#[apply(behaviour!)]
async fn failed_batches_are_enqueued_once(db: &dyn Fixture) {
    let store = expanded(db).await;
    let (run, failed) = failed_run(&store, "p1", "broken").await;
    assert_eq!(rerun(&store, &RerunSelection::default()).await, batches(2));
    assert_eq!(batch_states(db).await, ["failed", "failed", "pending", "pending"]);
    let opened = store.run(run).await.expect("read").expect("there");
    assert_eq!(
        (opened.state, opened.finished_at),
        (RunState::Running, None),
        "the run is open again"
    );
    assert_eq!(rerun(&store, &RerunSelection::default()).await, batches(0), "once only");
    let worker = worker(&store).await;
    for parent in &failed {
        let again = claim_one(&store, worker, JobKind::Hash).await;
        assert_eq!((again.run_id, &again.bounds, again.attempts), (run, &parent.bounds, 0));
        assert_eq!((again.rows_total, again.bytes_total), (parent.rows_total, parent.bytes_total));
        assert_eq!(again.traceparent, parent.traceparent, "the trace goes on");
        let named = db
            .value("parent_id", &format!("FROM reelshift_batches WHERE id = '{}'", again.id))
            .await;
        assert_eq!(named, Some(parent.id.to_string()));
        store
            .finish(&[Finished { lease: again.lease, last_error_id: again.last_error_id }])
            .await
            .expect("it ends");
    }
    assert_eq!(store.settle(run).await.expect("settles"), RunState::Done, "what failed was rerun");
}

#[apply(behaviour!)]
async fn a_rerun_that_fails_can_be_rerun(db: &dyn Fixture) {
    let store = expanded(db).await;
    let (run, _) = failed_run(&store, "p1", "broken").await;
    rerun(&store, &RerunSelection::default()).await;
    let worker = worker(&store).await;
    let again = claim_one(&store, worker, JobKind::Hash).await;
    store
        .fail_attempt(again.lease, false, LONG, &error("worse", None, again.id))
        .await
        .expect("it fails");
    let other = claim_one(&store, worker, JobKind::Hash).await;
    store.finish(&[Finished { lease: other.lease, last_error_id: None }]).await.expect("it ends");
    assert_eq!(
        store.settle(run).await.expect("settles"),
        RunState::Failed,
        "a rerun failed in its turn"
    );
    assert_eq!(rerun(&store, &RerunSelection::default()).await, batches(1));
    let third = claim_one(&store, worker, JobKind::Hash).await;
    let named =
        db.value("parent_id", &format!("FROM reelshift_batches WHERE id = '{}'", third.id)).await;
    assert_eq!(named, Some(again.id.to_string()));
}

#[apply(behaviour!)]
async fn the_chain_of_errors_goes_on_through_reruns(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = running(&store, JobKind::Hash, plan(Some("p1")), &[everything()]).await;
    let worker = worker(&store).await;
    let mut errors: Vec<String> = Vec::new();
    for error_type in ["broken", "worse", "worst"] {
        let batch = claim_one(&store, worker, JobKind::Hash).await;
        assert_eq!(batch.last_error_id, errors.last().cloned());
        let error = error(error_type, None, batch.id);
        store.fail_attempt(batch.lease, false, LONG, &error).await.expect("it fails");
        let id = error.id.to_string();
        let parent = db
            .value("parent_error_id", &format!("FROM processing_error_log WHERE id = '{id}'"))
            .await;
        assert_eq!(parent, errors.last().cloned());
        errors.push(id);
        assert_eq!(rerun(&store, &RerunSelection::default()).await, batches(1));
    }
    let last = claim_one(&store, worker, JobKind::Hash).await;
    let finished = Finished { lease: last.lease, last_error_id: last.last_error_id };
    assert_eq!(store.finish(&[finished]).await.expect("it ends"), 1);
    assert_eq!(db.count("FROM processing_error_log WHERE recovery_successful").await, 3);
    assert_eq!(store.settle(run.id).await.expect("settles"), RunState::Done);
}

#[apply(behaviour!)]
async fn a_rerun_keeps_to_its_selection(db: &dyn Fixture) {
    let store = expanded(db).await;
    let (first, failed) = failed_run(&store, "p1", "broken").await;
    let (second, _) = failed_run(&store, "p2", "missing").await;
    let all = RerunSelection::default;
    let unknown = [
        RerunSelection { run: Some(Uuid::now_v7()), ..all() },
        RerunSelection { batch: Some(Uuid::now_v7()), ..all() },
    ];
    for selection in unknown {
        let refused = store.rerun(&selection, None, "ops").await;
        assert!(matches!(refused, Err(StoreError::Invalid(_))), "there is none: {refused:?}");
    }
    let none = [
        RerunSelection { error_type: Some("other".to_owned()), ..all() },
        RerunSelection { run: Some(first), error_type: Some("missing".to_owned()), ..all() },
        RerunSelection { quarantined_only: true, ..all() },
    ];
    for selection in none {
        let before = db.contents("reelshift_batches").await;
        assert_eq!(rerun(&store, &selection).await, batches(0), "{selection:?}");
        assert_eq!(db.contents("reelshift_batches").await, before);
    }
    assert_eq!(run_state(&store, first).await, RunState::Failed);
    assert_eq!(
        rerun(&store, &RerunSelection { batch: Some(failed[1].id), ..all() }).await,
        batches(1)
    );
    assert_eq!(run_state(&store, second).await, RunState::Failed, "the other run stays closed");
    assert_eq!(
        rerun(&store, &RerunSelection { run: Some(first), ..all() }).await,
        batches(1),
        "the one left"
    );
    let missing = RerunSelection { error_type: Some("missing".to_owned()), ..all() };
    assert_eq!(rerun(&store, &missing).await, batches(2));
    assert_eq!(run_state(&store, second).await, RunState::Running);
}

#[apply(behaviour!)]
async fn a_rerun_keeps_to_its_stage_and_its_time(db: &dyn Fixture) {
    insert(db, &videos(4)).await;
    let store = expanded(db).await;
    quarantined(db, &store, 2).await;
    failed_run(&store, "p1", "broken").await;
    let all = RerunSelection::default;
    let now = store.ledger_report(1).await.expect("a report").at;
    let hour = TimeDelta::hours(1);
    let none = [
        RerunSelection { stage: Some(JobKind::Backfill), ..all() },
        RerunSelection { since: Some(Since::At(now + hour)), ..all() },
    ];
    for selection in none {
        assert_eq!(rerun(&store, &selection).await, Rerun::default(), "{selection:?}");
    }
    for since in [Since::At(now - hour), Since::Ago(LONG)] {
        let stage = Some(JobKind::Hash);
        let selection = RerunSelection { stage, since: Some(since), dry_run: true, ..all() };
        let expected = Rerun { batches: 2, items: 2, item_batches: 1 };
        assert_eq!(rerun(&store, &selection).await, expected, "{selection:?}");
    }
    let lately = RerunSelection { since: Some(Since::Ago(Duration::ZERO)), ..all() };
    assert_eq!(rerun(&store, &lately).await, Rerun::default(), "all failed before this moment");
}

/// A hash run over `count` videos, each of which is quarantined; its batch is done.
async fn quarantined(db: &dyn Fixture, store: &SharedStore, count: usize) -> Claimed {
    let ids: Vec<_> = videos(count).into_iter().map(|video| video.id).collect();
    let batch = claimed(store, JobKind::Hash, Bounds::Items(ids.clone())).await;
    let item = |(n, id): (usize, &String)| {
        let kind = if n == 0 { "permission_denied" } else { "file_missing" };
        FailedItem { video_id: id.clone(), error: error(kind, Some(id), batch.id) }
    };
    let failed = ids.iter().enumerate().map(item).collect();
    let results = FileResults { failed, ..FileResults::default() };
    assert_eq!(store.record_files(batch.lease, &results).await.expect("recorded"), 0);
    store.finish(&[Finished { lease: batch.lease, last_error_id: None }]).await.expect("it ends");
    assert_eq!(store.settle(batch.run_id).await.expect("settles"), RunState::Done);
    assert_eq!(db.count("FROM reelshift_quarantine").await, count as u64);
    batch
}

#[apply(behaviour!)]
async fn quarantined_items_come_back_in_batches_of_the_plans_size(db: &dyn Fixture) {
    insert(db, &videos(7)).await;
    let store = expanded(db).await;
    let origin = quarantined(db, &store, 7).await;
    let expected = Rerun { batches: 0, items: 7, item_batches: 3 };
    let selection = RerunSelection { quarantined_only: true, ..RerunSelection::default() };
    assert_eq!(rerun(&store, &selection).await, expected);
    assert_eq!(db.count("FROM reelshift_quarantine").await, 0);
    assert_eq!(run_state(&store, origin.run_id).await, RunState::Running);
    let worker = worker(&store).await;
    let mut ids = Vec::new();
    for size in [3, 3, 1] {
        let batch = claim_one(&store, worker, JobKind::Hash).await;
        assert_eq!((batch.run_id, batch.rows_total), (origin.run_id, size));
        let Bounds::Items(items) = batch.bounds else { panic!("not items: {:?}", batch.bounds) };
        assert_eq!(items.len() as u64, size);
        ids.extend(items);
    }
    assert_eq!(ids, videos(7).into_iter().map(|video| video.id).collect::<Vec<_>>());
    assert_eq!(rerun(&store, &selection).await, Rerun::default(), "once only");
}

#[apply(behaviour!)]
async fn quarantined_items_are_selected_by_their_error(db: &dyn Fixture) {
    insert(db, &videos(4)).await;
    let store = expanded(db).await;
    let origin = quarantined(db, &store, 4).await;
    let by = |error_type: &str| RerunSelection {
        error_type: Some(error_type.to_owned()),
        ..RerunSelection::default()
    };
    assert_eq!(rerun(&store, &by("other")).await, Rerun::default());
    assert_eq!(
        rerun(&store, &by("permission_denied")).await,
        Rerun { batches: 0, items: 1, item_batches: 1 }
    );
    assert_eq!(db.count("FROM reelshift_quarantine").await, 3);
    let of_batch = RerunSelection {
        batch: Some(origin.id),
        run: Some(origin.run_id),
        ..RerunSelection::default()
    };
    assert_eq!(rerun(&store, &of_batch).await, Rerun { batches: 0, items: 3, item_batches: 1 });
}

#[apply(behaviour!)]
async fn a_dry_run_counts_and_changes_nothing(db: &dyn Fixture) {
    insert(db, &videos(4)).await;
    let store = expanded(db).await;
    quarantined(db, &store, 4).await;
    failed_run(&store, "p1", "broken").await;
    let tables = async || {
        let mut tables = Vec::new();
        for table in
            ["reelshift_batches", "reelshift_runs", "reelshift_quarantine", "processing_error_log"]
        {
            tables.push(db.contents(table).await);
        }
        tables
    };
    let before = tables().await;
    let dry = RerunSelection { dry_run: true, ..RerunSelection::default() };
    let expected = Rerun { batches: 2, items: 4, item_batches: 2 };
    assert_eq!(rerun(&store, &dry).await, expected);
    assert_eq!(tables().await, before);
    assert_eq!(rerun(&store, &RerunSelection::default()).await, expected, "the same, in earnest");
}

#[apply(behaviour!)]
async fn reruns_at_once_enqueue_once(db: &dyn Fixture) {
    insert(db, &videos(4)).await;
    let store = expanded(db).await;
    quarantined(db, &store, 4).await;
    failed_run(&store, "p1", "broken").await;
    let other = db.store().await;
    let selection = RerunSelection::default();
    let calls = (0..4).map(|n| {
        let (store, selection) = (if n % 2 == 0 { &store } else { &other }, &selection);
        crate::arrange::steadily("a rerun", async move || store.rerun(selection, None, "ops").await)
    });
    let reruns = futures::future::join_all(calls).await;
    assert_eq!(reruns.iter().map(|rerun| rerun.batches).sum::<u64>(), 2, "{reruns:?}");
    assert_eq!(reruns.iter().map(|rerun| rerun.items).sum::<u64>(), 4, "{reruns:?}");
    assert_eq!(batch_states(db).await.iter().filter(|state| *state == "pending").count(), 4);
}

#[apply(behaviour!)]
async fn accepted_items_are_open_no_more_until_they_are_asked_for(db: &dyn Fixture) {
    insert(db, &videos(4)).await;
    let store = expanded(db).await;
    let origin = quarantined(db, &store, 4).await;
    let counts = async || {
        let runs = store.ledger_report(1).await.expect("a report").runs;
        (runs[0].quarantined, runs[0].accepted)
    };
    let everything = RerunSelection::default();
    let of_type =
        RerunSelection { error_type: Some("file_missing".to_owned()), ..RerunSelection::default() };
    let dry_run = RerunSelection { dry_run: true, ..of_type.clone() };
    assert_eq!(store.accept(&dry_run, "gone", "ann").await.expect("counted"), 3);
    assert_eq!(counts().await, (4, 0), "nothing was changed");
    assert_eq!(store.accept(&of_type, "gone é", "ann").await.expect("accepted"), 3);
    assert_eq!(store.accept(&of_type, "again", "ben").await.expect("accepted"), 0, "once only");
    assert_eq!(counts().await, (1, 3));

    let listed = store.quarantine(&QuarantineSelection::default(), None, 10).await.expect("a list");
    let accepted: Vec<_> = listed.iter().filter_map(|item| item.accepted.as_ref()).collect();
    assert_eq!((listed.len(), accepted.len()), (4, 3));
    assert_eq!((accepted[0].by.as_str(), accepted[0].reason.as_str()), ("ann", "gone é"));
    let found = async |accepted| {
        let selection = ErrorSelection { accepted: Some(accepted), ..ErrorSelection::default() };
        store.errors(&selection, 10).await.expect("they are found").len()
    };
    assert_eq!((found(true).await, found(false).await), (3, 1));
    let audited = store.audit(&AuditSelection::default(), None, 1).await.expect("an audit");
    assert_eq!(audited[0].change.event, AuditEvent::QuarantineAccepted { items: 3 });
    assert_eq!(audited[0].change.reason.as_deref(), Some("gone é"));

    assert_eq!(rerun(&store, &everything).await, Rerun { batches: 0, items: 1, item_batches: 1 });
    assert_eq!(db.count("FROM reelshift_quarantine").await, 3, "they stay");
    let error = Some(ErrorSelection { accepted: Some(true), ..ErrorSelection::default() });
    let asked = RerunSelection { error, ..RerunSelection::default() };
    assert_eq!(rerun(&store, &asked).await.items, 3, "of run {}", origin.run_id);
    assert_eq!(db.count("FROM reelshift_quarantine").await, 0);
}

#[apply(behaviour!)]
async fn an_item_that_fails_again_is_open_again(db: &dyn Fixture) {
    insert(db, &videos(1)).await;
    let store = expanded(db).await;
    quarantined(db, &store, 1).await;
    let everything = RerunSelection::default();
    assert_eq!(store.accept(&everything, "gone", "ann").await.expect("accepted"), 1);
    quarantined(db, &store, 1).await;
    let open = db.count("FROM reelshift_quarantine WHERE accepted_at IS NULL").await;
    assert_eq!(open, 1);
}
