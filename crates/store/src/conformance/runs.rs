//! Runs: creation, the planner's right, the end of planning, settling.

use std::time::Duration;

use futures::future::join_all;
use reelshift_plan::{JobKind, RunState};
use uuid::Uuid;

use super::Fixture;
use super::arrange::{
    LONG, batch, batch_states, claim_one, create, error, eventually, everything, expanded, new_run,
    plan, planner, run_state, running, running_batches, set_run_state, steadily, worker,
};
use crate::StoreError;
use crate::ledger::{CreatedRun, Finished, RunPlan};

pub async fn a_new_run_is_read_back(db: &dyn Fixture) {
    let store = expanded(db).await;
    let new = new_run(JobKind::Backfill, plan(Some("p'1 🎬")));
    let created = store.create_run(&new).await.expect("the run is created");
    let CreatedRun::New(run) = created else { panic!("not new: {created:?}") };
    assert_eq!((run.id, run.kind, run.state), (new.id, JobKind::Backfill, RunState::Planning));
    assert_eq!(
        (&run.plan, &run.created_by, &run.traceparent),
        (&new.plan, &new.created_by, &new.traceparent)
    );
    assert_eq!((run.round, run.batches_total, run.rows_total, run.bytes_total), (0, 0, 0, 0));
    assert_eq!((&run.planned_to, &run.reason, run.finished_at), (&None, &None, None));
    assert_eq!(store.run(run.id).await.expect("the run is read"), Some(run));
    assert_eq!(store.run(Uuid::now_v7()).await.expect("no run is read"), None);
}

pub async fn the_same_videos_are_one_run(db: &dyn Fixture) {
    let store = expanded(db).await;
    let first = create(&store, JobKind::Hash, plan(None)).await;
    for state in [RunState::Planning, RunState::Paused, RunState::Running, RunState::Sweeping] {
        set_run_state(db, first.id, state).await;
        let finer = RunPlan { batch_rows: 7, batch_files: 9, ..plan(None) };
        match store.create_run(&new_run(JobKind::Hash, finer)).await.expect("the run is asked for")
        {
            CreatedRun::Existing(run) => {
                assert_eq!((run.id, run.plan), (first.id, first.plan.clone()))
            }
            CreatedRun::New(run) => panic!("a second run while the first is {state}: {run:?}"),
        }
    }
    create(&store, JobKind::Hash, plan(Some("p1"))).await;
    create(&store, JobKind::Backfill, plan(None)).await;
    assert_eq!(db.count("FROM reelshift_runs").await, 3);
}

pub async fn a_run_that_ended_does_not_stand_in_the_way(db: &dyn Fixture) {
    let store = expanded(db).await;
    let first = create(&store, JobKind::Hash, plan(None)).await;
    let ended =
        store.finish_planning(&planner(&store, first.id).await).await.expect("planning ends");
    assert_eq!(ended, RunState::Done);
    let second = create(&store, JobKind::Hash, plan(None)).await;
    assert_ne!(first.id, second.id);
}

pub async fn many_producers_at_once_create_one_run(db: &dyn Fixture) {
    let store = expanded(db).await;
    let stores = [store.clone(), db.store().await, db.store().await];
    let calls = (0..9).map(|n| {
        let store = stores[n % 3].clone();
        async move {
            let run = new_run(JobKind::Backfill, plan(None));
            steadily("a run", async || store.create_run(&run).await).await
        }
    });
    let created = join_all(calls).await;
    let new: Vec<_> =
        created.iter().filter(|created| matches!(created, CreatedRun::New(_))).collect();
    assert_eq!(new.len(), 1, "{created:?}");
    assert_eq!(db.count("FROM reelshift_runs").await, 1);
}

pub async fn active_runs_are_those_that_work_oldest_first(db: &dyn Fixture) {
    let store = expanded(db).await;
    let mut runs = Vec::new();
    for (n, state) in RunState::ALL.into_iter().enumerate() {
        let kind = if n % 2 == 0 { JobKind::Backfill } else { JobKind::Hash };
        let run = create(&store, kind, plan(Some(&format!("p{n}")))).await;
        set_run_state(db, run.id, state).await;
        runs.push((run.id, kind, state));
    }
    let ids = async |kind| -> Vec<Uuid> {
        let active = store.active_runs(kind).await.expect("active runs are read");
        active.into_iter().map(|run| run.id).collect()
    };
    let expected = |kind: Option<JobKind>| -> Vec<Uuid> {
        let active = runs
            .iter()
            .filter(|(_, of, state)| state.is_active() && kind.is_none_or(|kind| kind == *of));
        active.map(|(id, _, _)| *id).collect()
    };
    for kind in [None, Some(JobKind::Backfill), Some(JobKind::Hash)] {
        assert_eq!(ids(kind).await, expected(kind), "{kind:?}");
    }
    assert_eq!(expected(None).len(), 3);
}

pub async fn two_planners_at_once_one_gets_it(db: &dyn Fixture) {
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

pub async fn only_a_run_that_is_planned_can_be_taken(db: &dyn Fixture) {
    let store = expanded(db).await;
    for (n, state) in RunState::ALL.into_iter().enumerate() {
        let run = create(&store, JobKind::Backfill, plan(Some(&format!("p{n}")))).await;
        set_run_state(db, run.id, state).await;
        let taken = store.take_planning(run.id, "p", LONG).await.expect("asked").is_some();
        assert_eq!(taken, matches!(state, RunState::Planning | RunState::Sweeping), "{state}");
    }
}

pub async fn a_silent_planner_loses_its_right_and_writes_nothing(db: &dyn Fixture) {
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

pub async fn a_planner_that_writes_keeps_its_right(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = create(&store, JobKind::Backfill, plan(None)).await;
    let lease = planner(&store, run.id).await;
    let timeout = Duration::from_millis(1_000);
    eventually("the right to be kept for three timeouts", async || {
        store.add_batches(&lease, None, &[]).await.expect("its right holds");
        assert!(store.planner_alive(run.id, timeout).await.expect("asked"));
        assert_eq!(store.take_planning(run.id, "thief", timeout).await.expect("asked"), None);
        (run_age(db, run.id).await > 3.0).then_some(())
    })
    .await;
    assert_eq!(batch_states(db).await.len(), 0, "no batch came of saying that it lives");
    eventually("its silence", async || {
        let alive = store.planner_alive(run.id, timeout).await.expect("asked");
        (!alive).then_some(())
    })
    .await;
}

async fn run_age(db: &dyn Fixture, run: Uuid) -> f64 {
    let snapshot = db.store().await.snapshot(10).await.expect("a snapshot");
    snapshot
        .runs
        .iter()
        .find(|report| report.run.id == run)
        .expect("the run is reported")
        .elapsed_seconds
}

pub async fn a_released_right_is_taken_at_once(db: &dyn Fixture) {
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

pub async fn batches_add_up_in_their_run(db: &dyn Fixture) {
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

pub async fn a_batch_that_fails_to_be_added_adds_none(db: &dyn Fixture) {
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

pub async fn a_run_without_batches_is_done(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = create(&store, JobKind::Backfill, plan(None)).await;
    let lease = planner(&store, run.id).await;
    assert_eq!(store.finish_planning(&lease).await.expect("planning ends"), RunState::Done);
    let run = store.run(run.id).await.expect("read").expect("there");
    assert_eq!(run.state, RunState::Done);
    assert!(run.finished_at.is_some_and(|end| end >= run.created_at));
}

/// Claims and finishes everything that is due.
async fn finish_all(store: &crate::SharedStore, kind: JobKind) {
    let worker = worker(store).await;
    loop {
        let claimed = store.claim(worker, kind, 10).await.expect("a claim");
        if claimed.is_empty() {
            return;
        }
        let finished: Vec<_> = claimed
            .iter()
            .map(|batch| Finished { lease: batch.lease, last_error_id: None })
            .collect();
        assert_eq!(store.finish(&finished).await.expect("batches end"), finished.len() as u64);
    }
}

pub async fn a_run_does_not_settle_before_its_batches(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = running_batches(&store, JobKind::Hash, 2).await;
    assert_eq!(store.settle(run.id).await.expect("settles"), RunState::Running, "two are pending");
    let worker = worker(&store).await;
    let first = claim_one(&store, worker, JobKind::Hash).await;
    let second = claim_one(&store, worker, JobKind::Hash).await;
    assert_eq!(store.settle(run.id).await.expect("settles"), RunState::Running, "two are leased");
    for (claimed, state) in [(first, RunState::Running), (second, RunState::Done)] {
        store
            .finish(&[Finished { lease: claimed.lease, last_error_id: None }])
            .await
            .expect("it ends");
        assert_eq!(store.settle(run.id).await.expect("settles"), state);
    }
    assert!(store.run(run.id).await.expect("read").expect("there").finished_at.is_some());
}

pub async fn only_a_running_run_settles(db: &dyn Fixture) {
    let store = expanded(db).await;
    for (n, state) in
        RunState::ALL.into_iter().enumerate().filter(|(_, state)| *state != RunState::Running)
    {
        let run = create(&store, JobKind::Backfill, plan(Some(&format!("p{n}")))).await;
        set_run_state(db, run.id, state).await;
        let before = db.contents("reelshift_runs").await;
        assert_eq!(store.settle(run.id).await.expect("settles"), state);
        assert_eq!(db.contents("reelshift_runs").await, before, "{state}");
    }
}

pub async fn a_failed_batch_fails_its_run(db: &dyn Fixture) {
    let store = expanded(db).await;
    for (n, kind) in JobKind::ALL.into_iter().enumerate() {
        let run =
            running(&store, kind, plan(Some(&format!("p{n}"))), &[everything(), everything()])
                .await;
        let failing = claim_one(&store, worker(&store).await, kind).await;
        let error = error("broken", None, failing.id);
        store.fail_attempt(failing.lease, false, Duration::ZERO, &error).await.expect("it fails");
        finish_all(&store, kind).await;
        assert_eq!(store.settle(run.id).await.expect("settles"), RunState::Failed);
        assert!(store.run(run.id).await.expect("read").expect("there").finished_at.is_some());
    }
}

pub async fn a_backfill_sweeps_until_nothing_is_found(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = running_batches(&store, JobKind::Backfill, 1).await;
    for round in 1..=2 {
        finish_all(&store, JobKind::Backfill).await;
        assert_eq!(store.settle(run.id).await.expect("settles"), RunState::Sweeping);
        let now = store.run(run.id).await.expect("read").expect("there");
        assert_eq!((now.round, &now.planned_to, now.finished_at), (round, &None, None));
        let lease = planner(&store, run.id).await;
        store
            .add_batches(&lease, Some("v0001"), &[batch(everything())])
            .await
            .expect("the sweep found rows");
        assert_eq!(store.finish_planning(&lease).await.expect("the sweep ends"), RunState::Running);
    }
    finish_all(&store, JobKind::Backfill).await;
    assert_eq!(store.settle(run.id).await.expect("settles"), RunState::Sweeping);
    let lease = planner(&store, run.id).await;
    assert_eq!(
        store.finish_planning(&lease).await.expect("the sweep ends"),
        RunState::Done,
        "nothing found"
    );
    assert_eq!(store.run(run.id).await.expect("read").expect("there").batches_total, 3);
}

pub async fn many_settlers_at_once_settle_once(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = running_batches(&store, JobKind::Backfill, 1).await;
    finish_all(&store, JobKind::Backfill).await;
    let other = db.store().await;
    let settlers = (0..8).map(|n| {
        let store = if n % 2 == 0 { store.clone() } else { other.clone() };
        async move { steadily("settling", async || store.settle(run.id).await).await }
    });
    let states = join_all(settlers).await;
    assert!(states.iter().all(|state| *state == RunState::Sweeping), "{states:?}");
    assert_eq!(store.run(run.id).await.expect("read").expect("there").round, 1);
}
