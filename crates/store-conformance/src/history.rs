//! Pruning: what has ended goes, what somebody may still need stays.

use std::time::Duration;

use macro_rules_attribute::apply;
use reelshift_plan::{JobKind, RunState};
use reelshift_store::SharedStore;
use reelshift_store::controls::ControlSetting;
use reelshift_store::history::Pruned;
use reelshift_store::ledger::Finished;
use uuid::Uuid;

use crate::Fixture;
use crate::arrange::{
    claim_one, commands, create, expanded, finish_without, insert, items, plan, running,
    running_batches, set_run_state, videos, worker,
};

const AGE: Duration = Duration::from_hours(24);

/// Ends a run as `state`, two days ago.
async fn end(db: &dyn Fixture, run: Uuid, state: RunState) {
    set_run_state(db, run, state).await;
    let two_days = "'2026-01-02 03:04:05.678'";
    db.execute(&format!(
        "UPDATE reelshift_runs SET finished_at = {two_days}, active_key = NULL WHERE id = '{run}'"
    ))
    .await;
}

/// A newer run that is done and did something, beside which older ones are of no use.
async fn newer(db: &dyn Fixture, store: &SharedStore) -> Uuid {
    let run = create(store, JobKind::Hash, plan(Some("newer"))).await;
    end(db, run.id, RunState::Done).await;
    db.execute(&format!("UPDATE reelshift_runs SET batches_total = 1 WHERE id = '{}'", run.id))
        .await;
    run.id
}

/// Prunes to the end, `limit` rows at a time; every step must keep to it.
async fn prune(store: &SharedStore, limit: u32) -> Pruned {
    let mut all = Pruned::default();
    loop {
        let some = store.prune(AGE, limit).await.expect("it prunes");
        if some.is_empty() {
            return all;
        }
        let rows = some.runs + some.batches + some.quarantined + some.workers + some.differences;
        assert!(rows <= limit.into(), "{some:?} in one step of {limit}");
        all.add(some);
    }
}

#[apply(behaviour!)]
async fn what_ended_long_ago_is_removed_in_small_steps(db: &dyn Fixture) {
    let store = expanded(db).await;
    for (n, state) in
        [RunState::Done, RunState::Failed, RunState::Cancelled].into_iter().enumerate()
    {
        let batches = vec![items(&["v0001"]); 5];
        let run = running(&store, JobKind::Hash, plan(Some(&format!("p{n}"))), &batches).await;
        end(db, run.id, state).await;
    }
    let newer = newer(db, &store).await;
    let gone = worker(&store).await;
    store.deregister_worker(gone).await.expect("it leaves");
    let live = worker(&store).await;
    db.execute("UPDATE reelshift_workers SET last_seen_at = '2026-01-02 03:04:05.678'").await;
    let expected = Pruned { runs: 3, batches: 15, quarantined: 0, workers: 1, differences: 0 };
    let before = [db.contents("reelshift_runs").await, db.contents("reelshift_batches").await];
    let told = store.prunable(AGE).await.expect("told");
    assert_eq!((told.removable, told.kept_for_quarantine), (expected, 0));
    let after = [db.contents("reelshift_runs").await, db.contents("reelshift_batches").await];
    assert_eq!(before, after, "telling changes nothing");
    assert_eq!(prune(&store, 2).await, expected);
    assert_eq!(db.value("id", "FROM reelshift_runs").await, Some(newer.to_string()));
    assert_eq!(db.count("FROM reelshift_batches").await, 0);
    let left = db.value("id", "FROM reelshift_workers").await;
    assert_eq!(left, Some(live.to_string()), "a live worker stays");
}

#[apply(behaviour!)]
async fn the_newest_done_run_of_each_kind_stays(db: &dyn Fixture) {
    let store = expanded(db).await;
    let mut kept = Vec::new();
    for kind in [JobKind::Backfill, JobKind::Hash] {
        for (n, state) in
            [RunState::Done, RunState::Done, RunState::Cancelled].into_iter().enumerate()
        {
            let run = create(&store, kind, plan(Some(&format!("p{n}")))).await;
            end(db, run.id, state).await;
            if n == 1 {
                kept.push(run.id);
            }
        }
    }
    let told = store.prunable(AGE).await.expect("told");
    assert_eq!((told.removable.runs, told.kept_for_quarantine), (4, 0));
    assert_eq!(prune(&store, 9).await.runs, 4);
    let mut left: Vec<Uuid> =
        store.ledger_report(9).await.expect("a report").runs.iter().map(|run| run.run.id).collect();
    left.sort();
    assert_eq!(left, kept);
}

#[apply(behaviour!)]
async fn a_run_that_had_nothing_to_do_stands_for_no_other(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = running_batches(&store, JobKind::Hash, 1).await;
    end(db, run.id, RunState::Done).await;
    let empty = create(&store, JobKind::Hash, plan(Some("empty"))).await;
    end(db, empty.id, RunState::Done).await;
    assert_eq!(prune(&store, 9).await, Pruned::default());
    newer(db, &store).await;
    assert_eq!(prune(&store, 9).await.runs, 2, "now there is one that stands for both");
}

#[apply(behaviour!)]
async fn what_is_recent_or_open_stays(db: &dyn Fixture) {
    let store = expanded(db).await;
    for (n, state) in RunState::ALL.iter().copied().enumerate() {
        let run = create(&store, JobKind::Hash, plan(Some(&format!("p{n}")))).await;
        if state.successors().contains(&RunState::Cancelled) {
            end(db, run.id, state).await;
        } else {
            set_run_state(db, run.id, state).await;
            db.execute(&format!(
                "UPDATE reelshift_runs SET finished_at = CURRENT_TIMESTAMP WHERE id = '{}'",
                run.id
            ))
            .await;
        }
    }
    let run = running_batches(&store, JobKind::Backfill, 1).await;
    let batch = claim_one(&store, worker(&store).await, JobKind::Backfill).await;
    store.finish(&[Finished { lease: batch.lease, last_error_id: None }]).await.expect("it ends");
    assert_eq!(store.settle(run.id).await.expect("settles"), RunState::Sweeping);
    assert_eq!(store.prunable(AGE).await.expect("told").removable, Pruned::default());
    assert_eq!(prune(&store, 100).await, Pruned::default());
    assert_eq!(db.count("FROM reelshift_runs").await, RunState::ALL.len() as u64 + 1);
    assert_eq!(db.count("FROM reelshift_batches").await, 1);
}

/// A run that ended with `ids` in quarantine.
async fn with_quarantine(db: &dyn Fixture, store: &SharedStore, ids: &[&str]) -> Uuid {
    let run = running(store, JobKind::Hash, plan(None), &[items(ids)]).await;
    let batch = claim_one(store, worker(store).await, JobKind::Hash).await;
    finish_without(store, &batch, ids).await;
    end(db, run.id, RunState::Done).await;
    run.id
}

#[apply(behaviour!)]
async fn a_run_with_items_in_quarantine_stays(db: &dyn Fixture) {
    let store = expanded(db).await;
    insert(db, &videos(2)).await;
    with_quarantine(db, &store, &["v0001", "v0002"]).await;
    db.execute("UPDATE videos SET file_hash = 'h' WHERE id = 'v0001'").await;
    let told = store.prunable(AGE).await.expect("told");
    assert_eq!(told.kept_for_quarantine, 1);
    assert_eq!(
        (told.removable.runs, told.removable.batches, told.removable.quarantined),
        (0, 0, 1)
    );
    assert_eq!(prune(&store, 9).await, Pruned { quarantined: 1, ..Pruned::default() });
    let left = db.value("video_id", "FROM reelshift_quarantine").await;
    assert_eq!(left.as_deref(), Some("v0002"));
    assert_eq!(db.count("FROM reelshift_batches").await, 1);
}

#[apply(behaviour!)]
async fn resolved_quarantine_goes(db: &dyn Fixture) {
    let store = expanded(db).await;
    insert(db, &videos(3)).await;
    with_quarantine(db, &store, &["v0001", "v0002"]).await;
    newer(db, &store).await;
    db.execute("UPDATE videos SET file_hash = 'h' WHERE id = 'v0001'").await;
    db.execute("DELETE FROM videos WHERE id = 'v0002'").await;
    let told = store.prunable(AGE).await.expect("told");
    let expected = Pruned { runs: 1, batches: 1, quarantined: 2, workers: 0, differences: 0 };
    assert_eq!((told.removable, told.kept_for_quarantine), (expected, 0));
    assert_eq!(prune(&store, 1).await, expected);
    assert_eq!(db.count("FROM reelshift_quarantine").await, 0);
}

#[apply(behaviour!)]
async fn the_audit_stays(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = running_batches(&store, JobKind::Hash, 1).await;
    store.cancel_run(run.id, Some("wrong"), "ops").await.expect("cancelled");
    let setting = ControlSetting {
        name: "lock_waits".into(),
        value: Some("3".into()),
        reason: None,
        lasts: None,
        expected: None,
    };
    store.set_controls(&[setting], "ops").await.expect("set");
    end(db, run.id, RunState::Cancelled).await;
    assert_eq!(prune(&store, 100).await.runs, 1);
    let changes = commands(&store).await;
    assert_eq!(changes.len(), 2);
    assert_eq!(changes[1].event.run(), Some(run.id), "also of a run that is gone");
}
