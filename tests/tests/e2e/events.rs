//! Events of the fleet: what happens is told to a signed webhook, to Slack, to PagerDuty and to
//! a command, and told by a successor where the one that told it is killed.

use std::path::Path;

use reelshift_tests::notifications::Receiver;
use reelshift_tests::server::{Server, tokens};
use reelshift_tests::{Legacy, Reelshift, until};
use serde_json::Value;
use sqlx::Row as _;

const SECRET: &str = "a secret of 16 characters";

fn run(dir: &Path, legacy: &Legacy, arguments: &[&str], code: i32) {
    let ran = Reelshift::new(dir, arguments).database(&legacy.url).run();
    assert_eq!(ran.code, Some(code), "{}\n{}", ran.stdout, ran.stderr);
}

/// The events that the command hook was given.
fn told(dir: &Path) -> Vec<Value> {
    let lines = std::fs::read_to_string(dir.join("events.jsonl")).unwrap_or_default();
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let name = |event: Value| event["event"].as_str().expect("a name").to_owned();
    told(dir).into_iter().map(name).collect()
}

async fn until_told(dir: &Path, name: &str) {
    until(name, async || names(dir).iter().any(|told| told == name)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_the_fleet_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let (dir, legacy) = (dir.path(), Legacy::mariadb().await);
    legacy.fill(3_000).await;
    std::fs::create_dir(dir.join("media")).expect("a directory");
    run(dir, &legacy, &["apply", "expand"], 0);
    let (webhook, slack, pager) =
        (Receiver::start(200).await, Receiver::start(200).await, Receiver::start(200).await);
    std::fs::write(
        dir.join("reelshift.toml"),
        format!(
            "[[events]]\nto = \"webhook\"\nurl = \"{}\"\nsecret_env = \"EVENT_SECRET\"\n\
             [[events]]\nto = \"slack\"\nurl_env = \"SLACK_URL\"\ntypes = [\"run_*\"]\n\
             [[events]]\nto = \"pagerduty\"\nrouting_key_env = \"PAGER_KEY\"\nurl = \"{}\"\n\
             [[events]]\nto = \"command\"\ncommand = [\"tee\", \"-a\", \"events.jsonl\"]\n",
            webhook.url, pager.url
        ),
    )
    .expect("a file");
    let tokens = tokens();
    let variables = [
        ("REELSHIFT_TOKENS", tokens.as_str()),
        ("EVENT_SECRET", SECRET),
        ("SLACK_URL", slack.url.as_str()),
        ("PAGER_KEY", "routing"),
    ];
    let first = Server::start_with(dir, &legacy, &variables).await;
    until("who tells", async || {
        legacy
            .number(
                "SELECT COUNT(*) FROM reelshift_duties WHERE name = 'events' AND state IS NOT NULL",
            )
            .await
            == 1
    })
    .await;

    run(dir, &legacy, &["apply", "index"], 0);
    until_told(dir, "phase_applied").await;

    let mut killed = Reelshift::new(dir, &["work"]).database(&legacy.url).start();
    until("a live worker", async || {
        legacy.number("SELECT COUNT(*) FROM reelshift_workers WHERE state = 'live'").await == 1
    })
    .await;
    killed.kill().expect("it is killed");
    killed.wait().expect("it is gone");
    // Somebody has to notice.
    run(dir, &legacy, &["enqueue", "backfill", "--batch-size", "100"], 0);
    run(dir, &legacy, &["work", "--until-idle"], 0);
    until_told(dir, "worker_lost").await;
    until_told(dir, "run_done").await;

    run(dir, &legacy, &["enqueue", "validate"], 0);
    // As the breaker does it.
    legacy
        .execute(
            "UPDATE reelshift_runs SET state = 'paused', decided_by = 'circuit breaker', \
             decided_at = NOW(6), reason = '9 of 20 batches failed' WHERE kind = 'validate'",
        )
        .await;
    until_told(dir, "run_paused_by_breaker").await;
    let rows = legacy.rows("SELECT id FROM reelshift_runs WHERE kind = 'validate'").await;
    let validation: String = rows[0].try_get_unchecked("id").expect("an id");
    run(dir, &legacy, &["cancel", &validation], 0);

    // A successor tells what happens after the first was killed, and nothing again.
    drop(first);
    let before = names(dir);
    let _second = Server::start_with(dir, &legacy, &variables).await;
    run(dir, &legacy, &["rollback", "--to", "expand", "--yes"], 0);
    legacy.execute("UPDATE reelshift_duties SET beat_at = '2026-01-02 03:04:05'").await;
    until_told(dir, "rolled_back").await;
    let after = names(dir);
    let new = &after[before.len()..];
    assert!(new.iter().all(|name| name.starts_with("roll")), "{after:?}");

    let posted = webhook.posted();
    assert!(posted.iter().all(|post| post.is_signed_with(SECRET)), "{posted:?}");
    let mut posted: Vec<Value> = posted.iter().map(|post| post.json()).collect();
    let mut told = told(dir);
    // Each hook is told by itself.
    for events in [&mut posted, &mut told] {
        events.sort_by_key(|event| event["id"].to_string());
        events.dedup();
    }
    assert_eq!(posted, told);
    let texts: Vec<String> =
        slack.posted().iter().map(|post| post.json()["text"].to_string()).collect();
    assert!(texts.iter().any(|text| text.contains("The backfill run")), "{texts:?}");
    assert!(texts.iter().all(|text| !text.contains("phase")), "{texts:?}");
    let pages: Vec<Value> = pager.posted().iter().map(|post| post.json()).collect();
    assert!(pages.iter().all(|page| page["routing_key"] == "routing"), "{pages:?}");
    let lost = pages.iter().find(|page| page["payload"]["class"] == "worker_lost");
    assert_eq!(lost.expect("a page")["payload"]["severity"], "warning");
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_does_not_take_an_event_is_tried_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (dir, legacy) = (dir.path(), Legacy::mariadb().await);
    legacy.fill(100).await;
    run(dir, &legacy, &["apply", "expand"], 0);
    let webhook = Receiver::start(500).await;
    std::fs::write(
        dir.join("reelshift.toml"),
        format!(
            "[[events]]\nto = \"webhook\"\nurl = \"{}\"\nsecret_env = \"EVENT_SECRET\"\n",
            webhook.url
        ),
    )
    .expect("a file");
    let tokens = tokens();
    let variables = [("REELSHIFT_TOKENS", tokens.as_str()), ("EVENT_SECRET", SECRET)];
    let _server = Server::start_with(dir, &legacy, &variables).await;
    until("who tells", async || {
        legacy
            .number(
                "SELECT COUNT(*) FROM reelshift_duties WHERE name = 'events' AND state IS NOT NULL",
            )
            .await
            == 1
    })
    .await;
    run(dir, &legacy, &["enqueue", "backfill"], 0);
    run(dir, &legacy, &["work", "--until-idle"], 0);
    until("an attempt", async || !webhook.posted().is_empty()).await;
    webhook.answer(204);
    until("another", async || webhook.posted().len() > 1).await;
    let ids: Vec<Value> = webhook.posted().iter().map(|post| post.json()["id"].clone()).collect();
    assert!(ids.windows(2).all(|two| two[0] == two[1]), "{ids:?}");
    legacy.drop_database().await;
}
