//! Runs: creation, listing, settling, sweeping.

use std::time::Duration;

use futures::future::join_all;
use macro_rules_attribute::apply;
use reelshift_plan::{JobKind, RunState};
use reelshift_store::ledger::{CreatedRun, Finished, RunPlan};
use uuid::Uuid;

use crate::Fixture;
use crate::arrange::{
    LONG, batch, claim_one, create, due_planner, error, everything, expanded, new_run, plan,
    planner, running, running_batches, set_run_state, steadily, worker,
};

#[apply(behaviour!)]
async fn a_new_run_is_read_back(db: &dyn Fixture) {
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

#[apply(behaviour!)]
async fn the_same_videos_are_one_run(db: &dyn Fixture) {
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

#[apply(behaviour!)]
async fn a_run_that_ended_does_not_stand_in_the_way(db: &dyn Fixture) {
    let store = expanded(db).await;
    let first = create(&store, JobKind::Hash, plan(None)).await;
    let ended =
        store.finish_planning(&planner(&store, first.id).await).await.expect("planning ends");
    assert_eq!(ended, RunState::Done);
    let second = create(&store, JobKind::Hash, plan(None)).await;
    assert_ne!(first.id, second.id);
}

#[apply(behaviour!)]
async fn many_producers_at_once_create_one_run(db: &dyn Fixture) {
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

#[apply(behaviour!)]
async fn active_runs_are_those_that_work_oldest_first(db: &dyn Fixture) {
    let store = expanded(db).await;
    let mut runs = Vec::new();
    for (n, state) in RunState::ALL.iter().copied().enumerate() {
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

/// Claims and finishes everything that is due.
async fn finish_all(store: &reelshift_store::SharedStore, kind: JobKind) {
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

#[apply(behaviour!)]
async fn a_run_does_not_settle_before_its_batches(db: &dyn Fixture) {
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

#[apply(behaviour!)]
async fn only_a_running_run_settles(db: &dyn Fixture) {
    let store = expanded(db).await;
    for (n, state) in
        RunState::ALL.iter().copied().enumerate().filter(|(_, state)| *state != RunState::Running)
    {
        let run = create(&store, JobKind::Backfill, plan(Some(&format!("p{n}")))).await;
        set_run_state(db, run.id, state).await;
        let before = db.contents("reelshift_runs").await;
        assert_eq!(store.settle(run.id).await.expect("settles"), state);
        assert_eq!(db.contents("reelshift_runs").await, before, "{state}");
    }
}

#[apply(behaviour!)]
async fn a_failed_batch_fails_its_run(db: &dyn Fixture) {
    let store = expanded(db).await;
    for (n, kind) in JobKind::ALL.iter().copied().enumerate() {
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

#[apply(behaviour!)]
async fn a_backfill_sweeps_until_nothing_is_found(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = running_batches(&store, JobKind::Backfill, 1).await;
    for round in 1..=2 {
        finish_all(&store, JobKind::Backfill).await;
        assert_eq!(store.settle(run.id).await.expect("settles"), RunState::Sweeping);
        let now = store.run(run.id).await.expect("read").expect("there");
        assert_eq!((now.round, &now.planned_to, now.finished_at), (round, &None, None));
        let lease = due_planner(&store, run.id).await;
        store
            .add_batches(&lease, Some("v0001"), &[batch(everything())])
            .await
            .expect("the sweep found rows");
        assert_eq!(store.finish_planning(&lease).await.expect("the sweep ends"), RunState::Running);
    }
    finish_all(&store, JobKind::Backfill).await;
    assert_eq!(store.settle(run.id).await.expect("settles"), RunState::Sweeping);
    let lease = due_planner(&store, run.id).await;
    assert_eq!(
        store.finish_planning(&lease).await.expect("the sweep ends"),
        RunState::Done,
        "nothing found"
    );
    assert_eq!(store.run(run.id).await.expect("read").expect("there").batches_total, 3);
}

#[apply(behaviour!)]
async fn a_sweep_waits_for_rows_that_others_hold(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = running_batches(&store, JobKind::Backfill, 1).await.id;
    let read = async || store.run(run).await.expect("read").expect("there");
    // Nothing of a round is written: after the first plan the sweep is due at once.
    for idle in 0..=2 {
        finish_all(&store, JobKind::Backfill).await;
        assert_eq!(store.settle(run).await.expect("settles"), RunState::Sweeping);
        let now = read().await;
        assert_eq!(now.rows_waiting, if idle == 0 { 0 } else { 10 }, "{now:?}");
        let at = store.ledger_report(1).await.expect("a report").at;
        let delay = now.sweep_at.map(|due| (due - at).as_seconds_f64());
        match idle {
            0 => assert_eq!(delay, None),
            _ => assert!(delay.is_some_and(|delay| delay <= 0.5 * f64::from(idle)), "{delay:?}"),
        }
        if idle == 2 {
            let early = store.take_planning(run, "early", LONG).await.expect("asked");
            assert_eq!(early, None, "it is not due");
        }
        let lease = due_planner(&store, run).await;
        let late = store.ledger_report(1).await.expect("a report").at;
        assert!(now.sweep_at.is_none_or(|due| late >= due), "not before");
        store.add_batches(&lease, None, &[batch(everything())]).await.expect("it found rows");
        assert_eq!(store.finish_planning(&lease).await.expect("planned"), RunState::Running);
    }
    // A round that writes is followed at once, and one that finds nothing ends the run.
    db.execute("UPDATE reelshift_batches SET rows_done = 1 WHERE state = 'pending'").await;
    finish_all(&store, JobKind::Backfill).await;
    assert_eq!(store.settle(run).await.expect("settles"), RunState::Sweeping);
    assert_eq!((read().await.rows_waiting, read().await.sweep_at), (0, None));
    let lease = planner(&store, run).await;
    assert_eq!(store.finish_planning(&lease).await.expect("planned"), RunState::Done);
}

#[apply(behaviour!)]
async fn many_settlers_at_once_settle_once(db: &dyn Fixture) {
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
