//! What the throttle listens to.

use std::time::Duration;

use macro_rules_attribute::apply;
use reelshift_store::StoreError;
use reelshift_store::ledger::{Membership, WorkerActivity};
use reelshift_store::signals::Figure;

use crate::Fixture;
use crate::arrange::{eventually, expanded, worker};

fn known(figure: &Figure) -> f64 {
    figure.value().unwrap_or_else(|| panic!("{figure:?}"))
}

#[apply(behaviour!)]
async fn a_server_tells_its_strain(db: &dyn Fixture) {
    let store = db.store().await;
    let signals = store.server_signals().await.expect("it is read");
    assert!(!signals.host.is_empty() && !signals.host.contains('@'), "{signals:?}");
    let figures = [&signals.threads_running, &signals.history_length, &signals.lock_waits];
    if store.address().system.is_embedded() {
        assert!(figures.iter().all(|figure| figure.value().is_none()), "{signals:?}");
        assert_eq!(store.threads_running().await.expect("asked"), signals.threads_running);
    } else {
        assert!(figures.iter().all(|figure| known(figure) >= 0.0), "{signals:?}");
        assert!(signals.processors.is_some_and(|count| count > 0), "{signals:?}");
    }
    // The server of the tests runs on the tests' machine.
    assert!(known(&signals.free_disk) > 0.0, "{signals:?}");
    eventually("the database's clock to move on", async || {
        (store.server_signals().await.expect("it is read").at > signals.at).then_some(())
    })
    .await;
}

#[apply(behaviour!)]
async fn running_statements_are_counted_without_the_one_that_asks(db: &dyn Fixture) {
    let store = db.store().await;
    if store.address().system.is_embedded() {
        return;
    }
    // Other tests use the same server: at some moment all of them are between statements.
    eventually("a quiet moment", async || {
        let running = known(&store.threads_running().await.expect("asked"));
        (running < 0.5).then_some(())
    })
    .await;
    let busy = db.execute("SELECT SLEEP(1)");
    let seen = eventually("a busy moment", async || {
        let running = known(&store.threads_running().await.expect("asked"));
        (running >= 1.0).then_some(running)
    });
    let ((), seen) = futures::join!(busy, seen);
    assert!(seen >= 1.0);
}

#[apply(behaviour!)]
async fn waits_for_row_locks_are_counted(db: &dyn Fixture) {
    if !db.row_locks() {
        return;
    }
    crate::arrange::insert(db, &crate::arrange::videos(1)).await;
    let store = db.store().await;
    let waits = async || known(&store.server_signals().await.expect("it is read").lock_waits);
    let held = db.hold("UPDATE videos SET fps = 1").await;
    let waiting = db.execute("UPDATE videos SET fps = 2");
    let release = async {
        eventually("a wait for the row", async || (waits().await >= 1.0).then_some(())).await;
        held.release().await;
    };
    futures::join!(waiting, release);
}

#[apply(behaviour!)]
async fn live_workers_say_what_they_would_do_at_once(db: &dyn Fixture) {
    let store = expanded(db).await;
    let none = store.fleet_signals().await.expect("it is read");
    assert_eq!((none.workers, none.capacity, none.chunk_seconds), (0, 0, None));
    let ids = [worker(&store).await, worker(&store).await, worker(&store).await];
    for (id, (capacity, chunk_seconds)) in
        ids.into_iter().zip([(2, Some(0.02)), (3, None), (4, Some(0.04))])
    {
        let activity = WorkerActivity { capacity, chunk_seconds, ..WorkerActivity::default() };
        assert_eq!(store.heartbeat(id, &activity).await.expect("it lives"), Membership::Live);
    }
    let three = store.fleet_signals().await.expect("it is read");
    assert_eq!((three.workers, three.capacity), (3, 9));
    assert!(three.chunk_seconds.is_some_and(|mean| (mean - 0.03).abs() < 1e-9), "{three:?}");
    store.deregister_worker(ids[2]).await.expect("it leaves");
    let two = store.fleet_signals().await.expect("it is read");
    assert_eq!((two.workers, two.capacity, two.chunk_seconds), (2, 5, Some(0.02)));
}

#[apply(behaviour!)]
async fn a_canary_beats_while_its_duty_is_held(db: &dyn Fixture) {
    let store = expanded(db).await;
    crate::arrange::insert(db, &crate::arrange::videos(1)).await;
    let timeout = Duration::from_secs(3);
    let take = async |holder| store.take_duty("canary", holder, timeout).await.expect("asked");
    let lease = take("one").await.expect("nobody has it");
    let canary = store.canary(&lease).await.expect("it is opened");
    assert_eq!(canary.is_none(), store.address().system.is_embedded(), "{canary:?}");
    let Some(mut canary) = canary else { return };
    assert!(canary.beat().await.expect("it beats") > Duration::ZERO);
    assert!(known(&canary.threads_running().await.expect("asked")) >= 0.0);
    // A beat is one of its duty.
    assert_eq!(take("another").await, None);
    store.release_duty(&lease).await.expect("given back");
    let error = canary.beat().await.expect_err("the duty is nobody's");
    assert!(matches!(error, StoreError::LeaseLost), "{error:?}");
}

#[apply(behaviour!)]
async fn a_query_of_the_operators_returns_one_number(db: &dyn Fixture) {
    let store = db.store().await;
    crate::arrange::insert(db, &crate::arrange::videos(3)).await;
    for (sql, value) in [
        ("SELECT COUNT(*) FROM videos", Some(3.0)),
        ("SELECT 2.5", Some(2.5)),
        ("SELECT MAX(file_size) FROM videos WHERE 1 = 0", None),
    ] {
        assert_eq!(store.signal_query(sql).await.expect(sql), value, "{sql}");
    }
    for sql in
        ["DELETE FROM videos", "SELECT no_such_column FROM videos", "SELECT 1) UNION (SELECT"]
    {
        store.signal_query(sql).await.expect_err(sql);
    }
    assert_eq!(db.count("FROM videos").await, 3);
}

#[apply(behaviour!)]
async fn videos_are_read_in_chunks_before_the_first_phase(db: &dyn Fixture) {
    let store = db.store().await;
    crate::arrange::insert(db, &crate::arrange::videos(7)).await;
    let (mut after, mut rows) = (None, Vec::new());
    while let Some(chunk) = store.read_chunk(after.as_deref(), 3).await.expect("read") {
        rows.push(chunk.rows);
        assert!(after < Some(chunk.upto.clone()), "{chunk:?}");
        after = Some(chunk.upto);
    }
    let is_embedded = store.address().system.is_embedded();
    assert_eq!(rows, if is_embedded { vec![] } else { vec![3, 3, 1] });
}
