//! Claiming, finishing, failing and releasing batches.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use reelshift_plan::{BatchState, JobKind, RunState};
use uuid::Uuid;

use super::Fixture;
use super::arrange::{
    LONG, TRACEPARENT, batch, batch_states, claim_one, claimed, create, error, eventually,
    everything, expanded, items, plan, planner, running, running_batches, set_run_state, steadily,
    worker,
};
use crate::ledger::{Bounds, Finished, RerunSelection, VideoFilter};

pub async fn a_claim_holds_all_that_its_worker_needs(db: &dyn Fixture) {
    let store = expanded(db).await;
    let filter = VideoFilter {
        project: Some("p'1".to_owned()),
        status: Some("up".to_owned()),
        ..VideoFilter::default()
    };
    let mut plan = plan(None);
    plan.filter = filter.clone();
    let run = create(&store, JobKind::Backfill, plan).await;
    let lease = planner(&store, run.id).await;
    let bounds = [
        Bounds::Range { after: None, upto: "b'🎬".to_owned() },
        Bounds::Range { after: Some("b'🎬".to_owned()), upto: "c".to_owned() },
        items(&["v0001", "it's", "\"quoted\"", "🎬"]),
    ];
    let batches: Vec<_> = bounds.iter().cloned().map(batch).collect();
    store.add_batches(&lease, None, &batches).await.expect("added");
    let claimed = store.claim(worker(&store).await, JobKind::Backfill, 5).await.expect("a claim");
    assert_eq!(claimed.len(), 3, "workers start while planning goes on");
    for (claimed, batch) in claimed.iter().zip(&batches) {
        assert_eq!(
            (claimed.id, claimed.run_id, claimed.kind),
            (batch.id, run.id, JobKind::Backfill)
        );
        assert_eq!((&claimed.bounds, &claimed.filter), (&batch.bounds, &filter));
        assert_eq!((claimed.rows_total, claimed.bytes_total), (10, 1_000));
        assert_eq!((claimed.attempts, claimed.max_attempts), (0, 3));
        assert_eq!((&claimed.checkpoint, &claimed.last_error_id), (&None, &None));
        assert_eq!(claimed.traceparent.as_deref(), Some(TRACEPARENT));
    }
    assert_eq!(batch_states(db).await, ["leased"; 3]);
}

pub async fn a_claim_takes_its_kind_and_at_most_what_it_asks(db: &dyn Fixture) {
    let store = expanded(db).await;
    running_batches(&store, JobKind::Hash, 5).await;
    let worker = worker(&store).await;
    assert_eq!(store.claim(worker, JobKind::Backfill, 5).await.expect("a claim"), []);
    for (max, expected) in [(2, 2), (2, 2), (2, 1), (2, 0)] {
        assert_eq!(store.claim(worker, JobKind::Hash, max).await.expect("a claim").len(), expected);
    }
}

pub async fn claims_come_in_order(db: &dyn Fixture) {
    let store = expanded(db).await;
    let mut ids = Vec::new();
    for project in ["older", "newer"] {
        let run = create(&store, JobKind::Hash, plan(Some(project))).await;
        let lease = planner(&store, run.id).await;
        let batches: Vec<_> = (0..3).map(|_| batch(everything())).collect();
        store.add_batches(&lease, None, &batches).await.expect("added");
        ids.extend(batches.iter().map(|batch| batch.id));
    }
    let urgent = [ids[2], ids[4]].map(|id| format!("'{id}'")).join(", ");
    db.execute(&format!("UPDATE reelshift_batches SET priority = 0 WHERE id IN ({urgent})")).await;
    let expected = [2, 0, 1, 4, 3, 5].map(|index| ids[index]);
    let worker = worker(&store).await;
    let first = store.claim(worker, JobKind::Hash, 2).await.expect("a claim");
    let second = store.claim(worker, JobKind::Hash, 10).await.expect("a claim");
    let order: Vec<Uuid> = first.iter().chain(&second).map(|claimed| claimed.id).collect();
    assert_eq!(order, expected);
}

pub async fn a_delayed_batch_waits_for_its_time(db: &dyn Fixture) {
    let store = expanded(db).await;
    let first = claimed(&store, JobKind::Hash, everything()).await;
    let other = worker(&store).await;
    let delay = Duration::from_secs(2);
    let state = store
        .fail_attempt(first.lease, true, delay, &error("busy", None, first.id))
        .await
        .expect("it fails");
    assert_eq!(state, BatchState::Pending);
    assert_eq!(store.claim(other, JobKind::Hash, 1).await.expect("a claim"), [], "it is not due");
    let again = eventually("the batch to be due", async || {
        store.claim(other, JobKind::Hash, 1).await.expect("a claim").pop()
    })
    .await;
    assert_eq!((again.id, again.attempts), (first.id, 1));
    let state = store
        .fail_attempt(again.lease, true, LONG, &error("busy", None, first.id))
        .await
        .expect("it fails");
    assert_eq!(state, BatchState::Pending);
    let due = eventually("a claim long after the first delay", async || {
        let claimed = store.claim(other, JobKind::Hash, 1).await.expect("a claim");
        (!claimed.is_empty() || seconds_since_start(db).await > 3.0).then_some(claimed)
    })
    .await;
    assert_eq!(due, [], "an hour has not passed");
}

/// Seconds since the first run was created.
async fn seconds_since_start(db: &dyn Fixture) -> f64 {
    db.store().await.snapshot(1).await.expect("a snapshot").runs[0].elapsed_seconds
}

pub async fn batches_of_paused_and_ended_runs_are_not_claimed(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = running_batches(&store, JobKind::Hash, 1).await;
    let worker = worker(&store).await;
    for state in RunState::ALL {
        set_run_state(db, run.id, state).await;
        let claimed = store.claim(worker, JobKind::Hash, 1).await.expect("a claim");
        assert_eq!(claimed.len(), usize::from(state.is_active()), "{state}");
        for claimed in claimed {
            assert_eq!(store.release(&[claimed.lease]).await.expect("given back"), 1);
        }
    }
}

pub async fn claimers_at_once_never_share_a_batch(db: &dyn Fixture) {
    const BATCHES: usize = 200;
    let store = expanded(db).await;
    running_batches(&store, JobKind::Hash, BATCHES).await;
    let stores = [store.clone(), db.store().await, db.store().await, db.store().await];
    let claimers = (0..16).map(|n| {
        let store = stores[n % stores.len()].clone();
        async move {
            let worker = worker(&store).await;
            let mut mine = Vec::new();
            while db.count("FROM reelshift_batches WHERE state = 'pending'").await > 0 {
                mine.extend(
                    steadily("a claim", async || store.claim(worker, JobKind::Hash, 3).await).await,
                );
            }
            (worker, mine)
        }
    });
    let claims = join_all(claimers).await;
    let leases: Vec<_> =
        claims.iter().flat_map(|(_, mine)| mine.iter().map(|claimed| claimed.lease)).collect();
    assert_eq!(leases.len(), BATCHES);
    assert_eq!(leases.iter().map(|lease| lease.seq).collect::<HashSet<_>>().len(), BATCHES);
    for (worker, mine) in &claims {
        let held = db.count(&format!("FROM reelshift_batches WHERE leased_by = '{worker}'")).await;
        assert_eq!(held, mine.len() as u64, "the ledger says the same");
    }
    assert!(
        claims.iter().filter(|(_, mine)| !mine.is_empty()).count() > 1,
        "they did claim at once"
    );
}

pub async fn a_batch_finishes_once(db: &dyn Fixture) {
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

pub async fn a_release_counts_no_attempt(db: &dyn Fixture) {
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

pub async fn attempts_are_counted_until_they_are_used_up(db: &dyn Fixture) {
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

pub async fn an_attempt_that_cannot_be_helped_fails_at_once(db: &dyn Fixture) {
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

pub async fn a_later_success_marks_the_whole_chain_as_recovered(db: &dyn Fixture) {
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

pub async fn open_work_is_an_active_run_or_a_lease(db: &dyn Fixture) {
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

pub async fn a_run_pauses_when_more_than_a_tenth_fails(db: &dyn Fixture) {
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
        assert_eq!(super::arrange::run_state(&store, run).await, RunState::Running);
    }
}

pub async fn reruns_that_fail_do_not_pause_their_run(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = failing(db, "tenth", 20, 2).await;
    let selection = RerunSelection { run: Some(run), ..RerunSelection::default() };
    assert_eq!(store.rerun(&selection).await.expect("again").batches, 2);
    let worker = worker(&store).await;
    for _ in 0..2 {
        let again = claim_one(&store, worker, JobKind::Hash).await;
        let error = error("broken", None, again.id);
        store.fail_attempt(again.lease, false, LONG, &error).await.expect("it fails");
    }
    assert_eq!(batch_states(db).await.iter().filter(|state| *state == "failed").count(), 4);
    assert_eq!(store.pause_failing().await.expect("looked at"), []);
}
