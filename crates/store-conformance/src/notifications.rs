//! The notification queue and the outbox.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use macro_rules_attribute::apply;
use reelshift_store::SharedStore;
use reelshift_store::notifications::{
    NewNotification, NotificationClaim, NotificationSelection, NotificationState, OutboxSpan,
    Target, Then, Undelivered,
};
use serde_json::json;

use crate::Fixture;
use crate::arrange::{LONG, eventually, expanded, steadily};

const NOW: Duration = Duration::ZERO;

fn notification(id: &str, priority: i32) -> NewNotification {
    NewNotification {
        id: id.to_owned(),
        event_type: "workflow_processing".to_owned(),
        priority,
        to: Target { room_name: Some(format!("video_{id}")), ..Target::default() },
        event_data: json!({"video_id": id}),
        event_metadata: None,
        max_attempts: 3,
        after: NOW,
        expires_in: Some(LONG),
    }
}

async fn queue(store: &SharedStore, notifications: &[NewNotification]) {
    for notification in notifications {
        store.queue_notification(notification, "ops@host").await.expect("it is queued");
    }
}

async fn queue_many(store: &SharedStore, count: usize) {
    let many: Vec<_> = (0..count).map(|n| notification(&format!("n{n:04}"), 3)).collect();
    queue(store, &many).await;
}

async fn claim(store: &SharedStore, max: usize) -> NotificationClaim {
    steadily("a claim", async || store.claim_notifications("d@host", LONG, max).await).await
}

fn ids(claim: &NotificationClaim) -> Vec<String> {
    claim.notifications.iter().map(|one| one.id.clone()).collect()
}

async fn column(db: &dyn Fixture, column: &str, id: &str) -> Option<String> {
    db.value(column, &format!("FROM realtime_notification_queue WHERE id = '{id}'")).await
}

async fn set(db: &dyn Fixture, set: &str, id: &str) {
    db.execute(&format!("UPDATE realtime_notification_queue SET {set} WHERE id = '{id}'")).await;
}

async fn leases(db: &dyn Fixture) -> u64 {
    db.count("FROM reelshift_notification_leases").await
}

fn undelivered(id: &str, then: Then) -> Vec<Undelivered> {
    vec![Undelivered { id: id.to_owned(), why: format!("{id} did not arrive"), then }]
}

#[apply(behaviour!)]
async fn the_queue_is_listed_page_by_page(db: &dyn Fixture) {
    let store = expanded(db).await;
    queue_many(&store, 3).await;
    let claimed = claim(&store, 1).await;
    let failed = undelivered(&ids(&claimed)[0], Then::Fail);
    store.end_undelivered(claimed.token, &failed).await.expect("it ends");
    let list = async |selection: &NotificationSelection, after: Option<&str>| {
        let page = store.notifications(selection, after, 2).await.expect("a page");
        page.into_iter().map(|one| one.id).collect::<Vec<_>>()
    };
    let every = NotificationSelection::default();
    assert_eq!(list(&every, None).await, ["n0000", "n0001"]);
    assert_eq!(list(&every, Some("n0001")).await, ["n0002"]);
    let failed = NotificationSelection { state: Some(NotificationState::Failed), event_type: None };
    let page = store.notifications(&failed, None, 2).await.expect("a page");
    let [one] = &page[..] else { panic!("one has failed: {page:?}") };
    assert_eq!((&*one.id, one.state), ("n0000", NotificationState::Failed));
    assert_eq!(one.last_error.as_deref(), Some("n0000 did not arrive"));
    assert_eq!(one.to.room_name.as_deref(), Some("video_n0000"));
    assert!(one.created_at.is_some() && one.max_attempts == 3, "{one:?}");
    let other = NotificationSelection { event_type: Some("other".to_owned()), ..every };
    assert_eq!(list(&other, None).await, Vec::<String>::new());
}

#[apply(behaviour!)]
async fn a_notification_is_claimed_with_all_that_it_says(db: &dyn Fixture) {
    let store = expanded(db).await;
    let to = Target {
        room_name: Some("video_7".to_owned()),
        session_id: Some("session".to_owned()),
        user_id: Some("user".to_owned()),
        broadcast_to_all: true,
    };
    let new = NewNotification {
        to: to.clone(),
        event_data: json!({"text": "it's \"ready\"\nnow", "frames": [1, 2.5, null]}),
        event_metadata: Some(json!({"source": "test"})),
        ..notification("n1", -4)
    };
    queue(&store, std::slice::from_ref(&new)).await;
    let before = db.contents("realtime_notification_queue").await;
    let changed = NewNotification { priority: 9, ..new.clone() };
    queue(&store, &[changed]).await;
    assert_eq!(db.contents("realtime_notification_queue").await, before, "queued once");

    let claim = claim(&store, 10).await;
    let [one] = claim.notifications.as_slice() else { panic!("{claim:?}") };
    assert_eq!(one.id, new.id);
    assert_eq!(one.event_type, new.event_type);
    assert_eq!((one.priority, one.attempts), (-4, 0));
    assert_eq!(one.to, to);
    assert_eq!(one.event_data, new.event_data);
    assert_eq!(one.event_metadata, new.event_metadata);
    let created = one.created_at.expect("the column's default");
    assert!((claim.at - created).num_seconds() < 60, "{created} and {}", claim.at);
    assert_eq!(column(db, "status", "n1").await.as_deref(), Some("processing"));
    assert_eq!(leases(db).await, 1);
    assert!(self::claim(&store, 10).await.notifications.is_empty(), "it is taken");
}

#[apply(behaviour!)]
async fn claims_come_in_order_of_priority(db: &dyn Fixture) {
    let store = expanded(db).await;
    let rows = [("a", 5), ("b", 1), ("c", 2_000_000), ("d", 1), ("e", -3), ("f", 5)];
    queue(&store, &rows.map(|(id, priority)| notification(id, priority))).await;
    set(db, "process_after = '2026-01-02 03:04:05'", "f").await;
    set(db, "process_after = '2026-01-02 03:04:06'", "d").await;
    set(db, "process_after = NULL", "c").await;
    assert_eq!(ids(&claim(&store, 4).await), ["e", "d", "b", "f"]);
    assert_eq!(ids(&claim(&store, 4).await), ["a", "c"], "also one that says no time at all");
}

#[apply(behaviour!)]
async fn what_is_not_due_waits(db: &dyn Fixture) {
    let store = expanded(db).await;
    let names = ["process_after", "scheduled_at", "next_retry_at"];
    for name in names {
        queue(&store, &[notification(name, 1)]).await;
        set(db, &format!("{name} = '2037-01-02 03:04:05'"), name).await;
    }
    queue(&store, &[notification("due", 2)]).await;
    let later = NewNotification { after: LONG, ..notification("later", 1) };
    queue(&store, &[later]).await;
    assert_eq!(ids(&claim(&store, 10).await), ["due"]);
    for name in names {
        let after = column(db, "process_after", name).await.expect("a time");
        assert!(after.starts_with("2037-01-02 03:04:05"), "the index leads past {name}: {after}");
        assert_eq!(column(db, "status", name).await.as_deref(), Some("pending"));
        let past = "'2026-01-02 03:04:05'";
        set(db, &format!("{name} = {past}, process_after = {past}"), name).await;
    }
    let due: BTreeSet<_> = ids(&claim(&store, 10).await).into_iter().collect();
    assert_eq!(due, names.map(str::to_owned).into());
}

#[apply(behaviour!)]
async fn many_that_are_scheduled_do_not_hide_one_that_is_due(db: &dyn Fixture) {
    let store = expanded(db).await;
    queue_many(&store, 300).await;
    db.execute(
        "UPDATE realtime_notification_queue SET scheduled_at = '2037-01-02 03:04:05', \
         process_after = '2026-01-02 03:04:05'",
    )
    .await;
    queue(&store, &[notification("due", 3)]).await;
    assert_eq!(ids(&claim(&store, 1).await), Vec::<String>::new(), "a claim has an end");
    let found = eventually("the one that is due", async || {
        let claimed = ids(&claim(&store, 100).await);
        (!claimed.is_empty()).then_some(claimed)
    });
    assert_eq!(found.await, ["due"]);
}

#[apply(behaviour!)]
async fn what_is_over_expires(db: &dyn Fixture) {
    let store = expanded(db).await;
    let soon = NewNotification { expires_in: Some(NOW), ..notification("over", 1) };
    let later = NewNotification { after: LONG, ..notification("not due, and over", 1) };
    queue(&store, &[soon, later.clone(), NewNotification { id: "long over".into(), ..later }])
        .await;
    queue(&store, &[notification("due", 2)]).await;
    set(db, "expires_at = CURRENT_TIMESTAMP", "not due, and over").await;
    set(db, "expires_at = '2026-01-02 03:04:05'", "long over").await;
    assert_eq!(ids(&claim(&store, 1).await), ["due"]);
    assert_eq!(column(db, "status", "over").await.as_deref(), Some("expired"));
    assert_eq!(store.expire_notifications(LONG).await.expect("expired"), 1);
    assert_eq!(column(db, "status", "not due, and over").await.as_deref(), Some("expired"));
    assert_eq!(column(db, "status", "long over").await.as_deref(), Some("pending"));
    let years = Duration::from_hours(24 * 3_650);
    assert_eq!(store.expire_notifications(years).await.expect("expired"), 1);
    assert_eq!(store.expire_notifications(years).await.expect("expired"), 0);
    assert_eq!(column(db, "status", "due").await.as_deref(), Some("processing"), "it is taken");
}

#[apply(behaviour!)]
async fn claimers_at_once_share_nothing(db: &dyn Fixture) {
    let store = expanded(db).await;
    queue_many(&store, 60).await;
    let stores = [store.clone(), db.store().await, db.store().await];
    let claims = (0..9).map(|n| {
        let store = stores[n % 3].clone();
        async move { claim(&store, 10).await }
    });
    let mut claimed: Vec<_> = join_all(claims).await.iter().flat_map(ids).collect();
    // Rows that another holds are skipped: what is left is there for the next.
    claimed.extend(ids(&claim(&store, 60).await));
    let once: BTreeSet<_> = claimed.iter().collect();
    assert_eq!((claimed.len(), once.len()), (60, 60));
    assert_eq!(leases(db).await, 60);
}

#[apply(behaviour!)]
async fn a_failed_attempt_comes_again_until_there_are_no_more(db: &dyn Fixture) {
    let store = expanded(db).await;
    let twice = NewNotification { max_attempts: 2, ..notification("n1", 1) };
    queue(&store, &[twice]).await;
    let first = claim(&store, 1).await;
    let end = undelivered("n1", Then::Retry(LONG));
    assert_eq!(store.end_undelivered(first.token, &end).await.expect("ended"), 1);
    assert_eq!(column(db, "status", "n1").await.as_deref(), Some("pending"));
    assert_eq!(column(db, "attempts", "n1").await.as_deref(), Some("1"));
    assert_eq!(column(db, "last_error", "n1").await.as_deref(), Some("n1 did not arrive"));
    let due = [column(db, "next_retry_at", "n1").await, column(db, "process_after", "n1").await];
    assert!(due[0].is_some() && due[0] == due[1], "{due:?}");
    assert!(claim(&store, 1).await.notifications.is_empty(), "it waits");
    assert_eq!(leases(db).await, 0);

    let past = "'2026-01-02 03:04:05'";
    set(db, &format!("next_retry_at = {past}, process_after = {past}"), "n1").await;
    let second = claim(&store, 1).await;
    assert_eq!(second.notifications[0].attempts, 1);
    assert_eq!(store.end_undelivered(second.token, &end).await.expect("ended"), 1);
    assert_eq!(column(db, "status", "n1").await.as_deref(), Some("failed"));
    assert_eq!(column(db, "attempts", "n1").await.as_deref(), Some("2"));
    assert_eq!(column(db, "next_retry_at", "n1").await, None);
}

#[apply(behaviour!)]
async fn the_other_ends_of_an_attempt(db: &dyn Fixture) {
    let store = expanded(db).await;
    for (id, then, status, attempts) in [
        ("n1", Then::Fail, "failed", "1"),
        ("n2", Then::Defer(LONG), "pending", "0"),
        ("n3", Then::Withhold, "expired", "0"),
    ] {
        queue(&store, &[notification(id, 1)]).await;
        let claim = claim(&store, 1).await;
        let ended = store.end_undelivered(claim.token, &undelivered(id, then)).await;
        assert_eq!(ended.expect("ended"), 1, "{id}");
        assert_eq!(column(db, "status", id).await.as_deref(), Some(status));
        assert_eq!(column(db, "attempts", id).await.as_deref(), Some(attempts));
        assert!(column(db, "last_error", id).await.is_some_and(|why| why.starts_with(id)));
        let again = store.end_undelivered(claim.token, &undelivered(id, Then::Fail)).await;
        assert_eq!(again.expect("asked"), 0, "{id} has ended");
        assert_eq!(column(db, "status", id).await.as_deref(), Some(status));
    }
    assert_eq!(leases(db).await, 0);
    assert!(claim(&store, 9).await.notifications.is_empty());
}

#[apply(behaviour!)]
async fn a_lapsed_lease_is_taken_back_and_its_holder_writes_nothing(db: &dyn Fixture) {
    let store = expanded(db).await;
    queue_many(&store, 3).await;
    let dead = store.claim_notifications("dead@host", NOW, 2).await.expect("claimed");
    let alive = claim(&store, 2).await;
    assert_eq!((dead.notifications.len(), alive.notifications.len()), (2, 1));
    let taken = eventually("the lease to lapse", async || {
        let taken = store.take_back_notifications(LONG).await.expect("asked");
        (taken > 0).then_some(taken)
    });
    assert_eq!(taken.await, 2);
    assert_eq!(store.extend_notifications(dead.token, LONG).await.expect("asked"), 0);
    let before = db.contents("realtime_notification_queue").await;
    assert_eq!(store.publish_notifications(dead.token, &ids(&dead), true).await.expect("asked"), 0);
    let end = undelivered(&ids(&dead)[0], Then::Fail);
    assert_eq!(store.end_undelivered(dead.token, &end).await.expect("asked"), 0);
    assert_eq!(db.contents("realtime_notification_queue").await, before);
    assert_eq!(db.count("FROM reelshift_notification_outbox").await, 0);
    let next = claim(&store, 9).await;
    assert_eq!(ids(&next), ids(&dead));
    assert!(next.notifications.iter().all(|one| one.attempts == 0), "no attempt ended");
}

#[apply(behaviour!)]
async fn an_extended_lease_is_kept(db: &dyn Fixture) {
    let store = expanded(db).await;
    queue_many(&store, 1).await;
    let claim = store.claim_notifications("slow@host", NOW, 1).await.expect("claimed");
    assert_eq!(store.extend_notifications(claim.token, LONG).await.expect("extended"), 1);
    assert_eq!(store.take_back_notifications(LONG).await.expect("asked"), 0);
    assert_eq!(column(db, "status", "n0000").await.as_deref(), Some("processing"));
}

#[apply(behaviour!)]
async fn what_nobody_has_is_taken_back(db: &dyn Fixture) {
    let store = expanded(db).await;
    queue_many(&store, 2).await;
    set(db, "status = 'processing', updated_at = '2026-01-02 03:04:05'", "n0000").await;
    set(db, "status = 'processing'", "n0001").await;
    assert_eq!(store.take_back_notifications(LONG).await.expect("asked"), 1);
    assert_eq!(column(db, "status", "n0000").await.as_deref(), Some("pending"));
    assert_eq!(column(db, "status", "n0001").await.as_deref(), Some("processing"));
}

#[apply(behaviour!)]
async fn the_outbox_holds_everything_once_in_order(db: &dyn Fixture) {
    let store = expanded(db).await;
    assert_eq!(store.outbox_span().await.expect("read"), OutboxSpan::default());
    queue_many(&store, 5).await;
    let claim = claim(&store, 5).await;
    let claimed = ids(&claim);
    let publish = async |from: usize, sent| {
        let ids = &claimed[from..];
        store.publish_notifications(claim.token, ids, sent).await.expect("published")
    };
    assert_eq!(publish(3, false).await, 2);
    assert_eq!(column(db, "status", &claimed[4]).await.as_deref(), Some("processing"));
    assert_eq!(publish(0, true).await, 5);
    assert_eq!(publish(0, true).await, 0, "they have ended");
    for id in &claimed {
        assert_eq!(column(db, "status", id).await.as_deref(), Some("sent"));
        assert_eq!(column(db, "attempts", id).await.as_deref(), Some("1"));
        assert!(column(db, "sent_at", id).await.is_some());
    }
    assert_eq!(leases(db).await, 0);
    let span = store.outbox_span().await.expect("read");
    assert_eq!(span, OutboxSpan { newest: 5, pruned_upto: 0 });
    let all = store.outbox_after(0, 100).await.expect("read");
    let order: Vec<_> = all.iter().map(|one| (one.seq, one.notification.id.clone())).collect();
    let expected: Vec<_> = (1..).zip([3, 4, 0, 1, 2].map(|n| claimed[n].clone())).collect();
    assert_eq!(order, expected);
    assert_eq!(all[0].notification.event_data, json!({"video_id": claimed[3]}));
    let some = store.outbox_after(2, 2).await.expect("read");
    assert_eq!(some.iter().map(|one| one.seq).collect::<Vec<_>>(), [3, 4]);
}

/// Whoever reads along, from the number seen last, must meet every number: what becomes
/// visible later must not have a lower one.
#[apply(behaviour!)]
async fn a_reader_beside_many_publishers_misses_nothing(db: &dyn Fixture) {
    let store = expanded(db).await;
    queue_many(&store, 240).await;
    let stores = [store.clone(), db.store().await, db.store().await];
    let publishers = stores.map(|store| async move {
        loop {
            let claim = claim(&store, 7).await;
            if claim.notifications.is_empty() {
                return;
            }
            for id in ids(&claim) {
                steadily("publishing", async || {
                    store.publish_notifications(claim.token, std::slice::from_ref(&id), true).await
                })
                .await;
            }
        }
    });
    let reader = db.store().await;
    let reading = async {
        let mut seen = Vec::new();
        while seen.len() < 240 {
            let last = seen.last().map_or(0, |(seq, _)| *seq);
            let some = steadily("reading", async || reader.outbox_after(last, 50).await).await;
            seen.extend(some.into_iter().map(|one| (one.seq, one.notification.id)));
        }
        seen
    };
    let (_, seen) = tokio::time::timeout(
        Duration::from_mins(2),
        futures::future::join(join_all(publishers), reading),
    )
    .await
    .expect("the reader meets all of them");
    assert!(seen.iter().map(|(seq, _)| *seq).eq(1..=240), "{seen:?}");
    let once: BTreeSet<_> = seen.iter().map(|(_, id)| id).collect();
    assert_eq!(once.len(), 240);
}

#[apply(behaviour!)]
async fn what_ended_long_ago_is_pruned(db: &dyn Fixture) {
    let store = expanded(db).await;
    queue_many(&store, 12).await;
    let claimed = claim(&store, 11).await;
    let all = ids(&claimed);
    store.publish_notifications(claimed.token, &all[..9], true).await.expect("sent");
    let end = |n: usize, then| undelivered(&all[n], then).remove(0);
    let ends = [end(9, Then::Fail), end(10, Then::Withhold)];
    store.end_undelivered(claimed.token, &ends).await.expect("ended");
    let past = "'2026-01-02 03:04:05'";
    for id in all.iter().take(7).chain(&all[9..]) {
        set(db, &format!("process_after = {past}, sent_at = {past}, updated_at = {past}"), id)
            .await;
    }
    db.execute(&format!(
        "UPDATE reelshift_notification_outbox SET published_at = {past} WHERE seq <= 6"
    ))
    .await;
    let age = Duration::from_hours(24);
    // Six that were sent, and the one that expired; the seventh is in the outbox still.
    assert_eq!(store.prunable_notifications(age).await.expect("told"), 7);
    let mut pruned = 0;
    loop {
        let some = store.prune_notifications(age, 2).await.expect("pruned");
        assert!(some <= 2, "{some} in one step");
        pruned += some;
        if some == 0 {
            break;
        }
    }
    assert_eq!(pruned, 7);
    let span = store.outbox_span().await.expect("read");
    assert_eq!(span, OutboxSpan { newest: 9, pruned_upto: 6 });
    let left = db.rows(&["id", "status"], "FROM realtime_notification_queue ORDER BY id").await;
    assert_eq!(left.len(), 5, "{left:?}");
    assert!(left.iter().any(|row| row[1].as_deref() == Some("failed")), "{left:?}");
    let after = store.outbox_after(0, 9).await.expect("read");
    assert_eq!(after.iter().map(|one| one.seq).collect::<Vec<_>>(), [7, 8, 9]);
}

#[apply(behaviour!)]
async fn numbers_go_on_after_all_was_pruned(db: &dyn Fixture) {
    let store = expanded(db).await;
    for round in 1..=2 {
        queue(&store, &[notification(&format!("n{round}"), 1)]).await;
        let claim = claim(&store, 1).await;
        store.publish_notifications(claim.token, &ids(&claim), true).await.expect("sent");
        let newest = store.outbox_span().await.expect("read").newest;
        assert_eq!(newest, round);
        db.execute("DELETE FROM reelshift_notification_outbox").await;
        let span = store.outbox_span().await.expect("read");
        assert_eq!(span, OutboxSpan { newest, pruned_upto: newest });
    }
}
