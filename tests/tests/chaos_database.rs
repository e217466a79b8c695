//! Faults on the way to the database, and of the database itself.

use std::time::Duration;

use reelshift_tests::chaos::faults::{self, Deadlocks};
use reelshift_tests::chaos::network::Namespace;
use reelshift_tests::chaos::{Place, Scene, skipped};
use reelshift_tests::{until, until_within};
use tokio::time::sleep;

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_killed_again_and_again() {
    let mut scene = Scene::set(Place::Shared, 3_000, 11).await;
    scene.enqueue(&["backfill", "--batch-size", "200"]);
    for _ in 0..2 {
        scene.start_worker().await;
    }
    until("a worker at work", async || scene.leases_of(0).await > 0).await;
    let killed = faults::kill_connections(&scene, Duration::from_secs(4)).await;
    assert!(killed > 20, "only {killed} connections were killed");
    let outcome = scene.finish().await;
    assert!(outcome.application.outages > 0, "{:?}", outcome.application);
    outcome.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_killed_restarted_and_away() {
    let mut scene = Scene::set(Place::Own, 4_000, 12).await;
    scene.enqueue(&["backfill", "--batch-size", "200"]);
    for _ in 0..3 {
        scene.start_worker().await;
    }
    until("a worker at work", async || scene.leases_of(0).await > 0).await;
    faults::kill_server(&mut scene, Duration::ZERO).await;
    sleep(Duration::from_millis(1_500)).await;
    faults::restart_server(&mut scene).await;
    sleep(Duration::from_millis(1_500)).await;
    // Longer than the lease: every heartbeat is old then, and nobody is lost all the same.
    faults::kill_server(&mut scene, Duration::from_secs(5)).await;
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
    let mut provokers = Vec::new();
    for seed in 0..3 {
        provokers.push(Deadlocks::provoke(&mut scene, seed).await);
    }
    for _ in 0..2 {
        scene.start_worker().await;
    }
    until("some deadlocks", async || faults::deadlocks(&scene).await >= 10).await;
    until("half of the rows", async || {
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
    scene.enqueue(&["backfill", "--batch-size", "400"]);
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
    until("a worker at work in its namespace", async || scene.leases_of(cut_off).await > 0).await;
    namespace.cut();
    faults::is_lost(&scene, cut_off).await;
    namespace.heal();
    let pid = scene.workers[cut_off].pid();
    until_within("a worker that is back", Duration::from_secs(30), async || {
        scene.worker_state(pid).await == "live"
    })
    .await;
    let outcome = scene.finish().await;
    assert!(outcome.chunks.returned > 0, "{:?}", outcome.chunks);
    outcome.clear().await;
}
