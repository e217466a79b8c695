//! Claiming: what is due, in which order, and never twice.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use macro_rules_attribute::apply;
use reelshift_plan::{BatchState, JobKind, RunState};
use reelshift_store::ledger::{Bounds, VideoFilter};
use tokio::time::Instant;
use uuid::Uuid;

use crate::Fixture;
use crate::arrange::{
    LONG, TRACEPARENT, batch, batch_states, claim_one, claimed, create, error, eventually,
    everything, expanded, items, plan, planner, running_batches, set_run_state, steadily, worker,
};

#[apply(behaviour!)]
async fn a_claim_holds_all_that_its_worker_needs(db: &dyn Fixture) {
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
        assert_eq!(claimed.run_traceparent, run.traceparent);
    }
    assert_eq!(batch_states(db).await, ["leased"; 3]);
}

#[apply(behaviour!)]
async fn a_claim_takes_its_kind_and_at_most_what_it_asks(db: &dyn Fixture) {
    let store = expanded(db).await;
    running_batches(&store, JobKind::Hash, 5).await;
    let worker = worker(&store).await;
    assert_eq!(store.claim(worker, JobKind::Backfill, 5).await.expect("a claim"), []);
    for (max, expected) in [(2, 2), (2, 2), (2, 1), (2, 0)] {
        assert_eq!(store.claim(worker, JobKind::Hash, max).await.expect("a claim").len(), expected);
    }
}

#[apply(behaviour!)]
async fn claims_come_in_order(db: &dyn Fixture) {
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

#[apply(behaviour!)]
async fn a_delayed_batch_waits_for_its_time(db: &dyn Fixture) {
    let store = expanded(db).await;
    let first = claimed(&store, JobKind::Hash, everything()).await;
    let other = worker(&store).await;
    let delay = Duration::from_secs(2);
    let failed = Instant::now();
    let state = store
        .fail_attempt(first.lease, true, delay, &error("busy", None, first.id))
        .await
        .expect("it fails");
    assert_eq!(state, BatchState::Pending);
    let early = store.claim(other, JobKind::Hash, 1).await.expect("a claim");
    // A machine that stood still for longer than the delay proves nothing.
    if failed.elapsed() >= delay {
        return;
    }
    assert_eq!(early, [], "it is not due");
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

#[apply(behaviour!)]
async fn a_delayed_batch_stays_behind_those_that_are_due(db: &dyn Fixture) {
    let store = expanded(db).await;
    running_batches(&store, JobKind::Hash, 3).await;
    let worker = worker(&store).await;
    let delayed = claim_one(&store, worker, JobKind::Hash).await;
    let error = error("busy", None, delayed.id);
    store.fail_attempt(delayed.lease, true, LONG, &error).await.expect("it fails");
    let due = store.claim(worker, JobKind::Hash, 5).await.expect("a claim");
    assert_eq!(due.len(), 2, "those that are due");
    assert!(due.iter().all(|batch| batch.id != delayed.id), "{due:?}");
    assert_eq!(batch_states(db).await, ["pending", "leased", "leased"]);
}

/// Seconds since the first run was created.
async fn seconds_since_start(db: &dyn Fixture) -> f64 {
    db.store().await.ledger_report(1).await.expect("a report").runs[0].elapsed_seconds
}

#[apply(behaviour!)]
async fn batches_of_paused_and_ended_runs_are_not_claimed(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = running_batches(&store, JobKind::Hash, 1).await;
    let worker = worker(&store).await;
    for &state in RunState::ALL {
        set_run_state(db, run.id, state).await;
        let claimed = store.claim(worker, JobKind::Hash, 1).await.expect("a claim");
        assert_eq!(claimed.len(), usize::from(state.is_active()), "{state}");
        for claimed in claimed {
            assert_eq!(store.release(&[claimed.lease]).await.expect("given back"), 1);
        }
    }
}

#[apply(behaviour!)]
async fn claimers_at_once_never_share_a_batch(db: &dyn Fixture) {
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
