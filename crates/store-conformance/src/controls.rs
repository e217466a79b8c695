//! Controls of the fleet, their history, and what a worker sees of them.

use std::time::Duration;

use futures::future::join_all;
use macro_rules_attribute::apply;
use reelshift_plan::{JobKind, RunState, Tuning};
use reelshift_store::audit::{AuditEvent, Change};
use reelshift_store::controls::{ControlChange, ControlSetting, ON, PAUSE};
use reelshift_store::ledger::{NewWorker, WorkerActivity};
use reelshift_store::{SharedStore, StoreError};
use uuid::Uuid;

use crate::Fixture;
use crate::arrange::{commands, create, expanded, plan, set_run_state, steadily, worker};

fn setting(name: &str, value: Option<&str>, reason: Option<&str>) -> ControlSetting {
    ControlSetting {
        name: name.to_owned(),
        value: value.map(str::to_owned),
        reason: reason.map(str::to_owned),
        lasts: None,
        expected: None,
    }
}

async fn set(store: &SharedStore, settings: &[ControlSetting], by: &str) -> Vec<ControlChange> {
    store.set_controls(settings, by).await.expect("controls are set")
}

#[apply(behaviour!)]
async fn controls_are_stored_with_who_when_and_why(db: &dyn Fixture) {
    let store = expanded(db).await;
    assert_eq!(store.controls().await.expect("read"), []);
    let before = store.ledger_report(1).await.expect("a report").at;
    let why = "the backup runs, it's \"night\" 🎬";
    let changes = set(&store, &[setting(PAUSE, Some(ON), Some(why))], "ops é@host").await;
    let [change] = &changes[..] else { panic!("one change: {changes:?}") };
    assert_eq!((change.name.as_str(), &change.previous), (PAUSE, &None));
    assert_eq!((change.value.as_deref(), change.reason.as_deref()), (Some(ON), Some(why)));
    assert!((change.changed_at - before).num_seconds().abs() < 60, "the database's clock");
    let controls = store.controls().await.expect("read");
    let [control] = &controls[..] else { panic!("one control: {controls:?}") };
    assert_eq!((control.value.as_str(), control.reason.as_deref()), (ON, Some(why)));
    assert_eq!(
        (&control.changed_by, control.changed_at),
        (&"ops é@host".to_owned(), change.changed_at)
    );
    assert_eq!(commands(&store).await, [Change::from(change)]);

    let long = "x".repeat(300);
    let changes = set(&store, &[setting("lock_waits", Some(&long), None)], &long).await;
    assert_eq!(changes[0].value.as_ref().map(String::len), Some(255));
    assert_eq!(store.controls().await.expect("read")[0].changed_by.len(), 255);
}

#[apply(behaviour!)]
async fn several_controls_are_set_together_in_the_order_given(db: &dyn Fixture) {
    let store = expanded(db).await;
    let settings =
        [setting("lock_waits", Some("3"), None), setting("byte_rate", Some("1MiB"), None)];
    let changes = set(&store, &settings, "ops").await;
    let names: Vec<_> = changes.iter().map(|change| change.name.as_str()).collect();
    assert_eq!(names, ["lock_waits", "byte_rate"]);
    let stored = store.controls().await.expect("read");
    let names: Vec<_> = stored.iter().map(|control| control.name.as_str()).collect();
    assert_eq!(names, ["byte_rate", "lock_waits"], "by name");
}

#[apply(behaviour!)]
async fn a_control_of_no_value_is_the_default_again(db: &dyn Fixture) {
    let store = expanded(db).await;
    for (value, previous) in [(Some("3"), None), (Some("3"), Some("3")), (None, Some("3"))] {
        let changes = set(&store, &[setting("lock_waits", value, None)], "ops").await;
        assert_eq!(
            (changes[0].value.as_deref(), changes[0].previous.as_deref()),
            (value, previous)
        );
    }
    assert_eq!(store.controls().await.expect("read"), []);
    assert_eq!(commands(&store).await.len(), 3);
}

#[apply(behaviour!)]
async fn a_control_ends_by_itself(db: &dyn Fixture) {
    let store = expanded(db).await;
    let me = worker(&store).await;
    let hour = Duration::from_hours(1);
    let lasting = |name: &str, value: &str| ControlSetting {
        lasts: Some(hour),
        ..setting(name, Some(value), None)
    };
    let changes = set(&store, &[lasting(PAUSE, ON), lasting("lock_waits", "3")], "ops").await;
    let end = changes[0].ends_at.expect("it has an end");
    assert_eq!((end - changes[0].changed_at).to_std().expect("later"), hour);
    let view = store.fleet_view(me).await.expect("seen");
    assert_eq!(view.paused.expect("paused").ends_at, Some(end));
    assert_eq!(view.tuning.limits.lock_waits, 3);
    db.execute("UPDATE reelshift_controls SET ends_at = '2026-01-02 03:04:05.000'").await;
    assert_eq!(store.controls().await.expect("read"), []);
    let view = store.fleet_view(me).await.expect("seen");
    assert_eq!((view.paused, view.tuning), (None, Tuning::default()));
    // What has ended is the default, also to whoever expects something.
    let next = ControlSetting { expected: Some(None), ..setting("lock_waits", Some("4"), None) };
    let changes = set(&store, &[next], "ops").await;
    assert_eq!((&changes[0].previous, changes[0].ends_at), (&None, None));
    let left = store.controls().await.expect("read");
    assert_eq!(
        left.iter().map(|one| (&*one.value, one.ends_at)).collect::<Vec<_>>(),
        [("4", None)]
    );
}

#[apply(behaviour!)]
async fn the_newest_changes_of_controls_come_first(db: &dyn Fixture) {
    let store = expanded(db).await;
    for value in ["1", "2", "3"] {
        set(&store, &[setting("lock_waits", Some(value), None)], "ops").await;
    }
    let changes = commands(&store).await.into_iter().map(|change| change.event.columns().value);
    let values: Vec<_> = changes.collect();
    assert_eq!(values, ["3", "2", "1"].map(|value| Some(value.to_owned())));
}

#[apply(behaviour!)]
async fn a_worker_sees_the_fleet(db: &dyn Fixture) {
    let store = expanded(db).await;
    let me = worker(&store).await;
    let view = store.fleet_view(me).await.expect("seen");
    assert_eq!((&view.tuning, &view.paused, view.held.len()), (&Tuning::default(), &None, 0));
    assert_eq!((view.live, view.rank, view.duties.len()), (1, 0, 0));

    let settings = [
        setting("chunk_target", Some("7ms"), None),
        setting("of_a_later_version", Some("?"), None),
        setting(PAUSE, Some(ON), Some("a backup")),
    ];
    set(&store, &settings, "ops@host").await;
    for (n, state) in RunState::ALL.iter().copied().enumerate() {
        let run = create(&store, JobKind::Hash, plan(Some(&format!("p{n}")))).await;
        set_run_state(db, run.id, state).await;
    }
    db.execute(
        "UPDATE reelshift_runs SET finished_at = CURRENT_TIMESTAMP WHERE state = 'cancelled'",
    )
    .await;
    let long_ago = create(&store, JobKind::Hash, plan(Some("old"))).await.id;
    set_run_state(db, long_ago, RunState::Cancelled).await;
    db.execute(&format!(
        "UPDATE reelshift_runs SET finished_at = '2020-01-02 03:04:05.000' WHERE id = '{long_ago}'"
    ))
    .await;
    let lease = store.take_duty("throttle", "me", Duration::from_hours(1)).await.expect("asked");
    let said = serde_json::json!({ "share": 0.5 });
    store.beat_duty(&lease.expect("granted"), Some(&said)).await.expect("it beats");

    let view = store.fleet_view(me).await.expect("seen");
    assert_eq!(view.tuning.chunk_target, Duration::from_millis(7));
    let pause = view.paused.expect("the fleet is paused");
    assert_eq!(
        (pause.reason.as_deref(), pause.changed_by.as_str()),
        (Some("a backup"), "ops@host")
    );
    let mut held: Vec<_> = view.held.values().map(RunState::into_str).collect();
    held.sort_unstable();
    assert_eq!(held, ["cancelled", "paused"]);
    let [duty] = &view.duties[..] else { panic!("one duty: {:?}", view.duties) };
    assert_eq!((duty.name.as_str(), duty.holder.as_deref()), ("throttle", Some("me")));
    assert_eq!(duty.state, Some(said));
    assert!((0.0..60.0).contains(&duty.silent_seconds), "{duty:?}");
}

#[apply(behaviour!)]
async fn a_change_is_acknowledged_by_those_that_go_by_it(db: &dyn Fixture) {
    let store = expanded(db).await;
    let (one, other) = (worker(&store).await, worker(&store).await);
    assert_eq!(store.fleet_view(one).await.expect("seen").version, 0);
    assert_eq!(store.ledger_report(1).await.expect("a report").commands, []);
    set(&store, &[setting("lock_waits", Some("3"), Some("why"))], "ops").await;
    let first = store.fleet_view(one).await.expect("seen").version;
    assert!(first > 0);
    let run = create(&store, JobKind::Hash, plan(None)).await;
    store.pause_run(run.id, None, "ops").await.expect("paused");
    let second = store.fleet_view(one).await.expect("seen").version;
    assert!(second > first, "a run's state is a command too");
    for (worker, controls_seen) in [(one, second), (other, first)] {
        let activity = WorkerActivity { controls_seen, ..WorkerActivity::default() };
        steadily("a heartbeat", async || store.heartbeat(worker, &activity).await).await;
    }
    let commands = store.ledger_report(1).await.expect("a report").commands;
    let [pause, tuned] = &commands[..] else { panic!("two commands: {commands:?}") };
    assert_eq!((pause.version, pause.change.event.run()), (second, Some(run.id)));
    assert_eq!((pause.acknowledged, pause.live, &pause.waiting_for[..]), (1, 2, &[other][..]));
    assert_eq!((tuned.version, tuned.change.reason.as_deref()), (first, Some("why")));
    assert_eq!((tuned.acknowledged, tuned.live, tuned.waiting_for.len()), (2, 2, 0));
    store.deregister_worker(other).await.expect("it leaves");
    let commands = store.ledger_report(1).await.expect("a report").commands;
    assert_eq!((commands[0].acknowledged, commands[0].live), (1, 1), "who left is not waited for");
}

#[apply(behaviour!)]
async fn a_worker_is_told_to_drain(db: &dyn Fixture) {
    let store = expanded(db).await;
    let (told, other) = (worker(&store).await, worker(&store).await);
    assert_eq!(store.fleet_view(told).await.expect("seen").drained_by, None);
    store.drain_worker(told, Some("a new host"), "ops@host").await.expect("it is told");
    let by = |view: reelshift_store::controls::FleetView| view.drained_by;
    let told_by = by(store.fleet_view(told).await.expect("seen"));
    assert_eq!(told_by.as_deref(), Some("ops@host"));
    assert_eq!(by(store.fleet_view(other).await.expect("seen")), None, "only this one");
    let change = commands(&store).await.remove(0);
    assert_eq!(change.event, AuditEvent::WorkerDrained { worker: told });
    assert_eq!(change.reason.as_deref(), Some("a new host"));

    store.deregister_worker(told).await.expect("it leaves");
    for gone in [told, Uuid::from_u128(7)] {
        let refused = store.drain_worker(gone, None, "ops").await.expect_err("it is gone");
        assert!(
            matches!(&refused, StoreError::Refused(why) if why.contains("does not live")),
            "{refused}"
        );
    }
    assert_eq!(commands(&store).await.len(), 1);
}

#[apply(behaviour!)]
async fn a_worker_sees_its_rank_among_the_live(db: &dyn Fixture) {
    let store = expanded(db).await;
    let mut ids = [3, 1, 2].map(Uuid::from_u128);
    for id in ids {
        let new = NewWorker { id, host: "node".into(), pid: 1, version: "0".into() };
        store.register_worker(&new).await.expect("registers");
    }
    ids.sort_unstable();
    for (rank, id) in (0..).zip(ids) {
        let view = store.fleet_view(id).await.expect("seen");
        assert_eq!((view.live, view.rank), (3, rank));
    }
    store.deregister_worker(ids[0]).await.expect("leaves");
    let view = store.fleet_view(ids[2]).await.expect("seen");
    assert_eq!((view.live, view.rank), (2, 1));
}

#[apply(behaviour!)]
async fn operators_at_once_change_controls_one_after_the_other(db: &dyn Fixture) {
    let store = expanded(db).await;
    let stores = [store.clone(), db.store().await];
    let calls = (0..12).map(|n| {
        let store = stores[n % 2].clone();
        let mut settings = vec![
            setting("lock_waits", Some(&format!("{}", n + 1)), None),
            setting("byte_rate", Some("1MiB"), None),
        ];
        if n % 3 == 0 {
            settings.reverse();
        }
        async move { steadily("setting", async || store.set_controls(&settings, "ops").await).await }
    });
    join_all(calls).await;
    let changes = commands(&store).await.into_iter().map(|change| change.event.columns());
    let mut changes: Vec<_> = changes.collect();
    assert_eq!(changes.len(), 24);
    changes.retain(|change| change.name == "lock_waits");
    changes.reverse();
    for pair in changes.windows(2) {
        assert_eq!(pair[1].previous, pair[0].value, "no change is lost");
    }
}
