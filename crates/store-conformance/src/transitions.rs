//! The state machine of `plan`, against the store: every transition that it forbids is
//! tried with every function that could make it, and leaves the ledger as it was.

use std::time::Duration;

use macro_rules_attribute::apply;
use reelshift_plan::{BatchState, JobKind};
use reelshift_store::ledger::{Claimed, Finished};
use reelshift_store::{SharedStore, StoreError};
use uuid::Uuid;

use crate::Fixture;
use crate::arrange::{LONG, batch_states, claim_one, error, expanded, running_batches, worker};

/// Brings the one batch of the ledger to `state`; what comes back was its lease.
async fn bring_to(
    db: &dyn Fixture,
    store: &SharedStore,
    worker: Uuid,
    state: BatchState,
) -> Claimed {
    let claimed = claim_one(store, worker, JobKind::Hash).await;
    match state {
        BatchState::Leased => {}
        BatchState::Pending | BatchState::Cancelled => {
            assert_eq!(store.release(&[claimed.lease]).await.expect("given back"), 1);
        }
        BatchState::Done => {
            let finished = Finished { lease: claimed.lease, last_error_id: None };
            assert_eq!(store.finish(&[finished]).await.expect("it ends"), 1);
        }
        BatchState::Failed => {
            let error = error("broken", None, claimed.id);
            store.fail_attempt(claimed.lease, false, LONG, &error).await.expect("it fails");
        }
    }
    if state == BatchState::Cancelled {
        store.cancel_run(claimed.run_id, None, "ops").await.expect("the run is cancelled");
        assert_eq!(store.cancel_pending(claimed.run_id, 10).await.expect("asked"), 1);
    }
    assert_eq!(batch_states(db).await, [state.into_str()]);
    claimed
}

/// Calls everything that makes a batch `next`; all of it must say that it did nothing.
async fn attempt(store: &SharedStore, worker: Uuid, batch: &Claimed, next: BatchState) {
    let fail = async |retry| {
        let error = error("late", None, batch.id);
        let ended = store.fail_attempt(batch.lease, retry, Duration::ZERO, &error).await;
        assert!(matches!(ended, Err(StoreError::LeaseLost)), "{ended:?}");
    };
    match next {
        BatchState::Leased => {
            assert_eq!(store.claim(worker, JobKind::Hash, 5).await.expect("a claim"), [])
        }
        BatchState::Done => {
            let finished = Finished { lease: batch.lease, last_error_id: None };
            assert_eq!(store.finish(&[finished]).await.expect("asked"), 0);
        }
        BatchState::Failed => fail(false).await,
        BatchState::Pending => {
            fail(true).await;
            assert_eq!(store.release(&[batch.lease]).await.expect("asked"), 0);
            store.deregister_worker(worker).await.expect("the worker leaves");
        }
        BatchState::Cancelled => {
            let cancelled = store.cancel_run(batch.run_id, None, "ops").await.expect("asked");
            assert_eq!(cancelled.leased, 0);
            assert_eq!(store.cancel_pending(batch.run_id, 10).await.expect("asked"), 0);
        }
    }
}

#[apply(behaviour!)]
async fn forbidden_transitions_change_nothing(db: &dyn Fixture) {
    let store = expanded(db).await;
    for &from in BatchState::ALL {
        for next in BatchState::ALL.iter().copied().filter(|next| !from.may_become(*next)) {
            db.execute("DELETE FROM reelshift_batches").await;
            db.execute("DELETE FROM reelshift_runs").await;
            running_batches(&store, JobKind::Hash, 1).await;
            let worker = worker(&store).await;
            let batch = bring_to(db, &store, worker, from).await;
            let before = db.contents("reelshift_batches").await;
            let errors = db.count("FROM processing_error_log").await;
            attempt(&store, worker, &batch, next).await;
            assert_eq!(db.contents("reelshift_batches").await, before, "{from} to {next}");
            assert_eq!(db.count("FROM processing_error_log").await, errors, "{from} to {next}");
        }
    }
}

#[apply(behaviour!)]
async fn allowed_transitions_happen(db: &dyn Fixture) {
    let store = expanded(db).await;
    for &last in BatchState::ALL {
        db.execute("DELETE FROM reelshift_batches").await;
        db.execute("DELETE FROM reelshift_runs").await;
        running_batches(&store, JobKind::Hash, 1).await;
        assert_eq!(batch_states(db).await, ["pending"]);
        bring_to(db, &store, worker(&store).await, last).await;
    }
}
