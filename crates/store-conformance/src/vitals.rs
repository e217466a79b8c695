//! What metrics tell of the queue and of the connections.

use std::time::Duration;

use macro_rules_attribute::apply;
use reelshift_plan::{JobKind, RunState};
use reelshift_store::SharedStore;
use reelshift_store::notifications::{DueNotifications, NewNotification, Target};
use reelshift_store::vitals::QueueDepth;

use crate::Fixture;
use crate::arrange::{
    LONG, claim_one, error, eventually, expanded, running_batches, set_run_state, worker,
};

async fn depth(store: &SharedStore, kind: JobKind) -> QueueDepth {
    let depths = store.queue_depths().await.expect("the queue is read");
    depths.into_iter().find(|depth| depth.kind == kind).expect("each kind is told")
}

#[apply(behaviour!)]
async fn pending_batches_of_active_runs_are_counted_by_kind(db: &dyn Fixture) {
    let store = expanded(db).await;
    assert_eq!(depth(&store, JobKind::Hash).await.pending, 0);
    assert!(depth(&store, JobKind::Hash).await.oldest_seconds.abs() < f64::EPSILON);
    let run = running_batches(&store, JobKind::Hash, 3).await;
    assert_eq!(depth(&store, JobKind::Hash).await.pending, 3);
    assert_eq!(depth(&store, JobKind::Backfill).await.pending, 0);
    let batch = claim_one(&store, worker(&store).await, JobKind::Hash).await;
    assert_eq!(depth(&store, JobKind::Hash).await.pending, 2, "one is leased");
    eventually("the others to grow old", async || {
        (depth(&store, JobKind::Hash).await.oldest_seconds > 0.05).then_some(())
    })
    .await;
    // A batch that waits for its next attempt is pending, and not yet due.
    let failure = error("database_deadlock", None, batch.id);
    let hour = Duration::from_hours(1);
    store.fail_attempt(batch.lease, true, hour, &failure).await.expect("it ends");
    assert_eq!(depth(&store, JobKind::Hash).await.pending, 3);
    set_run_state(db, run.id, RunState::Paused).await;
    assert_eq!(depth(&store, JobKind::Hash).await.pending, 0, "nobody can do them now");
}

#[apply(behaviour!)]
async fn pools_and_the_address_are_reported(db: &dyn Fixture) {
    let store = expanded(db).await;
    for pool in store.pools() {
        assert!(pool.idle <= pool.open && pool.open <= pool.max, "{pool:?}");
    }
    assert!(store.pools().iter().any(|pool| pool.open > 0), "{:?}", store.pools());
    let (server, address) = (store.server().await.expect("its name"), store.address());
    let product = server.split(' ').next().expect("a word").to_lowercase();
    assert_eq!(address.system.into_str(), product);
    assert!(!address.namespace.is_empty());
    assert_eq!(address.server.is_none(), address.system.is_embedded());
}

#[apply(behaviour!)]
async fn notifications_that_are_due_are_counted(db: &dyn Fixture) {
    let store = expanded(db).await;
    let due = async || store.due_notifications().await.expect("they are counted");
    assert_eq!(due().await, DueNotifications::default());
    for (id, priority, after) in [
        ("a", 1, Duration::ZERO),
        ("b", 1, Duration::ZERO),
        ("c", 7, Duration::ZERO),
        ("d", 1, LONG),
    ] {
        let new = NewNotification {
            id: id.to_owned(),
            event_type: "e".to_owned(),
            priority,
            to: Target { broadcast_to_all: true, ..Target::default() },
            event_data: serde_json::json!({}),
            event_metadata: None,
            max_attempts: 3,
            after,
            expires_in: Some(LONG),
        };
        store.queue_notification(&new, "ops@host").await.expect("it is queued");
    }
    assert_eq!(due().await.count, 3, "one is for later");
    let old = "process_after = '2026-01-02 03:04:05'";
    db.execute(&format!("UPDATE realtime_notification_queue SET {old} WHERE id = 'c'")).await;
    assert!(due().await.oldest_seconds > 3_600.0, "{:?}", due().await);
    let claimed = store.claim_notifications("d@host", LONG, 10).await.expect("a claim");
    assert_eq!((claimed.notifications.len(), due().await.count), (3, 0), "somebody has them");
}
