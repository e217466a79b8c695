//! Pausing, resuming and cancelling runs.

use std::time::Duration;

use futures::future::join_all;
use macro_rules_attribute::apply;
use reelshift_plan::{JobKind, RunState};
use reelshift_store::audit::AuditEvent;
use reelshift_store::controls::BREAKER;
use reelshift_store::ledger::{Finished, RerunSelection, Run, VideoFilter};
use reelshift_store::{SharedStore, StoreError};
use uuid::Uuid;

use crate::Fixture;
use crate::arrange::{
    LONG, batch, batch_states, claim_one, commands, create, error, everything, expanded,
    finish_without, insert, items, plan, planner, run_state, running, running_batches,
    set_run_state, steadily, videos, worker,
};

async fn paused(store: &SharedStore, run: Uuid) -> Run {
    store.pause_run(run, Some("a backup"), "ops@host").await.expect("it is paused")
}

#[apply(behaviour!)]
async fn a_paused_run_says_who_and_why_and_is_not_claimed(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = running_batches(&store, JobKind::Hash, 2).await;
    let me = worker(&store).await;
    let held = claim_one(&store, me, JobKind::Hash).await;
    let run = paused(&store, run.id).await;
    assert_eq!((run.state, run.reason.as_deref()), (RunState::Paused, Some("a backup")));
    assert_eq!(run.decided_by.as_deref(), Some("ops@host"));
    assert!(run.decided_at.is_some());
    assert_eq!(store.run(run.id).await.expect("read").as_ref(), Some(&run));
    let changes = commands(&store).await;
    let [change] = &changes[..] else { panic!("one change: {changes:?}") };
    let (previous, state) = (RunState::Running, RunState::Paused);
    assert_eq!(change.event, AuditEvent::RunStateChanged { run: run.id, previous, state });
    assert_eq!(change.reason.as_deref(), Some("a backup"));
    assert_eq!(store.claim(me, JobKind::Hash, 5).await.expect("a claim"), []);
    assert_eq!(store.release(&[held.lease]).await.expect("given back"), 1);
    assert_eq!(store.claim(me, JobKind::Hash, 5).await.expect("a claim"), []);

    let again = store.pause_run(run.id, None, "other@host").await.expect("paused once more");
    assert_eq!((again.reason, again.decided_by.as_deref()), (None, Some("other@host")));
    let resumed = store.resume_run(run.id, None, "ops@host").await.expect("resumed");
    assert_eq!((resumed.state, resumed.reason), (RunState::Running, None));
    assert_eq!(store.claim(me, JobKind::Hash, 5).await.expect("a claim").len(), 2);
}

#[apply(behaviour!)]
async fn a_paused_run_goes_back_to_the_state_it_was_in(db: &dyn Fixture) {
    let store = expanded(db).await;
    for (n, state) in RunState::ALL.iter().copied().filter(|state| state.is_active()).enumerate() {
        let run = create(&store, JobKind::Backfill, plan(Some(&format!("p{n}")))).await;
        set_run_state(db, run.id, state).await;
        paused(&store, run.id).await;
        paused(&store, run.id).await;
        assert_eq!(store.resume_run(run.id, None, "ops").await.expect("resumed").state, state);
    }
}

#[apply(behaviour!)]
async fn a_paused_planner_writes_nothing(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = create(&store, JobKind::Backfill, plan(None)).await;
    let lease = planner(&store, run.id).await;
    store.add_batches(&lease, Some("a"), &[batch(everything())]).await.expect("added");
    paused(&store, run.id).await;
    let refused = store.add_batches(&lease, Some("b"), &[batch(everything())]).await;
    assert!(matches!(refused, Err(StoreError::LeaseLost)), "{refused:?}");
    assert!(store.take_planning(run.id, "other", LONG).await.expect("asked").is_none());
    store.resume_run(run.id, None, "ops").await.expect("resumed");
    let refused = store.add_batches(&lease, Some("b"), &[]).await;
    assert!(matches!(refused, Err(StoreError::LeaseLost)), "the old right is gone: {refused:?}");
    let next = planner(&store, run.id).await;
    assert_eq!(next.run.planned_to.as_deref(), Some("a"), "it goes on where it was");
}

/// Fails `failed` of the batches of a new run of 20.
async fn failing(store: &SharedStore, failed: usize) -> Run {
    let run = running_batches(store, JobKind::Hash, 20).await;
    fail(store, failed).await;
    run
}

async fn fail(store: &SharedStore, failed: usize) {
    let me = worker(store).await;
    for _ in 0..failed {
        let batch = claim_one(store, me, JobKind::Hash).await;
        let error = error("broken", None, batch.id);
        store.fail_attempt(batch.lease, false, LONG, &error).await.expect("it fails");
    }
}

#[apply(behaviour!)]
async fn a_rerun_leaves_its_run_paused(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = failing(&store, 3).await;
    paused(&store, run.id).await;
    let selection = RerunSelection { run: Some(run.id), ..RerunSelection::default() };
    assert_eq!(store.rerun(&selection, None, "ops").await.expect("again").batches, 3);
    let run = store.run(run.id).await.expect("read").expect("there");
    assert_eq!((run.state, run.reason.as_deref()), (RunState::Paused, Some("a backup")));
    store.resume_run(run.id, None, "ops").await.expect("resumed");
    let claimed = store.claim(worker(&store).await, JobKind::Hash, 99).await.expect("a claim");
    assert_eq!(claimed.len(), 20);
}

#[apply(behaviour!)]
async fn a_resumed_run_pauses_only_for_new_failures(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = failing(&store, 3).await;
    let paused = store.pause_failing().await.expect("looked at");
    assert_eq!(paused.len(), 1);
    assert_eq!(paused[0].decided_by.as_deref(), Some(BREAKER));
    assert!(paused[0].reason.as_deref().is_some_and(|why| why.contains("3 of 20")), "{paused:?}");
    assert_eq!(commands(&store).await[0].changed_by, BREAKER);
    store.resume_run(run.id, None, "ops").await.expect("resumed");
    assert_eq!(store.pause_failing().await.expect("looked at"), [], "the same failures");
    // Beyond the clock's resolution, which is a millisecond at worst.
    tokio::time::sleep(Duration::from_millis(5)).await;
    fail(&store, 2).await;
    assert_eq!(store.pause_failing().await.expect("looked at"), [], "a tenth, no more");
    fail(&store, 1).await;
    assert_eq!(store.pause_failing().await.expect("looked at").len(), 1, "three new ones");
}

#[apply(behaviour!)]
async fn cancelling_fences_whoever_works(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = running_batches(&store, JobKind::Backfill, 5).await;
    let other = running(&store, JobKind::Backfill, plan(Some("other")), &[everything()]).await;
    let me = worker(&store).await;
    let held = store.claim(me, JobKind::Backfill, 2).await.expect("a claim");
    let cancelled = store.cancel_run(run.id, Some("wrong"), "ops@host").await.expect("cancelled");
    assert_eq!((cancelled.run.state, cancelled.leased), (RunState::Cancelled, 2));
    assert_eq!(cancelled.run.reason.as_deref(), Some("wrong"));
    assert!(cancelled.run.finished_at.is_some());
    let lost = |result: Result<_, StoreError>| {
        assert!(matches!(result, Err(StoreError::LeaseLost)), "{result:?}");
    };
    let one = &held[0];
    lost(store.backfill_chunk(one.lease, &one.bounds, None, 9, &one.filter).await.map(drop));
    let late = error("late", None, one.id);
    lost(store.fail_attempt(one.lease, true, LONG, &late).await.map(drop));
    let finished = Finished { lease: one.lease, last_error_id: None };
    assert_eq!(store.finish(&[finished]).await.expect("asked"), 0);
    assert_eq!(store.release(&[one.lease]).await.expect("asked"), 0);
    assert_eq!(store.claim(me, JobKind::Backfill, 1).await.expect("a claim")[0].run_id, other.id);

    for (limit, expected) in [(2, 2), (2, 1), (2, 0)] {
        assert_eq!(store.cancel_pending(run.id, limit).await.expect("asked"), expected);
    }
    assert_eq!(store.cancel_pending(other.id, 9).await.expect("asked"), 0, "it was not cancelled");
    let mut states = batch_states(db).await;
    states.sort();
    assert_eq!(states, ["cancelled", "cancelled", "cancelled", "cancelled", "cancelled", "leased"]);
    assert_eq!(run_state(&store, run.id).await, RunState::Cancelled);
    assert_eq!(store.settle(run.id).await.expect("asked"), RunState::Cancelled);
}

#[apply(behaviour!)]
async fn a_cancelled_planner_writes_nothing(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = create(&store, JobKind::Hash, plan(None)).await;
    let lease = planner(&store, run.id).await;
    store.cancel_run(run.id, None, "ops").await.expect("cancelled");
    let refused = store.add_batches(&lease, Some("b"), &[batch(everything())]).await;
    assert!(matches!(refused, Err(StoreError::LeaseLost)), "{refused:?}");
    let refused = store.finish_planning(&lease).await;
    assert!(matches!(refused, Err(StoreError::LeaseLost)), "{refused:?}");
    assert_eq!(batch_states(db).await, [""; 0]);
}

#[apply(behaviour!)]
async fn a_cancelled_run_frees_its_videos(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = running_batches(&store, JobKind::Hash, 1).await;
    paused(&store, run.id).await;
    store.cancel_run(run.id, None, "ops").await.expect("a paused run is cancelled");
    let next = create(&store, JobKind::Hash, plan(None)).await;
    assert_ne!(next.id, run.id);
    let again = store.cancel_run(run.id, None, "ops").await.expect("cancelled already");
    assert_eq!((again.run.state, again.leased), (RunState::Cancelled, 0));
}

#[apply(behaviour!)]
async fn a_cancelled_run_frees_its_quarantine(db: &dyn Fixture) {
    insert(db, &videos(5)).await;
    let store = expanded(db).await;
    let ids = ["v0001", "v0002", "v0003"];
    let (run, _) = quarantining(&store, &ids, None).await;
    let (other, _) = quarantining(&store, &["v0004"], Some("other")).await;
    assert_eq!(store.free_quarantine(run, 9).await.expect("asked"), 0, "it is not cancelled");
    store.cancel_run(run, None, "ops").await.expect("cancelled");
    assert_eq!(store.cancel_pending(run, 9).await.expect("asked"), 0);
    for (limit, expected) in [(2, 2), (2, 1), (2, 0)] {
        assert_eq!(store.free_quarantine(run, limit).await.expect("asked"), expected);
    }
    let left = db.rows(&["video_id", "run_id"], "FROM reelshift_quarantine").await;
    assert_eq!(left, [["v0004".to_owned(), other.to_string()].map(Some)]);
    let logged = db.count("FROM processing_error_log WHERE video_id IS NOT NULL").await;
    assert_eq!(logged, 4, "no error is lost");
    let files = store.unhashed(None, 100, &VideoFilter::default()).await.expect("files");
    let files: Vec<_> = files.iter().map(|file| file.id.as_str()).collect();
    assert_eq!(files, ["v0001", "v0002", "v0003", "v0005"], "the next run takes them up");
    let report = store.ledger_report(9).await.expect("a report").runs;
    let report = report.iter().find(|report| report.run.id == run).expect("the run");
    assert_eq!((report.quarantined, report.failed_open), (0, 0), "nothing of it waits for anybody");
}

/// A run over `ids` that has set all of them aside, and whose second batch has failed.
async fn quarantining(store: &SharedStore, ids: &[&str], project: Option<&str>) -> (Uuid, Uuid) {
    let bounds = [items(ids), items(&["v0005"])];
    let run = running(store, JobKind::Hash, plan(project), &bounds).await.id;
    let me = worker(store).await;
    let batch = claim_one(store, me, JobKind::Hash).await;
    finish_without(store, &batch, ids).await;
    let failing = claim_one(store, me, JobKind::Hash).await;
    let why = error("broken", None, failing.id);
    store.fail_attempt(failing.lease, false, LONG, &why).await.expect("it fails");
    (run, batch.id)
}

#[apply(behaviour!)]
async fn what_has_ended_is_neither_paused_nor_cancelled(db: &dyn Fixture) {
    let store = expanded(db).await;
    for (n, state) in [RunState::Done, RunState::Failed].into_iter().enumerate() {
        let run = create(&store, JobKind::Hash, plan(Some(&format!("p{n}")))).await;
        set_run_state(db, run.id, state).await;
        let before = db.contents("reelshift_runs").await;
        let told = [
            store.pause_run(run.id, None, "ops").await.map(drop),
            store.resume_run(run.id, None, "ops").await.map(drop),
            store.cancel_run(run.id, None, "ops").await.map(drop),
        ];
        for told in told {
            let Err(StoreError::Refused(sentence)) = told else { panic!("{told:?}") };
            assert!(sentence.contains(state.into_str()), "{sentence}");
        }
        assert_eq!(db.contents("reelshift_runs").await, before);
    }
    let unknown = Uuid::from_u128(7);
    for told in [
        store.pause_run(unknown, None, "ops").await.map(drop),
        store.resume_run(unknown, None, "ops").await.map(drop),
        store.cancel_run(unknown, None, "ops").await.map(drop),
    ] {
        assert!(matches!(told, Err(StoreError::Invalid(_))), "{told:?}");
    }
    assert_eq!(commands(&store).await, []);
}

#[apply(behaviour!)]
async fn claims_and_a_cancellation_at_once_leave_nothing_open(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = running_batches(&store, JobKind::Hash, 60).await;
    let stores = [store.clone(), db.store().await, db.store().await];
    let claimers = (0..6).map(|n| {
        let store = stores[n % 3].clone();
        async move {
            let me = worker(&store).await;
            for _ in 0..8 {
                steadily("a claim", async || store.claim(me, JobKind::Hash, 2).await).await;
            }
        }
    });
    let cancel = async {
        steadily("cancelling", async || store.cancel_run(run.id, None, "ops").await).await;
        while steadily("the rest", async || store.cancel_pending(run.id, 7).await).await > 0 {}
    };
    tokio::join!(join_all(claimers), cancel);
    // A claim that had begun before may have leased once more; whoever cancels goes on
    // until nothing is left.
    while store.cancel_pending(run.id, 7).await.expect("the rest") > 0 {}
    assert_eq!(batch_states(db).await, ["cancelled"; 60]);
    assert_eq!(db.count("FROM reelshift_batches WHERE lease_token IS NOT NULL").await, 0);
}
