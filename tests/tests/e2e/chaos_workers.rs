//! Faults of processes: workers and producers killed, frozen, and with a wrong clock.

use std::process::Command;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use reelshift_tests::chaos::worker::Worker;
use reelshift_tests::chaos::{Place, Scene, faults, skipped};
use reelshift_tests::until;
use sqlx::Row;
use tokio::time::sleep;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn workers_killed_at_random() {
    let mut scene = Scene::set(Place::Shared, 8_000, 1).await;
    scene.enqueue(&["backfill", "--batch-size", "100"]);
    scene.keep_back().await;
    let mut rng = StdRng::seed_from_u64(1);
    for _ in 0..3 {
        scene.start_worker().await;
    }
    for _ in 0..5 {
        sleep(Duration::from_millis(700)).await;
        faults::kill_at_work(&mut scene, &mut rng).await;
    }
    let outcome = scene.finish().await;
    assert!(outcome.chunks.returned > 0, "no killed worker held a lease: {:?}", outcome.chunks);
    // A lost lease is not a failed attempt.
    assert!(outcome.chunks.failed.is_empty(), "{:?}", outcome.chunks.failed);
    outcome.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_writes_nothing() {
    let mut scene = Scene::set(Place::Shared, 8_000, 2).await;
    scene.enqueue(&["backfill", "--batch-size", "200"]);
    scene.keep_back().await;
    for _ in 0..3 {
        scene.start_worker().await;
    }
    let mut zombies = Vec::new();
    for _ in 0..2 {
        let any: Vec<usize> = (0..3).filter(|index| !zombies.contains(index)).collect();
        let zombie = faults::lose_at_work(&scene, &any, Worker::freeze, Worker::thaw).await;
        scene.workers[zombie].thaw();
        zombies.push(zombie);
    }
    // Whatever they then wrote under their lost leases, the ledger of chunks would show.
    for zombie in zombies {
        let pid = scene.workers[zombie].pid();
        until("a zombie that is alive again", async || scene.worker_state(pid).await == "live")
            .await;
    }
    let outcome = scene.finish().await;
    assert!(outcome.chunks.returned >= 2, "{:?}", outcome.chunks);
    outcome.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_given_up_while_they_work() {
    // Nobody takes a lease from a worker before its own connection is as old as a lease may
    // be: until then the batches must not run out. And each chunk ends before the wait for
    // its batch's row does.
    let mut scene = Scene::set(Place::Shared, 24_000, 5).await;
    scene.enqueue(&["backfill", "--batch-size", "50"]);
    scene.keep_back().await;
    for _ in 0..3 {
        scene.start_worker().await;
    }
    let mut rng = StdRng::seed_from_u64(5);
    for _ in 0..4 {
        faults::give_up(&scene, &mut rng).await;
    }
    let outcome = scene.finish().await;
    assert!(outcome.chunks.returned >= 4, "{:?}", outcome.chunks);
    outcome.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn planners_killed_while_they_enqueue() {
    let mut scene = Scene::set(Place::Shared, 3_000, 3).await;
    let planned = "SELECT COUNT(*) FROM reelshift_batches";
    // Slow enough for whoever plans to be met at it.
    scene
        .legacy
        .execute(
            "CREATE TRIGGER slow BEFORE INSERT ON reelshift_batches FOR EACH ROW DO SLEEP(0.01)",
        )
        .await;
    let mut producer = scene.start_producer(&["backfill", "--batch-size", "2"]);
    until("some planned batches", async || scene.legacy.number(planned).await > 0).await;
    producer.kill();
    let first = scene.legacy.number(planned).await;
    assert!(first < 1_500, "the producer was killed too late for this test");

    // A worker takes the plan over, and dies of it too.
    for _ in 0..3 {
        scene.start_worker().await;
    }
    let planners = "SELECT w.pid FROM reelshift_runs r JOIN reelshift_workers w
                    ON r.planner = CONCAT('worker ', w.id) WHERE w.state = 'live'";
    until("a worker that plans", async || {
        let planner = scene.legacy.rows(&planners.replace("w.pid", "CAST(w.pid AS SIGNED)")).await;
        let Some(pid) = planner.first().and_then(|row| u32::try_from(row.get::<i64, _>(0)).ok())
        else {
            return false;
        };
        let index = scene.workers.iter().position(|worker| worker.pid() == pid);
        index.map(|index| scene.workers.remove(index).kill()).is_some()
    })
    .await;
    scene.legacy.execute("DROP TRIGGER slow").await;
    let outcome = scene.finish().await;
    let legacy = &outcome.still.legacy;
    // A row that was locked in passing is the sweep's; but no range was planned twice.
    let twice = "SELECT COUNT(*) FROM (SELECT upto_id FROM reelshift_batches
                 GROUP BY after_id, upto_id HAVING COUNT(*) > 1) AS twice";
    assert_eq!(legacy.number(twice).await, 0);
    outcome.clear().await;
}

/// The library that gives a process a clock of its own, where there is one.
fn faketime() -> Option<String> {
    let output = Command::new("faketime").args(["-f", "+0", "printenv", "LD_PRELOAD"]).output();
    let output = output.ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_an_hour_off() {
    let Some(library) = faketime() else {
        return skipped("a clock an hour off needs the program `faketime`");
    };
    let mut scene = Scene::set(Place::Shared, 5_000, 4).await.with_lease("20s");
    scene.enqueue(&["backfill", "--batch-size", "200"]);
    scene.keep_back().await;
    for offset in ["+3600", "-3600"] {
        scene
            .start_worker_with("%", |url, reelshift| {
                let clock = [("FAKETIME", offset), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
                clock
                    .iter()
                    .fold(reelshift, |reelshift, (name, value)| reelshift.env(name, value))
                    .env("LD_PRELOAD", &library)
                    .database(url)
            })
            .await;
    }
    let victim = scene.start_worker().await;
    let pids: Vec<u32> = scene.workers.iter().map(Worker::pid).collect();
    // Their own clocks are in the ids that they gave themselves.
    for (pid, offset) in pids.iter().zip([3_600, -3_600]) {
        let sql = format!(
            "SELECT id, CAST(UNIX_TIMESTAMP(started_at) AS SIGNED) FROM reelshift_workers WHERE pid = {pid}"
        );
        until("a registered worker", async || !scene.legacy.rows(&sql).await.is_empty()).await;
        let row = &scene.legacy.rows(&sql).await[0];
        let id: Uuid = row.get::<String, _>(0).parse().expect("an id");
        let own = i64::try_from(id.get_timestamp().expect("a time").to_unix().0).expect("a time");
        let off = own - row.get::<i64, _>(1);
        assert!((off - offset).abs() < 60, "the clock of a worker is off by {off} s");
    }
    until("a victim at work", async || {
        scene.feed().await;
        scene.leases_of(victim).await > 0
    })
    .await;
    scene.workers.remove(victim).kill();
    // They see that it is silent, when it is, and nobody takes them for silent.
    until("a lost worker", async || scene.worker_state(pids[2]).await == "lost").await;
    let outcome = scene.finish().await;
    let legacy = &outcome.still.legacy;
    let lost = "SELECT COUNT(*) FROM reelshift_workers WHERE state = 'lost'";
    assert_eq!(legacy.number(lost).await, 1);
    let wrong = "SELECT COUNT(*) FROM reelshift_batches
                 WHERE ABS(TIMESTAMPDIFF(SECOND, finished_at, NOW())) > 600
                    OR ABS(TIMESTAMPDIFF(SECOND, run_at, NOW())) > 600";
    assert_eq!(legacy.number(wrong).await, 0, "times in the ledger are not the database's");
    outcome.clear().await;
}
