//! Faults on the way to the database, and of the database itself.

use std::time::Duration;

use reelshift_tests::chaos::faults::{self, Deadlocks};
use reelshift_tests::chaos::network::Namespace;
use reelshift_tests::chaos::{Place, Scene, skipped};
use reelshift_tests::{until, until_within};

/// Waits until every worker has joined the fleet, since one that cannot join ends, and one of
/// them holds a lease: which is a matter of chance, and a run has an end.
async fn at_work(scene: &Scene) {
    let joined = "SELECT COUNT(*) FROM reelshift_workers WHERE last_seen_at > started_at";
    until("every worker in the fleet", async || {
        scene.legacy.number(joined).await >= i64::try_from(scene.workers.len()).expect("a few")
    })
    .await;
    until("a worker at work", async || {
        scene.feed().await;
        scene.legacy.number("SELECT COUNT(*) FROM reelshift_batches WHERE state = 'leased'").await
            > 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_killed_again_and_again() {
    let mut scene = Scene::set(Place::Shared, 3_000, 11).await;
    if let Some(why) = faults::kill_breaks_triggers(&scene).await {
        return skipped(why);
    }
    scene.enqueue(&["backfill", "--batch-size", "200"]);
    scene.keep_back().await;
    for _ in 0..2 {
        scene.start_worker().await;
    }
    at_work(&scene).await;
    faults::kill_connections(&mut scene, Duration::from_secs(4), 20).await;
    let outcome = scene.finish().await;
    assert!(!outcome.application.outages.is_empty(), "{:?}", outcome.application);
    outcome.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_killed_restarted_and_away() {
    let mut scene = Scene::set(Place::Own, 4_000, 12).await.with_lease("12s");
    scene.enqueue(&["backfill", "--batch-size", "200"]);
    scene.keep_back().await;
    for _ in 0..3 {
        scene.start_worker().await;
    }
    at_work(&scene).await;
    faults::kill_server(&mut scene, Duration::ZERO).await;
    at_work(&scene).await;
    faults::restart_server(&mut scene).await;
    at_work(&scene).await;
    // Longer than the lease: every heartbeat is old then, and nobody is lost all the same.
    faults::kill_server(&mut scene, Duration::from_secs(13)).await;
    let outcome = scene.finish().await;
    let lost = "SELECT COUNT(*) FROM reelshift_workers WHERE state = 'lost'";
    assert_eq!(outcome.still.legacy.number(lost).await, 0, "live workers were given up");
    outcome.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlocks_provoked() {
    let mut scene = Scene::set(Place::Own, 3_000, 13).await;
    // Rows whose status row is there before their backfill: its chunks then lock both.
    scene
        .legacy
        .execute("UPDATE videos SET processing_status = 'failed', ground_truth_generated = FALSE WHERE project_id = 'touched'")
        .await;
    scene.enqueue(&["backfill", "--batch-size", "200"]);
    scene.keep_back().await;
    // Chunks so short that some of them come through.
    scene.legacy.execute("UPDATE chaos_pace SET seconds = 0.0025").await;
    let mut provokers = Vec::new();
    for seed in 0..3 {
        provokers.push(Deadlocks::provoke(&mut scene, seed).await);
    }
    for _ in 0..2 {
        scene.start_worker().await;
    }
    until("some deadlocks", async || faults::deadlocks(&scene).await >= 10).await;
    until_within("half of the rows", Duration::from_mins(3), async || {
        scene.feed().await;
        let done = "SELECT COUNT(*) FROM videos WHERE retention_policy IS NOT NULL";
        scene.legacy.number(done).await > 1_500
    })
    .await;
    for provoker in provokers {
        provoker.end().await;
    }
    scene.finish().await.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_cut_off_by_its_network() {
    let namespace = match Namespace::make() {
        Ok(namespace) => namespace,
        Err(why) => return skipped(&why),
    };
    let mut scene = Scene::set(Place::Own, 5_000, 14).await;
    scene.enqueue(&["backfill", "--batch-size", "200"]);
    scene.keep_back().await;
    let cut_off = scene
        .start_worker_with(&namespace.address(), |url, reelshift| {
            let url = url.replace("127.0.0.1", &namespace.gateway());
            // Seen from inside, the server is on another host.
            reelshift
                .under(&namespace.words())
                .database(&url)
                .env("REELSHIFT_ALLOW_PLAINTEXT", "true")
        })
        .await;
    scene.start_worker().await;
    faults::lose_at_work(&scene, &[cut_off], |_| namespace.cut(), |_| namespace.heal()).await;
    namespace.heal();
    let pid = scene.workers[cut_off].pid();
    until("a worker that is back", async || scene.worker_state(pid).await == "live").await;
    let outcome = scene.finish().await;
    assert!(outcome.chunks.returned > 0, "{:?}", outcome.chunks);
    outcome.clear().await;
}
