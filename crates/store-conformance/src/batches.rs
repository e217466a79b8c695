//! Finishing, failing and releasing batches, and what that says of their runs.

use std::time::Duration;

use macro_rules_attribute::apply;
use reelshift_plan::{BatchState, JobKind, RunState};
use reelshift_store::ledger::{Finished, RerunSelection};
use uuid::Uuid;

use crate::Fixture;
use crate::arrange::{
    LONG, batch_states, claim_one, claimed, create, error, everything, expanded, plan, running,
    running_batches, set_run_state, worker,
};

#[apply(behaviour!)]
async fn a_batch_finishes_once(db: &dyn Fixture) {
    let store = expanded(db).await;
    running_batches(&store, JobKind::Hash, 3).await;
    let claimed = store.claim(worker(&store).await, JobKind::Hash, 3).await.expect("a claim");
    let finished: Vec<_> =
        claimed.iter().map(|one| Finished { lease: one.lease, last_error_id: None }).collect();
    assert_eq!(store.finish(&finished[..2]).await.expect("two end"), 2);
    assert_eq!(batch_states(db).await, ["done", "done", "leased"]);
    assert_eq!(store.finish(&finished).await.expect("only the third is left"), 1);
    assert_eq!(batch_states(db).await, ["done"; 3]);
    assert_eq!(store.finish(&[]).await.expect("nothing to end"), 0);
}

#[apply(behaviour!)]
async fn a_release_counts_no_attempt(db: &dyn Fixture) {
    let store = expanded(db).await;
    running_batches(&store, JobKind::Hash, 2).await;
    let first = worker(&store).await;
    let claimed = store.claim(first, JobKind::Hash, 2).await.expect("a claim");
    let leases: Vec<_> = claimed.iter().map(|one| one.lease).collect();
    assert_eq!(store.release(&leases).await.expect("given back"), 2);
    assert_eq!(batch_states(db).await, ["pending"; 2]);
    let again = store.claim(worker(&store).await, JobKind::Hash, 2).await.expect("at once");
    assert_eq!(
        again.iter().map(|one| (one.id, one.attempts)).collect::<Vec<_>>(),
        [(claimed[0].id, 0), (claimed[1].id, 0)]
    );
    assert_eq!(store.release(&leases).await.expect("the old leases are gone"), 0);
    assert_eq!(batch_states(db).await, ["leased"; 2]);
    assert!(
        again.iter().zip(&leases).all(|(new, old)| new.lease.token != old.token),
        "tokens are never reused"
    );
}

#[apply(behaviour!)]
async fn attempts_are_counted_until_they_are_used_up(db: &dyn Fixture) {
    let store = expanded(db).await;
    running_batches(&store, JobKind::Hash, 1).await;
    let worker = worker(&store).await;
    let mut parent: Option<String> = None;
    for attempt in 1..=3 {
        let batch = claim_one(&store, worker, JobKind::Hash).await;
        assert_eq!((batch.attempts, &batch.last_error_id), (attempt - 1, &parent));
        let error = error("database_deadlock", None, batch.id);
        let state =
            store.fail_attempt(batch.lease, true, Duration::ZERO, &error).await.expect("it fails");
        assert_eq!(state, if attempt < 3 { BatchState::Pending } else { BatchState::Failed });
        let row = db
            .rows(
                &["parent_error_id"],
                &format!("FROM processing_error_log WHERE id = '{}'", error.id),
            )
            .await;
        assert_eq!(row, [[parent]], "attempt {attempt} names the one before it");
        parent = Some(error.id.to_string());
    }
    assert_eq!(batch_states(db).await, ["failed"]);
    assert_eq!(db.value("attempts", "FROM reelshift_batches").await.as_deref(), Some("3"));
    assert_eq!(store.claim(worker, JobKind::Hash, 1).await.expect("a claim"), []);
}

#[apply(behaviour!)]
async fn an_attempt_that_cannot_be_helped_fails_at_once(db: &dyn Fixture) {
    let store = expanded(db).await;
    let batch = claimed(&store, JobKind::Hash, everything()).await;
    let state = store
        .fail_attempt(batch.lease, false, LONG, &error("broken", None, batch.id))
        .await
        .expect("it fails");
    assert_eq!(state, BatchState::Failed);
    assert_eq!(batch_states(db).await, ["failed"]);
    assert_eq!(db.value("attempts", "FROM reelshift_batches").await.as_deref(), Some("1"));
}

#[apply(behaviour!)]
async fn a_later_success_marks_the_whole_chain_as_recovered(db: &dyn Fixture) {
    let store = expanded(db).await;
    let two = running(&store, JobKind::Hash, plan(None), &[everything(), everything()]).await;
    let worker = worker(&store).await;
    let other = claim_one(&store, worker, JobKind::Hash).await;
    let unrelated = error("unrelated", None, other.id);
    store.fail_attempt(other.lease, false, LONG, &unrelated).await.expect("it fails for good");
    for _ in 0..2 {
        let batch = claim_one(&store, worker, JobKind::Hash).await;
        store
            .fail_attempt(batch.lease, true, Duration::ZERO, &error("busy", None, batch.id))
            .await
            .expect("it fails");
    }
    let last = claim_one(&store, worker, JobKind::Hash).await;
    assert!(last.last_error_id.is_some());
    let recovered = "FROM processing_error_log WHERE recovery_successful = 1 AND recovery_timestamp IS NOT NULL";
    assert_eq!(db.count(recovered).await, 0);
    store
        .finish(&[Finished { lease: last.lease, last_error_id: last.last_error_id }])
        .await
        .expect("it ends");
    assert_eq!(db.count(&format!("{recovered} AND error_type = 'busy'")).await, 2, "both attempts");
    assert_eq!(db.count(recovered).await, 2, "the other batch's error is not");
    assert_eq!(two.batches_total, 2);
}

#[apply(behaviour!)]
async fn open_work_is_an_active_run_or_a_lease(db: &dyn Fixture) {
    let store = expanded(db).await;
    let open = async || store.has_open_work().await.expect("asked");
    assert!(!open().await, "an empty ledger");
    let run = running_batches(&store, JobKind::Hash, 1).await;
    assert!(open().await, "a running run");
    set_run_state(db, run.id, RunState::Paused).await;
    assert!(!open().await, "paused, nothing leased");
    set_run_state(db, run.id, RunState::Running).await;
    let batch = claim_one(&store, worker(&store).await, JobKind::Hash).await;
    set_run_state(db, run.id, RunState::Paused).await;
    assert!(open().await, "paused, one leased");
    set_run_state(db, run.id, RunState::Running).await;
    store.finish(&[Finished { lease: batch.lease, last_error_id: None }]).await.expect("it ends");
    assert!(open().await, "not settled");
    assert_eq!(store.settle(run.id).await.expect("settles"), RunState::Done);
    assert!(!open().await, "done");
    let planned = create(&store, JobKind::Backfill, plan(None)).await;
    assert!(open().await, "planning");
    set_run_state(db, planned.id, RunState::Sweeping).await;
    assert!(open().await, "sweeping");
}

/// Makes a run of `total` batches of which `failed` fail.
async fn failing(db: &dyn Fixture, project: &str, total: usize, failed: usize) -> Uuid {
    let store = db.store().await;
    let run = running(&store, JobKind::Hash, plan(Some(project)), &vec![everything(); total]).await;
    let claimed = store.claim(worker(&store).await, JobKind::Hash, 100).await.expect("a claim");
    assert_eq!(claimed.len(), total);
    for batch in &claimed[..failed] {
        store
            .fail_attempt(batch.lease, false, LONG, &error("broken", None, batch.id))
            .await
            .expect("it fails");
    }
    run.id
}

#[apply(behaviour!)]
async fn a_run_pauses_when_more_than_a_tenth_fails(db: &dyn Fixture) {
    let store = expanded(db).await;
    let tenth = failing(db, "tenth", 20, 2).await;
    let small = failing(db, "small", 19, 19).await;
    assert_eq!(store.pause_failing().await.expect("looked at"), []);
    let more = failing(db, "more", 20, 3).await;
    let paused = store.pause_failing().await.expect("looked at");
    assert_eq!(
        paused.iter().map(|run| (run.id, run.state)).collect::<Vec<_>>(),
        [(more, RunState::Paused)]
    );
    assert!(paused[0].reason.as_deref().is_some_and(|reason| reason.contains('3')), "{paused:?}");
    assert_eq!(store.run(more).await.expect("read").as_ref(), paused.first());
    assert_eq!(store.pause_failing().await.expect("looked at"), [], "only once");
    for run in [tenth, small] {
        assert_eq!(crate::arrange::run_state(&store, run).await, RunState::Running);
    }
}

#[apply(behaviour!)]
async fn reruns_that_fail_do_not_pause_their_run(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = failing(db, "tenth", 20, 2).await;
    let selection = RerunSelection { run: Some(run), ..RerunSelection::default() };
    assert_eq!(store.rerun(&selection, None, "ops").await.expect("again").batches, 2);
    let worker = worker(&store).await;
    for _ in 0..2 {
        let again = claim_one(&store, worker, JobKind::Hash).await;
        let error = error("broken", None, again.id);
        store.fail_attempt(again.lease, false, LONG, &error).await.expect("it fails");
    }
    assert_eq!(batch_states(db).await.iter().filter(|state| *state == "failed").count(), 4);
    assert_eq!(store.pause_failing().await.expect("looked at"), []);
}
