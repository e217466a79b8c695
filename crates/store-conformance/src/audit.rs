//! The audit: every change by itself, in one history, and none that was not made.

use std::time::Duration;

use chrono::TimeDelta;
use macro_rules_attribute::apply;
use reelshift_plan::{Flag, FlagAction, JobKind, Rollout};
use reelshift_store::audit::{AuditEntry, AuditEvent, AuditSelection, Subject};
use reelshift_store::controls::ControlSetting;
use reelshift_store::failures::Pattern;
use reelshift_store::flags::FlagSetting;
use reelshift_store::ledger::RerunSelection;
use reelshift_store::notifications::{NewNotification, Target};
use reelshift_store::{SharedStore, StoreError};

use crate::Fixture;
use crate::arrange::{
    claim_one, commands, error, expanded, new_run, plan, running_batches, worker,
};

async fn audit(store: &SharedStore, selection: &AuditSelection) -> Vec<AuditEntry> {
    store.audit(selection, None, 100).await.expect("the audit is read")
}

fn knob(value: &str, expected: Option<Option<&str>>) -> ControlSetting {
    ControlSetting {
        name: "lock_waits".to_owned(),
        value: Some(value.to_owned()),
        reason: Some("why é".to_owned()),
        lasts: None,
        expected: expected.map(|value| value.map(str::to_owned)),
    }
}

fn notification() -> NewNotification {
    NewNotification {
        id: "n1".to_owned(),
        event_type: "hello".to_owned(),
        priority: 5,
        to: Target { broadcast_to_all: true, ..Target::default() },
        event_data: serde_json::json!({}),
        event_metadata: None,
        max_attempts: 3,
        after: Duration::ZERO,
        expires_in: None,
    }
}

fn flag(percent: u8, expected: Option<Rollout>) -> FlagSetting {
    let flag = Flag::EnhancedVideoProcessing;
    FlagSetting { flag, enabled: true, percent: Some(percent), expected }
}

#[apply(behaviour!)]
async fn every_change_is_in_the_audit(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = running_batches(&store, JobKind::Hash, 1).await.id;
    store.set_controls(&[knob("3", None)], "ann@10.0.0.1").await.expect("set");
    store
        .set_flags(FlagAction::Rollout, &[flag(25, None)], Some("a try"), "bob@10.0.0.2")
        .await
        .expect("set");
    store.queue_notification(&notification(), "bob@10.0.0.2").await.expect("queued");
    store.pause_run(run, Some("lunch"), "ann@10.0.0.1").await.expect("paused");
    store.resume_run(run, Some("back"), "ann@10.0.0.1").await.expect("resumed");
    let batch = claim_one(&store, worker(&store).await, JobKind::Hash).await;
    let failed = error("file_missing", None, batch.id);
    store.fail_attempt(batch.lease, false, Duration::ZERO, &failed).await.expect("ends");
    store
        .rerun(&RerunSelection::default(), Some("the disk is back"), "bob@10.0.0.2")
        .await
        .expect("again");

    let entries = audit(&store, &AuditSelection::default()).await;
    let told: Vec<_> = entries
        .iter()
        .map(|AuditEntry { change, .. }| {
            let columns = change.event.columns();
            let text = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            format!(
                "{} {} {} {} → {} ({}) {}",
                columns.subject.into_str(),
                columns.name,
                columns.action,
                text(columns.previous),
                text(columns.value),
                text(change.reason.clone()),
                change.changed_by
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "run run rerun running → 1 batches enqueued again (the disk is back) bob@10.0.0.2",
            "run run state paused → running (back) ann@10.0.0.1",
            "run run state running → paused (lunch) ann@10.0.0.1",
            "notification hello queue - → n1 (-) bob@10.0.0.2",
            "flag enhanced_video_processing rollout - → on at 25 % (a try) bob@10.0.0.2",
            "control lock_waits set - → 3 (why é) ann@10.0.0.1",
            "run run enqueue - → hash (-) ops@example",
        ]
    );
    assert!(entries.windows(2).all(|pair| pair[0].seq > pair[1].seq), "newest first");
    let runs = AuditSelection { run: Some(run), ..AuditSelection::default() };
    let of_run: Vec<_> = entries[..3].iter().chain(&entries[6..]).cloned().collect();
    assert_eq!(audit(&store, &runs).await, of_run);
    let flags = AuditSelection { subject: Some(Subject::Flag), ..AuditSelection::default() };
    assert_eq!(audit(&store, &flags).await, entries[4..5]);
    let named = AuditSelection { name: Some("lock_waits".into()), ..AuditSelection::default() };
    assert_eq!(audit(&store, &named).await, entries[5..6]);
    let by = |pattern| AuditSelection { by: Some(pattern), ..AuditSelection::default() };
    let ann: Vec<_> = [1, 2, 5].map(|at| entries[at].clone()).into();
    assert_eq!(audit(&store, &by(Pattern::containing("ann@"))).await, ann);
    assert_eq!(audit(&store, &by(Pattern::containing("a*.1"))).await, ann);
    assert_eq!(audit(&store, &by(Pattern::containing("10_0"))).await, []);
    let since = |since| AuditSelection { since: Some(since), ..AuditSelection::default() };
    let newest = entries[0].change.changed_at;
    assert_eq!(audit(&store, &since(newest)).await[0], entries[0], "at that time too");
    assert_eq!(audit(&store, &since(newest + TimeDelta::seconds(1))).await, []);
    let page = store.audit(&AuditSelection::default(), Some(entries[1].seq), 2).await;
    assert_eq!(page.expect("a page"), entries[2..4]);
}

#[apply(behaviour!)]
async fn what_was_done_elsewhere_is_recorded(db: &dyn Fixture) {
    let store = expanded(db).await;
    let before = store.now().await.expect("a time");
    let event = AuditEvent::LoggedOut { session: "an-id".to_owned() };
    store.record(&event, Some("é"), "ann@10.0.0.1").await.expect("recorded");
    let long = AuditEvent::PhaseApplied { phase: "x".repeat(65), done: "é".repeat(256) };
    store.record(&long, None, &"é".repeat(256)).await.expect("cut to the columns");
    let sessions = AuditSelection { subject: Some(Subject::Session), ..AuditSelection::default() };
    let entries = audit(&store, &sessions).await;
    let [AuditEntry { change, .. }] = &entries[..] else { panic!("one change: {entries:?}") };
    assert_eq!((&change.event, change.reason.as_deref()), (&event, Some("é")));
    assert_eq!(change.changed_by, "ann@10.0.0.1");
    assert!((change.changed_at - before).num_seconds().abs() < 60, "the database's clock");
    let phases = AuditSelection { subject: Some(Subject::Schema), ..AuditSelection::default() };
    let cut = AuditEvent::PhaseApplied { phase: "x".repeat(64), done: "é".repeat(255) };
    assert_eq!(audit(&store, &phases).await[0].change.event, cut);
}

#[apply(behaviour!)]
async fn a_dry_rerun_is_no_change(db: &dyn Fixture) {
    let store = expanded(db).await;
    running_batches(&store, JobKind::Hash, 1).await;
    let batch = claim_one(&store, worker(&store).await, JobKind::Hash).await;
    let failed = error("file_missing", None, batch.id);
    store.fail_attempt(batch.lease, false, Duration::ZERO, &failed).await.expect("ends");
    let dry = RerunSelection { dry_run: true, ..RerunSelection::default() };
    assert_eq!(store.rerun(&dry, None, "ops").await.expect("counted").batches, 1);
    assert_eq!(commands(&store).await, []);
}

#[apply(behaviour!)]
async fn what_is_not_as_expected_is_not_changed(db: &dyn Fixture) {
    let store = expanded(db).await;
    let names_ann = |refused: Result<(), StoreError>| match refused {
        Err(StoreError::Refused(why)) => assert!(why.contains("ann"), "{why}"),
        other => panic!("{other:?}"),
    };
    store.set_controls(&[knob("3", Some(None))], "ann").await.expect("it is the default");
    let late = store.set_controls(&[knob("5", Some(None))], "bob").await;
    names_ann(late.map(|_| ()));
    store.set_controls(&[knob("5", Some(Some("3")))], "bob").await.expect("it is 3");
    assert_eq!(store.controls().await.expect("read")[0].value, "5");

    store.set_flags(FlagAction::Rollout, &[flag(25, None)], None, "ann").await.expect("set");
    let seen = Rollout { enabled: true, percent: 10 };
    let late = store.set_flags(FlagAction::Rollout, &[flag(50, Some(seen))], None, "bob").await;
    names_ann(late.map(|_| ()));
    let seen = Rollout { enabled: true, percent: 25 };
    store
        .set_flags(FlagAction::Rollout, &[flag(50, Some(seen))], None, "bob")
        .await
        .expect("it is 25");
    assert_eq!(audit(&store, &AuditSelection::default()).await.len(), 4, "only what was changed");
}

#[apply(behaviour!)]
async fn without_the_audit_nothing_is_changed(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = running_batches(&store, JobKind::Hash, 1).await.id;
    db.execute("ALTER TABLE reelshift_audit RENAME TO audit_elsewhere").await;
    store.set_controls(&[knob("3", None)], "ann").await.expect_err("it cannot be recorded");
    let set = store.set_flags(FlagAction::Rollout, &[flag(25, None)], None, "ann").await;
    set.expect_err("it cannot be recorded");
    store.pause_run(run, None, "ann").await.expect_err("it cannot be recorded");
    store.queue_notification(&notification(), "ann").await.expect_err("it cannot be recorded");
    let other = new_run(JobKind::Backfill, plan(None));
    store.create_run(&other).await.expect_err("it cannot be recorded");
    assert_eq!(store.run(other.id).await.expect("read"), None);
    assert_eq!(db.count("FROM realtime_notification_queue").await, 0);
    assert_eq!(store.controls().await.expect("read"), []);
    assert_eq!(store.flags().await.expect("read"), Some(Vec::new()));
    let state = store.run(run).await.expect("read").expect("there").state;
    assert!(state.is_active(), "{state}");
}
