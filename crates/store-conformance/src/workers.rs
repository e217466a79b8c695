//! Workers: heartbeats, reaping, leaving.

use std::time::Duration;

use futures::future::join_all;
use macro_rules_attribute::apply;
use reelshift_plan::{BatchState, JobKind, WorkerState};
use reelshift_store::SharedStore;
use reelshift_store::ledger::{Finished, Membership, NewWorker, WorkerActivity};
use reelshift_store::report::WorkerReport;
use tokio::time::Instant;
use uuid::Uuid;

use crate::Fixture;
use crate::arrange::{
    batch_states, claim_one, error, eventually, expanded, reap_all, running_batches, steadily,
    worker,
};

/// What `status` says of a worker.
async fn report(store: &SharedStore, worker: Uuid) -> WorkerReport {
    let snapshot = store.ledger_report(10).await.expect("a report");
    snapshot.workers.into_iter().find(|report| report.id == worker).expect("the worker is reported")
}

fn activity(doing: &str) -> WorkerActivity {
    WorkerActivity {
        doing: doing.to_owned(),
        rows_done: 3_000_000_000,
        bytes_done: 7_000_000_000_000,
        rows_per_second: 1_234.5,
        bytes_per_second: 2.5e9,
        capacity: 4,
        chunk_seconds: Some(0.018),
        controls_seen: 5_000_000_000,
        writes_refused: 2,
    }
}

#[apply(behaviour!)]
async fn a_worker_registers_and_says_what_it_does(db: &dyn Fixture) {
    let store = expanded(db).await;
    let id = worker(&store).await;
    let new = report(&store, id).await;
    assert_eq!((new.host.as_str(), new.pid, new.version.as_str()), ("node-1", 4_711, "0.1.0"));
    assert_eq!(
        (new.state, new.leases, &new.activity),
        (WorkerState::Live, 0, &WorkerActivity::default())
    );
    assert_eq!(
        store.heartbeat(id, &activity("hashing 'clip' 🎬")).await.expect("it lives"),
        Membership::Live
    );
    let now = report(&store, id).await;
    assert_eq!(now.activity, activity("hashing 'clip' 🎬"));
    assert_eq!(now.started_at, new.started_at);
}

#[apply(behaviour!)]
async fn a_heartbeat_renews_the_time_it_was_seen(db: &dyn Fixture) {
    let store = expanded(db).await;
    let id = worker(&store).await;
    let silent = eventually("a second of silence", async || {
        let seen = report(&store, id).await.seen_seconds_ago;
        (seen > 1.0).then_some(seen)
    })
    .await;
    store.heartbeat(id, &activity("working")).await.expect("it lives");
    assert!(report(&store, id).await.seen_seconds_ago < silent);
}

/// Only another worker marks it as lost in the ledger.
#[apply(behaviour!)]
async fn whoever_is_silent_for_long_is_reported_as_lost(db: &dyn Fixture) {
    let store = expanded(db).await;
    let (silent, live) = (worker(&store).await, worker(&store).await);
    store.heartbeat(silent, &activity("working")).await.expect("it lives");
    db.execute(&format!(
        "UPDATE reelshift_workers SET last_seen_at = '2026-01-02 03:04:05.678' WHERE id = '{silent}'"
    ))
    .await;
    let listed = async |state| {
        let workers = store.workers(Some(state), None, 10).await.expect("read");
        workers.into_iter().map(|worker| (worker.id, worker.state)).collect::<Vec<_>>()
    };
    assert_eq!(listed(WorkerState::Live).await, [(live, WorkerState::Live)]);
    assert_eq!(listed(WorkerState::Lost).await, [(silent, WorkerState::Lost)]);
    assert_eq!(listed(WorkerState::Left).await, []);
    let snapshot = store.ledger_report(10).await.expect("a report");
    assert!(snapshot.workers.iter().all(|worker| worker.id == live), "it was long ago");
    store.heartbeat(silent, &activity("working")).await.expect("it lives");
    assert_eq!(report(&store, silent).await.state, WorkerState::Live);
}

#[apply(behaviour!)]
async fn leases_of_a_silent_worker_become_pending(db: &dyn Fixture) {
    let store = expanded(db).await;
    running_batches(&store, JobKind::Hash, 4).await;
    let silent = worker(&store).await;
    let claimed = store.claim(silent, JobKind::Hash, 3).await.expect("a claim");
    assert_eq!(claimed.len(), 3);
    assert_eq!(reap_all(&store).await, 3);
    assert_eq!(batch_states(db).await, ["pending"; 4]);
    assert_eq!(report(&store, silent).await.state, WorkerState::Lost);
    assert_eq!(store.reap(Duration::from_millis(300)).await.expect("nothing is left"), 0);
    let again = claim_one(&store, worker(&store).await, JobKind::Hash).await;
    assert_eq!((again.id, again.attempts), (claimed[0].id, 0), "a lost lease is no failed attempt");
}

#[apply(behaviour!)]
async fn a_lost_lease_says_who_took_it_over(db: &dyn Fixture) {
    let store = expanded(db).await;
    running_batches(&store, JobKind::Hash, 2).await;
    let silent = worker(&store).await;
    let lost = store.claim(silent, JobKind::Hash, 2).await.expect("a claim");
    assert_eq!(store.ledger_report(1).await.expect("a report").lost_leases, []);
    assert_eq!(reap_all(&store).await, 2);
    let heir = worker(&store).await;
    let taken = claim_one(&store, heir, JobKind::Hash).await;
    // As where the clock has not moved between the two.
    db.execute(
        "UPDATE reelshift_lost_leases SET lost_at = \
         (SELECT MAX(leased_at) FROM reelshift_batches)",
    )
    .await;

    let told = async || {
        let snapshot = store.ledger_report(1).await.expect("a report");
        let mut told = snapshot.lost_leases;
        told.sort_by_key(|lease| lease.batch_seq);
        assert!(told.iter().all(|lease| lease.worker == silent && lease.lost_at <= snapshot.at));
        told.into_iter()
            .map(|lease| (lease.batch, lease.taken_over_by, lease.state))
            .collect::<Vec<_>>()
    };
    let waits = (lost[1].id, None, BatchState::Pending);
    assert_eq!(told().await, [(taken.id, Some(heir), BatchState::Leased), waits]);
    let done = Finished { lease: taken.lease, last_error_id: None };
    assert_eq!(store.finish(&[done]).await.expect("it ends"), 1);
    let finished = (taken.id, Some(heir), BatchState::Done);
    assert_eq!(told().await, [finished, waits], "it is known afterwards too");

    // Whoever lost it may get it again, and ends it.
    store.heartbeat(silent, &activity("back")).await.expect("it is back");
    let again = claim_one(&store, silent, JobKind::Hash).await;
    let failed = error("broken", None, again.id);
    store.fail_attempt(again.lease, false, Duration::ZERO, &failed).await.expect("it fails");
    assert_eq!(told().await, [finished, (again.id, Some(silent), BatchState::Failed)]);
}

#[apply(behaviour!)]
async fn a_reaped_worker_is_told_so_once(db: &dyn Fixture) {
    let store = expanded(db).await;
    running_batches(&store, JobKind::Hash, 1).await;
    let lost = worker(&store).await;
    claim_one(&store, lost, JobKind::Hash).await;
    reap_all(&store).await;
    assert_eq!(
        store.heartbeat(lost, &activity("back")).await.expect("it is back"),
        Membership::WasLost
    );
    assert_eq!(report(&store, lost).await.state, WorkerState::Live);
    assert_eq!(
        store.heartbeat(lost, &activity("back")).await.expect("it lives again"),
        Membership::Live
    );
    claim_one(&store, lost, JobKind::Hash).await;
    assert_eq!(report(&store, lost).await.leases, 1);
}

#[apply(behaviour!)]
async fn a_live_worker_keeps_its_leases(db: &dyn Fixture) {
    let store = expanded(db).await;
    running_batches(&store, JobKind::Hash, 2).await;
    let (live, silent) = (worker(&store).await, worker(&store).await);
    let kept = claim_one(&store, live, JobKind::Hash).await;
    let lost = claim_one(&store, silent, JobKind::Hash).await;
    // Its heartbeat has just come, however long the machine stands still.
    db.execute(&format!(
        "UPDATE reelshift_workers SET last_seen_at = '2037-01-01 00:00:00.000' WHERE id = '{live}'"
    ))
    .await;
    assert_eq!(reap_all(&store).await, 1);
    let leased =
        db.rows(&["id", "leased_by"], "FROM reelshift_batches WHERE state = 'leased'").await;
    assert_eq!(leased, [[Some(kept.id.to_string()), Some(live.to_string())]]);
    assert_ne!(kept.id, lost.id);
}

#[apply(behaviour!)]
async fn a_worker_that_was_just_seen_is_not_reaped(db: &dyn Fixture) {
    let store = expanded(db).await;
    running_batches(&store, JobKind::Hash, 1).await;
    claim_one(&store, worker(&store).await, JobKind::Hash).await;
    assert_eq!(store.reap(Duration::from_secs(600)).await.expect("workers are reaped"), 0);
    assert_eq!(batch_states(db).await, ["leased"]);
}

#[apply(behaviour!)]
async fn nobody_reaps_before_its_own_connection_is_old_enough(db: &dyn Fixture) {
    let store = expanded(db).await;
    running_batches(&store, JobKind::Hash, 1).await;
    let silent = worker(&store).await;
    claim_one(&store, silent, JobKind::Hash).await;
    eventually("two seconds of silence", async || {
        (report(&store, silent).await.seen_seconds_ago > 2.0).then_some(())
    })
    .await;
    let timeout = Duration::from_secs(2);
    let born = Instant::now();
    let newcomer = db.store().await;
    let early = newcomer.reap(timeout).await.expect("workers are reaped");
    // A machine that stood still for longer than the timeout proves nothing.
    if born.elapsed() >= timeout {
        return;
    }
    assert_eq!(early, 0, "the database was just away");
    assert_eq!(batch_states(db).await, ["leased"]);
    let reaped = eventually("the newcomer to grow old", async || {
        let reaped = newcomer.reap(timeout).await.expect("workers are reaped");
        (reaped > 0).then_some(reaped)
    })
    .await;
    assert_eq!(reaped, 1);
}

#[apply(behaviour!)]
async fn reapers_at_once_count_each_batch_once(db: &dyn Fixture) {
    const BATCHES: u64 = 30;
    let store = expanded(db).await;
    running_batches(&store, JobKind::Hash, 30).await;
    for _ in 0..3 {
        store.claim(worker(&store).await, JobKind::Hash, 10).await.expect("a claim");
    }
    assert_eq!(batch_states(db).await, ["leased"; 30]);
    let other = db.store().await;
    let reapers = (0..6).map(|n| {
        let store = if n % 2 == 0 { store.clone() } else { other.clone() };
        async move {
            let mut mine = 0;
            eventually("everything to be reaped", async || {
                mine += steadily("reaping", async || store.reap(Duration::from_millis(300)).await)
                    .await;
                (db.count("FROM reelshift_batches WHERE state = 'leased'").await == 0).then_some(())
            })
            .await;
            mine
        }
    });
    let counts = join_all(reapers).await;
    assert_eq!(counts.iter().sum::<u64>(), BATCHES, "{counts:?}");
}

#[apply(behaviour!)]
async fn a_worker_that_leaves_gives_back_what_it_held(db: &dyn Fixture) {
    let store = expanded(db).await;
    running_batches(&store, JobKind::Hash, 4).await;
    let (leaving, staying) = (worker(&store).await, worker(&store).await);
    let failed = claim_one(&store, leaving, JobKind::Hash).await;
    let error = error("broken", None, failed.id);
    store.fail_attempt(failed.lease, false, Duration::ZERO, &error).await.expect("it fails");
    store.claim(leaving, JobKind::Hash, 2).await.expect("a claim");
    claim_one(&store, staying, JobKind::Hash).await;
    assert_eq!(report(&store, leaving).await.leases, 2);
    store.deregister_worker(leaving).await.expect("it leaves");
    assert_eq!(batch_states(db).await, ["failed", "pending", "pending", "leased"]);
    assert_eq!(report(&store, leaving).await.state, WorkerState::Left);
    assert_eq!(report(&store, staying).await.state, WorkerState::Live);
    let again = store.claim(staying, JobKind::Hash, 5).await.expect("at once");
    assert_eq!(again.iter().map(|batch| batch.attempts).collect::<Vec<_>>(), [0, 0]);
}

#[apply(behaviour!)]
async fn a_worker_that_is_not_registered_is_unknown(db: &dyn Fixture) {
    let store = expanded(db).await;
    let id = Uuid::new_v4();
    let before = db.contents("reelshift_workers").await;
    let membership = store.heartbeat(id, &activity("back")).await.expect("an answer");
    assert_eq!(membership, Membership::Unknown);
    assert_eq!(db.contents("reelshift_workers").await, before, "nothing was written");
    let new = NewWorker { id, host: "n".to_owned(), pid: 1, version: "0".to_owned() };
    // An answer may be lost: then it is said again.
    for _ in 0..2 {
        store.register_worker(&new).await.expect("it registers");
    }
    assert_eq!(store.heartbeat(id, &activity("x")).await.expect("it lives"), Membership::Live);
}

#[apply(behaviour!)]
async fn a_worker_can_tell_what_the_ledger_says_it_leases(db: &dyn Fixture) {
    let store = expanded(db).await;
    running_batches(&store, JobKind::Hash, 4).await;
    let (one, other) = (worker(&store).await, worker(&store).await);
    let claimed = store.claim(one, JobKind::Hash, 3).await.expect("a claim");
    claim_one(&store, other, JobKind::Hash).await;
    let done = Finished { lease: claimed[0].lease, last_error_id: None };
    store.finish(&[done]).await.expect("it ends");
    let mut leases = store.leases_of(one).await.expect("its leases");
    leases.sort_by_key(|lease| lease.seq);
    assert_eq!(leases, [claimed[1].lease, claimed[2].lease]);
    // What it does not know of goes back, with no attempt counted.
    assert_eq!(store.release(&leases[..1]).await.expect("given back"), 1);
    assert_eq!(store.leases_of(one).await.expect("its leases"), leases[1..]);
    let again = claim_one(&store, other, JobKind::Hash).await;
    assert_eq!((again.id, again.attempts, again.lost_leases), (claimed[1].id, 0, 0));
}
