//! Random faults, one after another, while the fleet fills in rows and hashes files. Each
//! round says its seed; `cargo xtask chaos --seed` begins with it again.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reelshift_tests::chaos::faults::{self, Deadlocks};
use reelshift_tests::chaos::files::Files;
use reelshift_tests::chaos::{Place, Scene};
use tokio::time::sleep;

const WORKERS: usize = 3;
/// Faults of a round.
const FAULTS: u32 = 6;

async fn round(seed: u64) {
    eprintln!("random faults with seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut scene = Scene::set(Place::Own, 8_000, seed).await;
    let files = Files::make(&scene.legacy, &scene.media(), 200, 1 << 20).await;
    let mut producer = scene.start_producer(&["backfill", "--batch-size", "50"]);
    if rng.random() {
        sleep(Duration::from_millis(rng.random_range(0..500))).await;
        producer.kill();
        eprintln!("  a killed producer");
    }
    scene.enqueue(&["hash", "--batch-files", "10"]);
    scene.enqueue(&["backfill", "--batch-size", "50"]);
    scene.keep_back().await;
    for _ in 0..WORKERS {
        scene.start_worker().await;
    }
    for _ in 0..FAULTS {
        scene.feed().await;
        sleep(Duration::from_millis(rng.random_range(100..2_000))).await;
        let began = Instant::now();
        let fault = fault(&mut scene, &mut rng).await;
        eprintln!("  {fault} ({:.1?})", began.elapsed());
    }
    let outcome = scene.finish().await;
    assert_eq!(files.check(&outcome.still.legacy).await, 0, "files without a hash");
    files.check_present(&outcome.still.legacy).await;
    let (chunks, application) = (&outcome.chunks, &outcome.application);
    eprintln!(
        "  proved: {} chunks of {} rows, {} leases taken back, {} failed attempts, all in the error log; \
         {} requests of the application and {} outages",
        chunks.chunks,
        chunks.rows,
        chunks.returned,
        chunks.failed.len(),
        application.requests,
        application.outages.len()
    );
    outcome.clear().await;
}

async fn fault(scene: &mut Scene, rng: &mut StdRng) -> &'static str {
    match rng.random_range(0..11) {
        0..=2 => {
            faults::kill_worker(scene, rng).await;
            "a killed worker"
        }
        3..=4 => {
            faults::freeze_worker(scene, rng).await;
            "a frozen worker"
        }
        5 => {
            faults::give_up(scene, rng).await;
            "a worker given up at work"
        }
        6 if faults::kill_breaks_triggers(scene).await.is_none() => {
            let span = Duration::from_millis(rng.random_range(100..1_500));
            faults::kill_connections(scene, span, 1).await;
            "killed connections"
        }
        7 => {
            faults::kill_server(scene, Duration::from_millis(rng.random_range(0..5_000))).await;
            "a killed server"
        }
        8 => {
            faults::restart_server(scene).await;
            "a restarted server"
        }
        _ => {
            let deadlocks = Deadlocks::provoke(scene, rng.random()).await;
            sleep(Duration::from_millis(rng.random_range(500..2_000))).await;
            deadlocks.end().await;
            "deadlocks"
        }
    }
}

fn chance() -> u64 {
    rand::random_range(0..1_000_000_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn random_faults() {
    round(chance()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs for as long as `cargo xtask chaos` says"]
async fn random_faults_for_long() {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let minutes = variable("REELSHIFT_TEST_CHAOS_MINUTES").expect("run `cargo xtask chaos`");
    let first = variable("REELSHIFT_TEST_CHAOS_SEED").unwrap_or_else(chance);
    let began = Instant::now();
    let mut rounds = 0;
    while rounds == 0 || began.elapsed() < Duration::from_mins(minutes) {
        round(first.wrapping_add(rounds)).await;
        rounds += 1;
    }
    eprintln!("{rounds} rounds of random faults, each proved");
}
