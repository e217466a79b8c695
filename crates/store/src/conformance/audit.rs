//! The audit: every change by itself, in one history, and none that was not made.

use chrono::SubsecRound as _;
use reelshift_plan::{Flag, FlagAction, JobKind, Rollout};

use super::Fixture;
use super::arrange::{claim_one, error, expanded, running_batches, worker};
use crate::audit::{AuditEntry, AuditSelection, Change, Subject};
use crate::controls::ControlSetting;
use crate::flags::FlagSetting;
use crate::ledger::RerunSelection;
use crate::{SharedStore, StoreError};

async fn audit(store: &SharedStore, selection: &AuditSelection) -> Vec<AuditEntry> {
    store.audit(selection, None, 100).await.expect("the audit is read")
}

fn knob(value: &str, expected: Option<Option<&str>>) -> ControlSetting {
    ControlSetting {
        name: "lock_waits".to_owned(),
        value: Some(value.to_owned()),
        reason: Some("why é".to_owned()),
        expected: expected.map(|value| value.map(str::to_owned)),
    }
}

fn flag(percent: u8, expected: Option<Rollout>) -> FlagSetting {
    let flag = Flag::EnhancedVideoProcessing;
    FlagSetting { flag, enabled: true, percent: Some(percent), expected }
}

pub async fn every_change_is_in_the_audit(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = running_batches(&store, JobKind::Hash, 1).await.id;
    store.set_controls(&[knob("3", None)], "ann@10.0.0.1").await.expect("set");
    store
        .set_flags(FlagAction::Rollout, &[flag(25, None)], Some("a try"), "bob@10.0.0.2")
        .await
        .expect("set");
    store.pause_run(run, Some("lunch"), "ann@10.0.0.1").await.expect("paused");
    store.resume_run(run, "ann@10.0.0.1").await.expect("resumed");
    let batch = claim_one(&store, worker(&store).await, JobKind::Hash).await;
    let failed = error("file_missing", None, batch.id);
    store.fail_attempt(batch.lease, false, std::time::Duration::ZERO, &failed).await.expect("ends");
    store.rerun(&RerunSelection::default(), "bob@10.0.0.2").await.expect("again");

    let entries = audit(&store, &AuditSelection::default()).await;
    let told: Vec<_> = entries
        .iter()
        .map(|AuditEntry { change, .. }| {
            (
                change.subject,
                change.name.as_str(),
                change.action.as_str(),
                change.previous.as_deref(),
                change.value.as_deref(),
                change.reason.as_deref(),
                change.changed_by.as_str(),
            )
        })
        .collect();
    let (ann, bob) = ("ann@10.0.0.1", "bob@10.0.0.2");
    let again = Some("1 batches enqueued again");
    assert_eq!(
        told,
        [
            (Subject::Run, "run", "rerun", Some("running"), again, None, bob),
            (Subject::Run, "run", "state", Some("paused"), Some("running"), None, ann),
            (Subject::Run, "run", "state", Some("running"), Some("paused"), Some("lunch"), ann),
            (
                Subject::Flag,
                "enhanced_video_processing",
                "rollout",
                None,
                Some("on at 25 %"),
                Some("a try"),
                bob
            ),
            (Subject::Control, "lock_waits", "set", None, Some("3"), Some("why é"), ann),
        ]
    );
    assert!(entries.windows(2).all(|pair| pair[0].seq > pair[1].seq), "newest first");
    let runs = AuditSelection { run: Some(run), ..AuditSelection::default() };
    assert_eq!(audit(&store, &runs).await, entries[..3]);
    let flags = AuditSelection { subject: Some(Subject::Flag), ..AuditSelection::default() };
    assert_eq!(audit(&store, &flags).await, entries[3..4]);
    let named = AuditSelection { name: Some("lock_waits".into()), ..AuditSelection::default() };
    assert_eq!(audit(&store, &named).await, entries[4..]);
    let page = store.audit(&AuditSelection::default(), Some(entries[1].seq), 2).await;
    assert_eq!(page.expect("a page"), entries[2..4]);
}

pub async fn what_was_done_elsewhere_is_recorded(db: &dyn Fixture) {
    let store = expanded(db).await;
    let change = Change {
        subject: Subject::Session,
        name: "session".to_owned(),
        action: "logout".to_owned(),
        run: None,
        previous: Some("an-id".to_owned()),
        value: None,
        reason: Some("é".to_owned()),
        changed_by: "ann@10.0.0.1".to_owned(),
        changed_at: store.now().await.expect("a time").trunc_subsecs(3),
    };
    store.record(&change).await.expect("recorded");
    let sessions = AuditSelection { subject: Some(Subject::Session), ..AuditSelection::default() };
    let entries = audit(&store, &sessions).await;
    assert_eq!(entries.into_iter().map(|entry| entry.change).collect::<Vec<_>>(), [change]);
}

pub async fn a_dry_rerun_is_no_change(db: &dyn Fixture) {
    let store = expanded(db).await;
    running_batches(&store, JobKind::Hash, 1).await;
    let batch = claim_one(&store, worker(&store).await, JobKind::Hash).await;
    let failed = error("file_missing", None, batch.id);
    store.fail_attempt(batch.lease, false, std::time::Duration::ZERO, &failed).await.expect("ends");
    let dry = RerunSelection { dry_run: true, ..RerunSelection::default() };
    assert_eq!(store.rerun(&dry, "ops").await.expect("counted").batches, 1);
    assert_eq!(audit(&store, &AuditSelection::default()).await, []);
}

pub async fn what_is_not_as_expected_is_not_changed(db: &dyn Fixture) {
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

pub async fn without_the_audit_nothing_is_changed(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = running_batches(&store, JobKind::Hash, 1).await.id;
    db.execute("ALTER TABLE reelshift_audit RENAME TO audit_elsewhere").await;
    store.set_controls(&[knob("3", None)], "ann").await.expect_err("it cannot be recorded");
    let set = store.set_flags(FlagAction::Rollout, &[flag(25, None)], None, "ann").await;
    set.expect_err("it cannot be recorded");
    store.pause_run(run, None, "ann").await.expect_err("it cannot be recorded");
    assert_eq!(store.controls().await.expect("read"), []);
    assert_eq!(store.flags().await.expect("read"), Some(Vec::new()));
    let state = store.run(run).await.expect("read").expect("there").state;
    assert!(state.is_active(), "{state}");
}
