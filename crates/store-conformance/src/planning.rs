//! The right to plan a run, and what its holder adds.

use std::time::Duration;

use futures::future::join_all;
use macro_rules_attribute::apply;
use reelshift_plan::{JobKind, RunState};
use reelshift_store::StoreError;
use tokio::time::Instant;
use uuid::Uuid;

use crate::Fixture;
use crate::arrange::{
    LONG, batch, batch_states, create, eventually, everything, expanded, plan, planner, run_state,
    set_run_state, steadily,
};

#[apply(behaviour!)]
async fn two_planners_at_once_one_gets_it(db: &dyn Fixture) {
    let store = expanded(db).await;
    let other = db.store().await;
    let run = create(&store, JobKind::Hash, plan(None)).await;
    assert!(!store.planner_alive(run.id, LONG).await.expect("asked"), "nobody plans yet");
    let takes =
        (0..8).map(|n| {
            let store = if n % 2 == 0 { store.clone() } else { other.clone() };
            async move {
                steadily("planning", async || store.take_planning(run.id, "p", LONG).await).await
            }
        });
    let leases: Vec<_> = join_all(takes).await.into_iter().flatten().collect();
    assert_eq!(leases.len(), 1, "{leases:?}");
    assert_eq!(leases[0].run.id, run.id);
    assert!(other.planner_alive(run.id, LONG).await.expect("asked"));
    assert_eq!(other.take_planning(run.id, "late", LONG).await.expect("asked"), None);
}

#[apply(behaviour!)]
async fn only_a_run_that_is_planned_can_be_taken(db: &dyn Fixture) {
    let store = expanded(db).await;
    for (n, state) in RunState::ALL.iter().copied().enumerate() {
        let run = create(&store, JobKind::Backfill, plan(Some(&format!("p{n}")))).await;
        set_run_state(db, run.id, state).await;
        let taken = store.take_planning(run.id, "p", LONG).await.expect("asked").is_some();
        assert_eq!(taken, matches!(state, RunState::Planning | RunState::Sweeping), "{state}");
    }
}

#[apply(behaviour!)]
async fn a_silent_planner_loses_its_right_and_writes_nothing(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = create(&store, JobKind::Backfill, plan(None)).await;
    let dead = planner(&store, run.id).await;
    store.add_batches(&dead, Some("v0005"), &[batch(everything())]).await.expect("its right holds");
    let timeout = Duration::from_millis(300);
    let heir = eventually("the right to plan", async || {
        store.take_planning(run.id, "heir", timeout).await.expect("asked")
    })
    .await;
    assert_ne!(heir.token, dead.token);
    assert_eq!(
        heir.run.planned_to.as_deref(),
        Some("v0005"),
        "the heir goes on where the dead one stopped"
    );
    let before = (db.contents("reelshift_runs").await, db.contents("reelshift_batches").await);
    let added = store.add_batches(&dead, Some("v0009"), &[batch(everything())]).await;
    assert!(matches!(added, Err(StoreError::LeaseLost)), "{added:?}");
    let finished = store.finish_planning(&dead).await;
    assert!(matches!(finished, Err(StoreError::LeaseLost)), "{finished:?}");
    assert_eq!(
        (db.contents("reelshift_runs").await, db.contents("reelshift_batches").await),
        before
    );
    store
        .add_batches(&heir, Some("v0009"), &[batch(everything())])
        .await
        .expect("the heir's right holds");
    assert_eq!(batch_states(db).await.len(), 2);
}

#[apply(behaviour!)]
async fn a_planner_that_writes_keeps_its_right(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = create(&store, JobKind::Backfill, plan(None)).await;
    let lease = planner(&store, run.id).await;
    let timeout = Duration::from_millis(1_000);
    let kept = eventually("the right to be kept for three timeouts", async || {
        let wrote = Instant::now();
        store.add_batches(&lease, None, &[]).await.expect("its right holds");
        let alive = store.planner_alive(run.id, timeout).await.expect("asked");
        let thief = store.take_planning(run.id, "thief", timeout).await.expect("asked");
        // A machine that stood still for longer than the timeout proves nothing.
        if wrote.elapsed() >= timeout {
            return Some(false);
        }
        assert!(alive && thief.is_none(), "{thief:?}");
        (run_age(db, run.id).await > 3.0).then_some(true)
    })
    .await;
    if !kept {
        return;
    }
    assert_eq!(batch_states(db).await.len(), 0, "no batch came of saying that it lives");
    eventually("its silence", async || {
        let alive = store.planner_alive(run.id, timeout).await.expect("asked");
        (!alive).then_some(())
    })
    .await;
}

async fn run_age(db: &dyn Fixture, run: Uuid) -> f64 {
    let snapshot = db.store().await.ledger_report(10).await.expect("a report");
    snapshot
        .runs
        .iter()
        .find(|report| report.run.id == run)
        .expect("the run is reported")
        .elapsed_seconds
}

#[apply(behaviour!)]
async fn a_released_right_is_taken_at_once(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = create(&store, JobKind::Backfill, plan(None)).await;
    let first = planner(&store, run.id).await;
    store.release_planning(&first).await.expect("the right is given back");
    assert!(!store.planner_alive(run.id, LONG).await.expect("asked"));
    let second = planner(&store, run.id).await;
    let stale = store.add_batches(&first, None, &[batch(everything())]).await;
    assert!(matches!(stale, Err(StoreError::LeaseLost)), "{stale:?}");
    store.add_batches(&second, None, &[batch(everything())]).await.expect("the right holds");
    assert_eq!(batch_states(db).await, ["pending"]);
}

#[apply(behaviour!)]
async fn batches_add_up_in_their_run(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = create(&store, JobKind::Backfill, plan(None)).await;
    let lease = planner(&store, run.id).await;
    store
        .add_batches(&lease, Some("v0100"), &[batch(everything()), batch(everything())])
        .await
        .expect("added");
    store.add_batches(&lease, Some("v0200"), &[batch(everything())]).await.expect("added");
    let run = store.run(run.id).await.expect("read").expect("there");
    assert_eq!((run.batches_total, run.rows_total, run.bytes_total), (3, 30, 3_000));
    assert_eq!((run.planned_to.as_deref(), run.state), (Some("v0200"), RunState::Planning));
    store.add_batches(&lease, Some("v0300"), &[]).await.expect("planning passes rows in agreement");
    let run = store.run(run.id).await.expect("read").expect("there");
    assert_eq!((run.batches_total, run.planned_to.as_deref()), (3, Some("v0300")));
    assert_eq!(store.finish_planning(&lease).await.expect("planning ends"), RunState::Running);
    assert_eq!(run_state(&store, run.id).await, RunState::Running);
    let again = store.finish_planning(&lease).await;
    assert!(
        matches!(again, Err(StoreError::LeaseLost)),
        "the right ended with planning: {again:?}"
    );
}

#[apply(behaviour!)]
async fn a_batch_that_fails_to_be_added_adds_none(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = create(&store, JobKind::Backfill, plan(None)).await;
    let lease = planner(&store, run.id).await;
    let twin = batch(everything());
    let added =
        store.add_batches(&lease, Some("v0100"), &[batch(everything()), twin.clone(), twin]).await;
    added.expect_err("two batches with one id");
    assert_eq!(batch_states(db).await.len(), 0);
    let run = store.run(run.id).await.expect("read").expect("there");
    assert_eq!((run.batches_total, run.planned_to), (0, None), "planning did not move");
}

#[apply(behaviour!)]
async fn a_run_without_batches_is_done(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = create(&store, JobKind::Backfill, plan(None)).await;
    let lease = planner(&store, run.id).await;
    assert_eq!(store.finish_planning(&lease).await.expect("planning ends"), RunState::Done);
    let run = store.run(run.id).await.expect("read").expect("there");
    assert_eq!(run.state, RunState::Done);
    assert!(run.finished_at.is_some_and(|end| end >= run.created_at));
}

#[apply(behaviour!)]
async fn a_run_that_cannot_be_planned_fails_with_its_reason(db: &dyn Fixture) {
    let store = expanded(db).await;
    for (n, state) in [RunState::Planning, RunState::Sweeping].into_iter().enumerate() {
        let run = create(&store, JobKind::Backfill, plan(Some(&format!("p{n}")))).await;
        set_run_state(db, run.id, state).await;
        let lease = planner(&store, run.id).await;
        store.add_batches(&lease, Some("v0005"), &[batch(everything())]).await.expect("added");
        store.fail_planning(&lease, "no row can be read", "ann@host").await.expect("it fails");
        let failed = store.run(run.id).await.expect("read").expect("there");
        assert_eq!(
            (failed.state, failed.reason.as_deref()),
            (RunState::Failed, Some("no row can be read"))
        );
        assert_eq!(failed.decided_by.as_deref(), Some("ann@host"));
        assert!(failed.finished_at.is_some());
        assert!(!store.has_open_work().await.expect("asked"), "nobody waits for it");
        let again = store.fail_planning(&lease, "again", "ann@host").await;
        assert!(matches!(again, Err(StoreError::LeaseLost)), "{again:?}");
        let anew = create(&store, JobKind::Backfill, plan(Some(&format!("p{n}")))).await;
        assert_ne!(anew.id, run.id, "its key is free");
        store.cancel_run(anew.id, None, "ann@host").await.expect("cancelled");
    }
}
