//! Duties: one holder, fenced, taken over when it falls silent.

use std::time::Duration;

use futures::future::join_all;
use macro_rules_attribute::apply;
use reelshift_store::duties::{Duty, DutyLease};
use reelshift_store::{SharedStore, StoreError};
use serde_json::json;
use tokio::time::Instant;

use crate::Fixture;
use crate::arrange::{LONG, eventually, expanded, steadily};

/// Short enough to be waited for, long enough for a statement of a loaded machine.
const SILENCE: Duration = Duration::from_millis(400);

async fn take(store: &SharedStore, name: &str, holder: &str) -> Option<DutyLease> {
    store.take_duty(name, holder, LONG).await.expect("asked")
}

async fn taken(store: &SharedStore, name: &str, holder: &str) -> DutyLease {
    take(store, name, holder).await.expect("nobody has it")
}

async fn duty(store: &SharedStore, name: &str) -> Duty {
    let duties = store.duties().await.expect("read");
    duties.into_iter().find(|duty| duty.name == name).expect("the duty is there")
}

#[apply(behaviour!)]
async fn a_duty_has_one_holder(db: &dyn Fixture) {
    let store = expanded(db).await;
    assert_eq!(store.duties().await.expect("read"), []);
    let lease = taken(&store, "watch", "first@host").await;
    let before = db.contents("reelshift_duties").await;
    assert_eq!(take(&store, "watch", "second@host").await, None);
    assert_eq!(take(&db.store().await, "watch", "first@host").await, None, "not even itself");
    assert_eq!(db.contents("reelshift_duties").await, before, "a refusal writes nothing");
    store.beat_duty(&lease, None).await.expect("it is still the first's");
    let duty = duty(&store, "watch").await;
    assert_eq!((duty.holder.as_deref(), duty.state), (Some("first@host"), None));
    assert!((0.0..60.0).contains(&duty.silent_seconds));
}

#[apply(behaviour!)]
async fn many_at_once_one_gets_the_duty(db: &dyn Fixture) {
    let store = expanded(db).await;
    let stores = [store.clone(), db.store().await, db.store().await];
    for round in ["new", "given back"] {
        let calls =
            (0..12).map(|n| {
                let store = stores[n % 3].clone();
                async move {
                    steadily("a duty", async || store.take_duty("watch", "one", LONG).await).await
                }
            });
        let granted: Vec<_> = join_all(calls).await.into_iter().flatten().collect();
        assert_eq!(granted.len(), 1, "{round}");
        store.release_duty(&granted[0]).await.expect("given back");
    }
}

#[apply(behaviour!)]
async fn a_silent_holder_loses_its_duty_and_says_nothing_more(db: &dyn Fixture) {
    let store = expanded(db).await;
    let old = taken(&store, "watch", "old").await;
    store.beat_duty(&old, Some(&json!({ "share": 1 }))).await.expect("it beats");
    let new = eventually("the duty of a silent holder", async || {
        store.take_duty("watch", "new", SILENCE).await.expect("asked")
    })
    .await;
    let before = db.contents("reelshift_duties").await;
    let beat = store.beat_duty(&old, Some(&json!({ "share": 0 }))).await;
    assert!(matches!(beat, Err(StoreError::LeaseLost)), "{beat:?}");
    store.release_duty(&old).await.expect("nothing to give back");
    assert_eq!(db.contents("reelshift_duties").await, before, "the old holder writes nothing");
    store.beat_duty(&new, None).await.expect("the new holder has it");
    assert_eq!(
        duty(&store, "watch").await.state,
        Some(json!({ "share": 1 })),
        "what was said stays"
    );
}

#[apply(behaviour!)]
async fn a_holder_that_beats_keeps_its_duty(db: &dyn Fixture) {
    let store = expanded(db).await;
    let lease = taken(&store, "watch", "first").await;
    let began = Instant::now();
    while began.elapsed() < SILENCE * 4 {
        let beat = Instant::now();
        store.beat_duty(&lease, None).await.expect("it beats");
        let other = store.take_duty("watch", "second", SILENCE).await.expect("asked");
        // A machine that stood still for longer than the silence proves nothing.
        if beat.elapsed() >= SILENCE {
            return;
        }
        assert_eq!(other, None);
        tokio::time::sleep(SILENCE / 8).await;
    }
}

#[apply(behaviour!)]
async fn a_released_duty_is_taken_at_once(db: &dyn Fixture) {
    let store = expanded(db).await;
    let first = taken(&store, "watch", "first").await;
    store.release_duty(&first).await.expect("given back");
    assert_eq!(duty(&store, "watch").await.holder, None);
    let second = taken(&store, "watch", "second").await;
    assert_ne!(first.token, second.token);
    let beat = store.beat_duty(&first, None).await;
    assert!(matches!(beat, Err(StoreError::LeaseLost)), "{beat:?}");
}

#[apply(behaviour!)]
async fn what_a_holder_says_is_read_by_all(db: &dyn Fixture) {
    let store = expanded(db).await;
    let lease = taken(&store, "throttle", "first").await;
    let said =
        json!({ "share": 0.25, "reason": "replica lag 7.1 s > 5.0 s on db-2, it's \"late\"" });
    store.beat_duty(&lease, Some(&said)).await.expect("it beats");
    store.beat_duty(&lease, None).await.expect("it beats");
    assert_eq!(duty(&db.store().await, "throttle").await.state, Some(said));
}

#[apply(behaviour!)]
async fn duties_do_not_know_each_other(db: &dyn Fixture) {
    let store = expanded(db).await;
    let one = taken(&store, "watch", "first").await;
    let other = taken(&store, "throttle", "second").await;
    store.release_duty(&one).await.expect("given back");
    store.beat_duty(&other, None).await.expect("the other is kept");
    let names: Vec<_> =
        store.duties().await.expect("read").into_iter().map(|duty| duty.name).collect();
    assert_eq!(names, ["throttle", "watch"]);
}
