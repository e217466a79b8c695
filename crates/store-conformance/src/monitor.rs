//! The specification's monitor and the throttle, as the ledger report shows them.

use std::time::Duration;

use macro_rules_attribute::apply;
use reelshift_plan::JobKind;
use reelshift_plan::throttle::{Level, MIN_CHUNKS, Reading, Signal, Throttle};
use reelshift_store::controls::{ControlSetting, ON, PAUSE};
use reelshift_store::ledger::WorkerActivity;
use reelshift_store::report::Monitor;
use reelshift_store::report::throttle::DUTY;
use uuid::Uuid;

use crate::Fixture;
use crate::arrange::{LONG, claimed, error, everything, expanded, insert, videos, worker};
use crate::videos::drain;

#[apply(behaviour!)]
async fn the_monitor_has_the_specifications_figures(db: &dyn Fixture) {
    insert(db, &videos(12)).await;
    let store = expanded(db).await;
    let none = store.ledger_report(10).await.expect("a report").monitor;
    assert_eq!(none, Monitor::default());

    // Two videos have a status row by the bridge, and need the backfill all the same.
    db.execute("UPDATE videos SET processing_status = 'processing' WHERE id <= 'v0002'").await;
    db.execute("UPDATE videos SET original_filename = NULL").await;
    let made = db.count("FROM video_processing_status").await;
    let batch = claimed(&store, JobKind::Backfill, everything()).await;
    assert_eq!(drain(&store, &batch, 5).await, 12);
    let id = batch.lease;
    store
        .fail_attempt(id, true, LONG, &error("broken", None, batch.id))
        .await
        .expect("it failed after all");
    let monitor = store.ledger_report(10).await.expect("a report").monitor;
    assert_eq!(monitor.videos_migrated, 12);
    assert_eq!(monitor.processing_status_created, 12 - made, "those that were not there");
    assert_eq!(monitor.errors_encountered, 1);
    assert_eq!(monitor.error_rate_of, Some(JobKind::Backfill));
    assert!((monitor.error_rate - 1.0 / 13.0).abs() < 1e-9, "{monitor:?}");
    assert!((0.0..600.0).contains(&monitor.elapsed_seconds), "{monitor:?}");
    assert_eq!(monitor.estimated_completion_seconds, None, "nothing moves");

    let busy = worker(&store).await;
    let activity = WorkerActivity { rows_per_second: 4.0, ..WorkerActivity::default() };
    store.heartbeat(busy, &activity).await.expect("it lives");
    let left =
        store.ledger_report(10).await.expect("a report").monitor.estimated_completion_seconds;
    assert!(left.is_some(), "the run goes on, and rows are written");
    let (name, value) = (PAUSE.to_owned(), Some(ON.to_owned()));
    let pause = ControlSetting { name, value, reason: None, lasts: None, expected: None };
    store.set_controls(&[pause], "ops").await.expect("it is paused");
    let left =
        store.ledger_report(10).await.expect("a report").monitor.estimated_completion_seconds;
    assert_eq!(left, None, "nothing ends while the fleet is paused");
}

#[apply(behaviour!)]
async fn notifications_are_counted_as_far_as_a_look_may_cost(db: &dyn Fixture) {
    let store = expanded(db).await;
    let most = Monitor::MAX_COUNTED_NOTIFICATIONS;
    let rows = |first: u32, count: u32| {
        let rows: Vec<_> = (first..first + count)
            .map(|n| format!("('{}', 'upload_progress', '{{}}')", Uuid::from_u128(n.into())))
            .collect();
        format!(
            "INSERT INTO realtime_notification_queue (id, event_type, event_data) VALUES {}",
            rows.join(", ")
        )
    };
    db.execute(&rows(0, 7)).await;
    let monitor = store.ledger_report(1).await.expect("a report").monitor;
    assert_eq!((monitor.notifications_queued, monitor.notifications_queued_or_more), (7, false));
    db.execute(&rows(7, most - 6)).await;
    let monitor = store.ledger_report(1).await.expect("a report").monitor;
    assert_eq!(monitor.notifications_queued, u64::from(most));
    assert!(monitor.notifications_queued_or_more);
}

#[apply(behaviour!)]
async fn a_snapshot_shows_what_the_throttle_published(db: &dyn Fixture) {
    let store = expanded(db).await;
    assert_eq!(store.ledger_report(1).await.expect("a report").throttle, None, "nobody to brake");
    worker(&store).await;
    let report =
        store.ledger_report(1).await.expect("a report").throttle.expect("a worker is there");
    assert_eq!((report.level, report.chunks), (Level::Blind, MIN_CHUNKS), "nothing is published");

    let at = store.server_signals().await.expect("it is read").at;
    let lag = Reading::new(Signal::ReplicaLag, "db-2", 7.1, 5.0);
    let unavailable = vec!["free disk: it is on another machine".to_owned()];
    let state = Throttle::default().step(vec![lag.clone()], unavailable, 8, Duration::ZERO, at);
    let json = serde_json::to_value(&state).expect("JSON");
    let lease = store.take_duty(DUTY, "node-1", LONG).await.expect("asked").expect("free");
    store.beat_duty(&lease, Some(&json)).await.expect("published");
    let report = store.ledger_report(1).await.expect("a report").throttle.expect("a report");
    assert_eq!((report.level, report.at_once, report.share), (Level::Stopped, 0, 0.0));
    assert_eq!(report.reason.as_deref(), Some("replica lag 7.1 s > 5.0 s on db-2"));
    assert_eq!((report.since, report.sampler.as_deref()), (Some(state.since), Some("node-1")));
    assert_eq!((report.readings, report.unavailable), (vec![lag], state.unavailable));
    assert!(report.sampled_seconds_ago.is_some_and(|ago| (0.0..60.0).contains(&ago)));
}
