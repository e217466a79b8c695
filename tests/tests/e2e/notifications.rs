//! Notifications, by replicas of the server as processes: from a trigger to a subscriber and
//! to a webhook, with replicas killed and connections cut in between.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use reelshift_tests::notifications::{Received, Receiver, Replica, Subscriber};
use reelshift_tests::{Legacy, Ran, Reelshift, Video, until};
use serde_json::{Value, json};
use sqlx::{Executor as _, Row as _};

const SECRET: &str = "a secret of this test";

fn run(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> Ran {
    Reelshift::new(directory, arguments).database(&legacy.url).run()
}

fn notify(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> String {
    let arguments = [&["--json", "notify"], arguments].concat();
    let told = run(directory, legacy, &arguments).expect(0).json();
    told["id"].as_str().expect("an id").to_owned()
}

/// An expanded database with the triggers and `videos` videos, `v0` and so on, whose
/// notifications are delivered.
async fn platform(directory: &Path, legacy: &Legacy, videos: u32) {
    run(directory, legacy, &["apply", "expand"]).ok();
    let text = |value: &str| Some(value.to_owned());
    let videos: Vec<_> = (0..videos)
        .map(|n| Video {
            id: format!("v{n}"),
            filename: text("a.mp4"),
            file_path: None,
            file_size: Some(1),
            status: text("uploaded"),
            processing_status: text("pending"),
            ground_truth: Some(false),
        })
        .collect();
    legacy.insert(&videos).await;
    run(directory, legacy, &["apply", "index"]).ok();
    run(directory, legacy, &["apply", "automate"]).ok();
    run(directory, legacy, &["flags", "enable", "realtime_notifications"]).ok();
}

/// Rows of the application's own, as fast as it can: `(id, priority, room)`.
async fn queue(legacy: &Legacy, rows: impl Iterator<Item = (String, i32, String)>, data: &Value) {
    let rows: Vec<_> = rows
        .map(|(id, priority, room)| format!("('{id}', 'app', {priority}, '{room}', '{data}')"))
        .collect();
    for rows in rows.chunks(100) {
        legacy
            .execute(&format!(
                "INSERT INTO realtime_notification_queue (id, event_type, priority, room_name, \
                 event_data) VALUES {}",
                rows.join(", ")
            ))
            .await;
    }
}

async fn status(legacy: &Legacy, id: &str) -> String {
    let sql =
        format!("SELECT CAST(status AS CHAR) FROM realtime_notification_queue WHERE id = '{id}'");
    legacy.rows(&sql).await[0].get(0)
}

async fn count(legacy: &Legacy, condition: &str) -> i64 {
    legacy
        .number(&format!("SELECT COUNT(*) FROM realtime_notification_queue WHERE {condition}"))
        .await
}

fn ids(events: &[Received]) -> Vec<String> {
    events.iter().map(|one| one.data["id"].as_str().expect("an id").to_owned()).collect()
}

/// Writes the settings of a webhook to `receiver`.
fn configure(directory: &Path, receiver: &Receiver, types: &str) {
    let settings = format!(
        "[notifications]\nretention = \"1h\"\n[[notifications.webhooks]]\nurl = \"{}\"\n\
         secret_env = \"TEST_WEBHOOK_SECRET\"\ntypes = {types}\n",
        receiver.url
    );
    std::fs::write(directory.join("reelshift.toml"), settings).expect("settings");
}

const WITH_SECRET: [(&str, &str); 1] = [("TEST_WEBHOOK_SECRET", SECRET)];

/// Each behaviour on SQLite and on MariaDB.
macro_rules! on_both {
    ($($behaviour:ident)+) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $behaviour() {
                let dir = tempfile::tempdir().expect("a directory");
                let legacy = reelshift_tests::Legacy::sqlite(dir.path()).await;
                super::$behaviour(dir.path(), &legacy).await;
            })+
        }
        mod mariadb {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $behaviour() {
                let dir = tempfile::tempdir().expect("a directory");
                let legacy = reelshift_tests::Legacy::mariadb().await;
                super::$behaviour(dir.path(), &legacy).await;
                legacy.drop_database().await;
            })+
        }
    };
}

on_both! {
    a_change_reaches_its_subscribers_on_every_replica
    a_subscriber_that_was_cut_off_misses_nothing
    what_is_queued_is_delivered_by_priority
    two_replicas_deliver_everything_once
    a_webhook_is_signed_and_tried_again_until_it_takes_it
    a_webhook_that_never_takes_it_fails_the_notification
    what_a_killed_dispatcher_had_is_delivered_by_another
    a_subscriber_that_does_not_read_costs_little_and_misses_nothing
    the_flag_decides
    what_is_over_is_not_delivered
    a_replica_that_is_told_to_end_ends_its_streams
}

async fn a_change_reaches_its_subscribers_on_every_replica(dir: &Path, legacy: &Legacy) {
    platform(dir, legacy, 2).await;
    let replicas = [Replica::start(dir, legacy, &[]).await, Replica::start(dir, legacy, &[]).await];
    let here = Subscriber::connect(&replicas[0], "room=video_v0", None).await;
    let there = Subscriber::connect(&replicas[1], "user=somebody&room=video_v0", None).await;
    let others = [
        Subscriber::connect(&replicas[0], "room=video_v1", None).await,
        Subscriber::connect(&replicas[1], "session=video_v0", None).await,
        Subscriber::connect(&replicas[1], "", None).await,
    ];
    legacy.execute("UPDATE videos SET processing_status = 'processing' WHERE id = 'v0'").await;
    for subscriber in [&here, &there] {
        let events = subscriber.wait_for(1).await;
        assert_eq!(events[0].event_type(), "workflow_processing");
        assert_eq!(events[0].data["room_name"], "video_v0");
        let data = &events[0].data["event_data"];
        assert_eq!((&data["video_id"], &data["new_state"]), (&json!("v0"), &json!("processing")));
    }
    assert_eq!(here.events()[0].data, there.events()[0].data);
    assert_eq!(here.last_id(), there.last_id());

    for late in [&["--expires-in", "0s"][..], &["--expires-in", "5min", "--after", "5min"]] {
        let arguments = [&["notify", "never", "--broadcast"], late].concat();
        let refused = Reelshift::new(dir, &arguments).database(&legacy.url).run().expect(2);
        assert!(refused.stderr.contains("before it may be delivered"), "{}", refused.stderr);
    }
    let all = notify(dir, legacy, &["maintenance", "--broadcast", "--data", r#"{"in": "5min"}"#]);
    for subscriber in others.iter().chain([&here, &there]) {
        let expected = if subscriber.events().len() > 1 { 2 } else { 1 };
        let last = subscriber.wait_for(expected).await.pop().expect("one");
        let last =
            if last.data["id"] == all { last } else { subscriber.wait_for(2).await[1].clone() };
        assert_eq!(last.data["id"], all);
        assert_eq!(last.data["event_data"], json!({"in": "5min"}));
    }
    for subscriber in &others {
        assert_eq!(subscriber.events().len(), 1, "nothing of a room that it did not ask for");
    }
    assert_eq!(status(legacy, &all).await, "sent");
    assert_eq!(count(legacy, "status = 'sent' AND sent_at IS NOT NULL AND attempts = 1").await, 2);
    assert_eq!(legacy.number("SELECT COUNT(*) FROM reelshift_notification_leases").await, 0);
}

async fn a_subscriber_that_was_cut_off_misses_nothing(dir: &Path, legacy: &Legacy) {
    platform(dir, legacy, 1).await;
    let first = Replica::start(dir, legacy, &[]).await;
    let second = Replica::start(dir, legacy, &[]).await;
    let steady = Subscriber::connect(&second, "room=r", None).await;
    let cut = Subscriber::connect(&first, "room=r", None).await;
    let named = |from: usize, to: usize| {
        (from..to)
            .map(|n| (format!("n{n:03}"), 3, if n % 3 == 0 { "other" } else { "r" }.to_owned()))
    };
    let none = json!({});
    queue(legacy, named(0, 30), &none).await;
    cut.wait_for(20).await;
    let (before, last) = cut.cut();
    queue(legacy, named(30, 90), &none).await;
    steady.wait_for(60).await;

    // To the other replica, and to one that has nothing in its memory.
    let third = Replica::start(dir, legacy, &[]).await;
    for replica in [&second, &third] {
        let back = Subscriber::connect(replica, "room=r", last).await;
        let missed = back.wait_for(40).await;
        let joined: Vec<_> = [before.clone(), missed].concat();
        assert_eq!(ids(&joined), ids(&steady.events()), "the same, in the same order");
    }
    // One that was cut off before it got anything.
    let back = Subscriber::connect(&third, "room=r&last_event_id=0", None).await;
    assert_eq!(ids(&back.wait_for(60).await), ids(&steady.events()));

    // What is gone for good is said.
    legacy.execute("DELETE FROM reelshift_notification_outbox WHERE seq <= 80").await;
    let late = Subscriber::connect(&third, "room=r", last).await;
    let events = late.wait_for(7).await;
    assert_eq!(events[0].event, "reset");
    assert_eq!(events[0].data, json!({"missed_upto": 80}));
    assert!(events[1..].iter().all(|one| one.event == "message" && one.id > 80));
    let foreign = Subscriber::connect(&third, "room=r", Some(1_000_000)).await;
    assert_eq!(foreign.wait_for(1).await[0].event, "reset");
    queue(legacy, named(100, 101), &none).await;
    assert_eq!(ids(&foreign.wait_for(2).await[1..]), ["n100"]);
}

async fn what_is_queued_is_delivered_by_priority(dir: &Path, legacy: &Legacy) {
    platform(dir, legacy, 1).await;
    run(dir, legacy, &["flags", "disable", "realtime_notifications"]).ok();
    let priorities = [4, 1, 9, -2, 4, 1];
    let rows = (0..600).map(|n| (format!("n{n:03}"), priorities[n % 6], "r".to_owned()));
    queue(legacy, rows, &json!({})).await;
    let replica = Replica::start(dir, legacy, &[]).await;
    let subscriber = Subscriber::connect(&replica, "room=r", None).await;
    assert!(subscriber.events().is_empty(), "the flag is off");
    run(dir, legacy, &["flags", "enable", "realtime_notifications"]).ok();
    // More at once than a subscriber may leave waiting: it may be cut off in between.
    let events = all_of(&replica, "room=r", subscriber, 600).await;
    let order: Vec<_> = events.iter().map(|one| one.data["priority"].as_i64()).collect();
    assert!(order.is_sorted(), "{order:?}");
}

/// Reads `count` events, coming back whenever it is cut off.
async fn all_of(
    replica: &Replica,
    query: &str,
    mut subscriber: Subscriber,
    count: usize,
) -> Vec<Received> {
    let mut all = Vec::new();
    loop {
        until("all events, or the end of the stream", async || {
            all.len() + subscriber.events().len() >= count || subscriber.ended()
        })
        .await;
        let (some, last) = subscriber.cut();
        all.extend(some);
        if all.len() >= count {
            return all;
        }
        subscriber = Subscriber::connect(replica, query, last).await;
    }
}

async fn two_replicas_deliver_everything_once(dir: &Path, legacy: &Legacy) {
    platform(dir, legacy, 1).await;
    let replicas = [Replica::start(dir, legacy, &[]).await, Replica::start(dir, legacy, &[]).await];
    let mut readers = Vec::new();
    for (n, replica) in replicas.iter().enumerate() {
        for room in 0..5 {
            let query = format!("room=room{}", room + 5 * n);
            readers.push((Subscriber::connect(replica, &query, None).await, replica, query));
        }
    }
    let rows = (0..1_000).map(|n| (format!("n{n:04}"), 3, format!("room{}", n % 10)));
    queue(legacy, rows, &json!({})).await;
    let mut numbers = BTreeSet::new();
    for (subscriber, replica, query) in readers {
        let events = all_of(replica, &query, subscriber, 100).await;
        assert_eq!(events.len(), 100, "{query}");
        assert!(
            events.iter().all(|one| query.ends_with(one.data["room_name"].as_str().unwrap_or("?")))
        );
        assert!(events.windows(2).all(|pair| pair[0].id < pair[1].id), "in order");
        numbers.extend(events.iter().map(|one| one.id));
    }
    assert!(numbers.into_iter().eq(1..=1_000), "each number once, and none left out");
    assert_eq!(count(legacy, "status = 'sent' AND attempts = 1").await, 1_000);
}

async fn a_webhook_is_signed_and_tried_again_until_it_takes_it(dir: &Path, legacy: &Legacy) {
    platform(dir, legacy, 1).await;
    let receiver = Receiver::start(503).await;
    configure(dir, &receiver, r#"["workflow_*", "hello"]"#);
    let replica = Replica::start(dir, legacy, &WITH_SECRET).await;
    let subscriber = Subscriber::connect(&replica, "room=video_v0", None).await;
    legacy.execute("UPDATE videos SET processing_status = 'processing' WHERE id = 'v0'").await;
    let event = subscriber.wait_for(1).await.remove(0);
    let id = event.data["id"].as_str().expect("an id").to_owned();
    until("the first attempt to be recorded", async || {
        count(legacy, "status = 'pending' AND attempts >= 1").await == 1
    })
    .await;
    receiver.answer(204);
    until("it to be taken", async || status(legacy, &id).await == "sent").await;
    let posted = receiver.posted();
    assert!(posted.len() >= 2, "{posted:?}");
    for one in &posted {
        assert!(one.is_signed_with(SECRET) && !one.is_signed_with("another secret"));
        assert_eq!(one.headers["content-type"], "application/json");
        assert_eq!(one.headers["webhook-id"], id);
        assert_eq!(one.json(), event.data, "what subscribers get");
    }
    // A type that nobody wants there, and then one that names no subscriber.
    let plain = notify(dir, legacy, &["plain", "--room", "video_v0"]);
    until("the other", async || status(legacy, &plain).await == "sent").await;
    assert_eq!(subscriber.wait_for(2).await[1].data["id"], plain);
    assert_eq!(subscriber.events().len(), 2, "subscribers got it once, whatever the webhook did");
    legacy
        .execute(
            "INSERT INTO realtime_notification_queue (id, event_type, event_data) VALUES \
             ('to-nobody', 'unwanted', '{}'), ('to-the-hook', 'hello', '{}')",
        )
        .await;
    until("its end", async || status(legacy, "to-nobody").await == "failed").await;
    until("its end", async || status(legacy, "to-the-hook").await == "sent").await;
    let last = receiver.posted().pop().expect("some");
    assert_eq!(last.headers["webhook-id"], "to-the-hook");
    let said = std::fs::read_to_string(&replica.log).expect("its log");
    assert!(!said.contains(SECRET), "{said}");
}

async fn a_webhook_that_never_takes_it_fails_the_notification(dir: &Path, legacy: &Legacy) {
    platform(dir, legacy, 1).await;
    let receiver = Receiver::start(500).await;
    configure(dir, &receiver, "[]");
    let _replica = Replica::start(dir, legacy, &WITH_SECRET).await;
    let id = notify(dir, legacy, &["hello", "--user", "u", "--max-attempts", "2"]);
    until("its end", async || status(legacy, &id).await == "failed").await;
    assert_eq!(receiver.posted().len(), 2);
    assert_eq!(
        count(legacy, "attempts = 2 AND next_retry_at IS NULL AND sent_at IS NULL").await,
        1
    );
    let why: String =
        legacy.rows("SELECT last_error FROM realtime_notification_queue").await[0].get(0);
    assert!(why.contains("answered 500") && why.contains("http://127.0.0.1:"), "{why}");
    assert!(!why.contains("/hook"), "the path may be a secret: {why}");
}

/// The replica is killed while a webhook does not answer: subscribers have it, the webhook
/// does not, and the row is `processing`.
async fn what_a_killed_dispatcher_had_is_delivered_by_another(dir: &Path, legacy: &Legacy) {
    platform(dir, legacy, 1).await;
    let receiver = Receiver::start(0).await;
    configure(dir, &receiver, "[]");
    let dead = Replica::start(dir, legacy, &WITH_SECRET).await;
    let id = notify(dir, legacy, &["hello", "--room", "r"]);
    until("the post", async || !receiver.posted().is_empty()).await;
    assert_eq!(status(legacy, &id).await, "processing");
    dead.kill();
    receiver.answer(200);
    let replica = Replica::start(dir, legacy, &WITH_SECRET).await;
    let subscriber = Subscriber::connect(&replica, "room=r&last_event_id=0", None).await;
    until("it to be delivered", async || status(legacy, &id).await == "sent").await;
    assert_eq!(count(legacy, "attempts = 1").await, 1, "the one that did not end does not count");
    assert_eq!(receiver.posted().len(), 2);
    notify(dir, legacy, &["after", "--room", "r"]);
    let events = subscriber.wait_for(2).await;
    assert_eq!(ids(&events[..1]), [id], "in the outbox once");
    assert_eq!(events[1].event_type(), "after");
}

/// The replica is killed between its claim and the outbox: a lock of the test's holds it
/// there. MariaDB only; SQLite has no such lock.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_claimed_and_not_published_is_published_by_another() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    platform(dir.path(), &legacy, 1).await;
    let first = Replica::start(dir.path(), &legacy, &[]).await;
    let subscriber = Subscriber::connect(&first, "room=r", None).await;
    notify(dir.path(), &legacy, &["before", "--room", "r"]);
    let (_, last) = {
        subscriber.wait_for(1).await;
        subscriber.cut()
    };
    let mut held = legacy.pool.begin().await.expect("a transaction");
    let lock = "SELECT seq FROM reelshift_notification_position FOR UPDATE";
    held.execute(lock).await.expect("the position is locked");
    let rows = (0..300).map(|n| (format!("n{n:03}"), 3, "r".to_owned()));
    queue(&legacy, rows, &json!({})).await;
    until("a claim", async || count(&legacy, "status = 'processing'").await > 0).await;
    assert_eq!(count(&legacy, "status = 'sent'").await, 1);
    first.kill();
    held.rollback().await.expect("the lock is gone");
    let second = Replica::start(dir.path(), &legacy, &[]).await;
    let back = Subscriber::connect(&second, "room=r", last).await;
    let events = all_of(&second, "room=r", back, 300).await;
    let once: BTreeSet<_> = ids(&events).into_iter().collect();
    assert_eq!((events.len(), once.len()), (300, 300), "all of them, once");
    assert_eq!(count(&legacy, "status = 'sent' AND attempts = 1").await, 301);
    drop(second);
    legacy.drop_database().await;
}

async fn a_subscriber_that_does_not_read_costs_little_and_misses_nothing(
    dir: &Path,
    legacy: &Legacy,
) {
    platform(dir, legacy, 1).await;
    let replica = Replica::start(dir, legacy, &[]).await;
    let steady = Subscriber::connect(&replica, "room=r", None).await;
    let mut stalled = Vec::new();
    for _ in 0..20 {
        stalled.push(Subscriber::stalled(&replica, "room=r").await);
    }
    let before = resident(replica.pid());
    // 20 MB for each of them, far more than the kernel keeps for a connection.
    let data = json!({"text": "x".repeat(50_000)});
    let mut delivered = Vec::new();
    let mut steady = Some(steady);
    for some in 0..10 {
        let rows = (0..40).map(|n| (format!("n{:03}", 40 * some + n), 3, "r".to_owned()));
        queue(legacy, rows, &data).await;
        let (events, last) = {
            let reader = steady.take().expect("it goes on");
            reader.wait_for(40).await;
            reader.cut()
        };
        delivered.extend(events);
        steady = Some(Subscriber::connect(&replica, "room=r", last).await);
    }
    let after = resident(replica.pid());
    assert!(after < before + 64 * 1_024, "{before} KiB before, {after} KiB after");
    assert_eq!(delivered.len(), 400);
    let slow = Subscriber::read_on(stalled.remove(0)).await;
    let events = all_of(&replica, "room=r", slow, 400).await;
    assert_eq!(ids(&events), ids(&delivered));
}

/// A process's memory, in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

async fn the_flag_decides(dir: &Path, legacy: &Legacy) {
    platform(dir, legacy, 40).await;
    run(dir, legacy, &["flags", "rollout", "realtime_notifications", "50"]).ok();
    let replica = Replica::start(dir, legacy, &[]).await;
    let rooms: Vec<_> = (0..40).map(|n| format!("room=video_v{n}")).collect();
    let subscriber = Subscriber::connect(&replica, &rooms.join("&"), None).await;
    legacy.execute("UPDATE videos SET processing_status = 'processing'").await;
    let last = notify(dir, legacy, &["last", "--room", "video_v0", "--priority", "1000"]);
    until("the last", async || ids(&subscriber.events()).contains(&last)).await;
    // What the flag withholds is ended after the rest is published.
    let open = "status IN ('pending', 'processing')";
    until("the end of the others", async || count(legacy, open).await == 0).await;
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    for event in subscriber.events().iter().filter(|one| one.event_type() != "last") {
        let video = event.data["event_data"]["video_id"].as_str().expect("an id");
        *told.entry(video.to_owned()).or_default() += 1;
    }
    // As an application would compute it: `zlib.crc32(b"v0") % 100 < 50`.
    let expected: BTreeMap<_, _> = IN_HALF.map(|n| (format!("v{n}"), 1)).into();
    assert_eq!(told, expected);

    run(dir, legacy, &["flags", "emergency-disable"]).ok();
    until("a replica that heeds the flag", async || {
        let id = notify(dir, legacy, &["hello", "--room", "video_v0"]);
        tokio::time::sleep(Duration::from_secs(1)).await;
        status(legacy, &id).await == "pending"
    })
    .await;
    assert_eq!(replica.terminate(), Some(0));
    // One that starts while it is off delivers nothing at all.
    let replica = Replica::start(dir, legacy, &[]).await;
    let subscriber = Subscriber::connect(&replica, "room=video_v0", None).await;
    let queued = Reelshift::new(dir, &["notify", "hello", "--room", "video_v0"])
        .database(&legacy.url)
        .run()
        .expect(0);
    assert!(queued.stdout.contains("realtime_notifications is off"), "{}", queued.stdout);
    let over = notify(dir, legacy, &["over", "--room", "video_v0", "--expires-in", "1s"]);
    until("a replica at work", async || status(legacy, &over).await == "expired").await;
    assert_eq!(subscriber.events(), []);
    assert!(count(legacy, "status = 'pending' AND event_type = 'hello'").await > 0);
}

async fn what_is_over_is_not_delivered(dir: &Path, legacy: &Legacy) {
    platform(dir, legacy, 1).await;
    run(dir, legacy, &["flags", "disable", "realtime_notifications"]).ok();
    let over = notify(dir, legacy, &["over", "--room", "r", "--expires-in", "1s"]);
    let later = notify(dir, legacy, &["later", "--room", "r", "--after", "4s", "--priority", "1"]);
    let sooner = notify(dir, legacy, &["sooner", "--room", "r"]);
    let never_due = notify(dir, legacy, &["far", "--room", "r", "--after", "1h"]);
    // As the platform's own code may queue it.
    let expired = "UPDATE realtime_notification_queue SET expires_at = created_at \
                   WHERE event_type = 'far'";
    legacy.execute(expired).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let replica = Replica::start(dir, legacy, &[]).await;
    let subscriber = Subscriber::connect(&replica, "room=r", None).await;
    // Also while the flag is off, and also what is not due.
    for id in [&over, &never_due] {
        until("it to expire", async || status(legacy, id).await == "expired").await;
    }
    run(dir, legacy, &["flags", "enable", "realtime_notifications"]).ok();
    let events = subscriber.wait_for(2).await;
    let told: BTreeSet<_> = ids(&events).into_iter().collect();
    assert_eq!(told, BTreeSet::from([later, sooner]));

    legacy
        .execute(
            "UPDATE realtime_notification_queue SET sent_at = '2026-01-02 03:04:05', \
             updated_at = '2026-01-02 03:04:05', process_after = '2026-01-02 03:04:05'",
        )
        .await;
    legacy
        .execute("UPDATE reelshift_notification_outbox SET published_at = '2026-01-02 03:04:05'")
        .await;
    until("the replica to prune", async || {
        // Its next round is up to a minute away; the command does it at once.
        let pruned = run(dir, legacy, &["--json", "prune", "--older-than", "1h"]).expect(0).json();
        assert!(pruned["removed"]["notifications"].is_u64(), "{pruned}");
        count(legacy, "TRUE").await == 0
    })
    .await;
    for wrong in [
        &["notify", "hello"][..],
        &["notify", "hello", "--room", ""],
        &["notify", "hello", "--broadcast", "--data", "{"],
        &["notify", &"x".repeat(51), "--broadcast"],
    ] {
        assert_eq!(run(dir, legacy, wrong).code, Some(2), "{wrong:?}");
    }
}

async fn a_replica_that_is_told_to_end_ends_its_streams(dir: &Path, legacy: &Legacy) {
    platform(dir, legacy, 1).await;
    let replica = Replica::start(dir, legacy, &[]).await;
    let subscriber = Subscriber::connect(&replica, "room=r", None).await;
    assert_eq!(replica.get("/api/v1/notifications/stream?rooms=r").await, Some(400));
    assert_eq!(replica.terminate(), Some(0));
    until("the end of the stream", async || subscriber.ended()).await;
}

/// The numbers below 40 whose video is among 50 %, computed by Python's zlib.
const IN_HALF: [u32; 21] =
    [1, 5, 8, 12, 13, 14, 16, 20, 23, 24, 25, 26, 27, 28, 29, 31, 32, 33, 35, 37, 39];
