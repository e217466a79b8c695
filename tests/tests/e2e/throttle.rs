//! The throttle, with real workers on a real server: it stops, slows down and speeds up
//! again, and says why.

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use reelshift_tests::{LIMIT, Legacy, Reelshift, backlog, oracle, wait};
use serde_json::Value;

fn run(directory: &Path, legacy: &Legacy, arguments: &[&str], code: i32) -> Value {
    let arguments: Vec<&str> = ["--json"].into_iter().chain(arguments.iter().copied()).collect();
    Reelshift::new(directory, &arguments).database(&legacy.url).run().expect(code).json()
}

fn throttle(directory: &Path, legacy: &Legacy) -> Value {
    let ran = Reelshift::new(directory, &["--json", "status"]).database(&legacy.url).run();
    ran.json()["throttle"].clone()
}

/// What `status` says to people.
fn status(directory: &Path, legacy: &Legacy) -> String {
    Reelshift::new(directory, &["status"]).database(&legacy.url).run().stdout
}

/// Batches that are due at a time: a run is not over before the throttle has acted.
const DUE: usize = 10;

fn tune(directory: &Path, legacy: &Legacy, setting: &str) {
    run(directory, legacy, &["tune", setting], 0);
}

fn worker(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> Child {
    let arguments: Vec<&str> =
        ["work", "--until-idle"].into_iter().chain(arguments.iter().copied()).collect();
    Reelshift::new(directory, &arguments).database(&legacy.url).start()
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(began.elapsed() < LIMIT, "{what} did not come about within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn until_level(directory: &Path, legacy: &Legacy, level: &str) -> Value {
    until(&format!("the level {level}"), async || {
        backlog::feed(legacy, DUE).await;
        let throttle = throttle(directory, legacy);
        (throttle["level"] == level).then_some(throttle)
    })
    .await
}

async fn rows_done(legacy: &Legacy) -> i64 {
    legacy.number("SELECT CAST(COALESCE(SUM(rows_done), 0) AS SIGNED) FROM reelshift_batches").await
}

async fn prepared(directory: &Path, legacy: &Legacy, videos: u32) {
    legacy.fill(videos).await;
    run(directory, legacy, &["apply", "expand"], 0);
    run(directory, legacy, &["enqueue", "backfill", "--batch-size", "50"], 0);
    backlog::keep_back(legacy, DUE).await;
}

/// Waits until the throttle was sampled `more` times again.
async fn samples(legacy: &Legacy, more: u32) {
    let beat = "SELECT CAST(beat_at AS CHAR) FROM reelshift_duties WHERE name = 'throttle'";
    let mut last = String::new();
    for _ in 0..=more {
        last = until("a sample", async || {
            let at: String = sqlx::Row::get(&legacy.rows(beat).await[0], 0);
            (at != last).then_some(at)
        })
        .await;
    }
}

async fn stops_and_goes_on(directory: &Path, legacy: &Legacy) {
    prepared(directory, legacy, 2_000).await;
    // No disk has that much room.
    tune(directory, legacy, "free_disk=1PiB");
    let mut workers: Vec<Child> = (0..2).map(|_| worker(directory, legacy, &[])).collect();
    let stopped = until_level(directory, legacy, "stopped").await;
    assert_eq!((&stopped["share"], &stopped["at_once"]), (&0.0.into(), &0.into()), "{stopped}");
    let reason = stopped["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("free disk ") && reason.contains(" < "), "{reason}");
    let said = status(directory, legacy);
    assert!(said.contains("THROTTLED since") && said.contains("no chunk runs"), "{said}");
    // Each worker says so by itself: one may be between two batches before it knows.
    until("workers that have stopped", async || {
        let stopped =
            "SELECT COUNT(*) FROM reelshift_workers WHERE doing = 'stopped by the throttle'";
        (legacy.number(stopped).await == 2).then_some(())
    })
    .await;
    let done = rows_done(legacy).await;
    backlog::release_all(legacy).await;
    samples(legacy, 2).await;
    assert_eq!(rows_done(legacy).await, done, "nothing is done meanwhile");

    tune(directory, legacy, "free_disk=default");
    for worker in &mut workers {
        assert_eq!(wait(worker, LIMIT), Some(0));
    }
    assert_eq!(oracle::check_every_row(legacy).await, 2_000);
    // A batch given back is no failed attempt.
    assert_eq!(legacy.number("SELECT COUNT(*) FROM reelshift_batches WHERE attempts > 0").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_the_fleet_on_mariadb() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    stops_and_goes_on(dir.path(), &legacy).await;
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_the_fleet_on_sqlite() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    stops_and_goes_on(dir.path(), &legacy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_server_slows_the_fleet_down() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    prepared(dir.path(), &legacy, 4_000).await;
    tune(dir.path(), &legacy, "threads_running=1");
    // An application that keeps three threads busy.
    let busy: Vec<_> = (0..3)
        .map(|_| {
            let pool = legacy.pool.clone();
            tokio::spawn(async move {
                sqlx::raw_sql("SELECT SLEEP(600)").execute(&pool).await.map(drop)
            })
        })
        .collect();
    let mut worker = worker(dir.path(), &legacy, &["--concurrency", "2"]);
    let slowed = until("less than one chunk", async || {
        backlog::feed(&legacy, DUE).await;
        let throttle = throttle(dir.path(), &legacy);
        let chunks = throttle["chunks"].as_f64().unwrap_or(1.0);
        (throttle["level"] == "slowed" && chunks < 0.5).then_some(throttle)
    })
    .await;
    let reason = slowed["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("threads running ") && reason.contains(" > 1.0 on "), "{reason}");
    assert!(status(dir.path(), &legacy).contains("one chunk at a time, "));
    let done = rows_done(&legacy).await;
    backlog::release_all(&legacy).await;
    until("slow progress", async || (rows_done(&legacy).await > done).then_some(())).await;

    // With the limit far away the worker gets its share back, and is through.
    tune(dir.path(), &legacy, "threads_running=1000");
    assert_eq!(wait(&mut worker, LIMIT), Some(0));
    busy.iter().for_each(tokio::task::JoinHandle::abort);
    for session in legacy
        .rows("SELECT CAST(ID AS SIGNED) FROM information_schema.PROCESSLIST WHERE INFO = 'SELECT SLEEP(600)'")
        .await
    {
        let id: i64 = sqlx::Row::get(&session, 0);
        legacy.execute(&format!("KILL {id}")).await;
    }
    assert_eq!(oracle::check_every_row(&legacy).await, 4_000);
    legacy.drop_database().await;
}

/// An application that is at work all the time, and what `status` then says of the fleet's
/// part in its latency. How large that part is depends on the machine.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_fleet_adds_is_measured_beside_an_application() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    prepared(dir.path(), &legacy, 4_000).await;
    // However fast the machine is, the fleet has work for longer than the measurement takes.
    legacy.execute("CREATE TRIGGER slow BEFORE UPDATE ON videos FOR EACH ROW DO SLEEP(0.01)").await;
    let busy: Vec<_> = (0..2)
        .map(|_| {
            let pool = legacy.pool.clone();
            tokio::spawn(async move {
                loop {
                    let done = sqlx::raw_sql("SELECT SLEEP(0.01)").execute(&pool).await;
                    done.expect("the application's statement");
                }
            })
        })
        .collect();
    tune(dir.path(), &legacy, "threads_running=1000");
    let mut worker = worker(dir.path(), &legacy, &["--concurrency", "1"]);
    let measured = until("a measurement", async || {
        backlog::feed(&legacy, DUE).await;
        let throttle = throttle(dir.path(), &legacy);
        let readings = throttle["readings"].as_array().cloned().unwrap_or_default();
        let median = readings.into_iter().find(|one| one["signal"] == "application_median");
        median.map(|median| (median, throttle["impact"].clone()))
    })
    .await;
    let (median, impact) = measured;
    assert!(median["limit"].as_f64().is_some_and(|limit| limit >= 0.25), "{median}");
    let running = impact["running_without"].as_f64().expect("a number");
    assert!(running > 0.5, "two threads that do nothing but execute: {impact}");
    for part in ["with", "without"] {
        assert!(impact["median"][part].as_f64().is_some_and(|time| time > 0.0), "{impact}");
    }
    let said = until("a line for people", async || {
        backlog::feed(&legacy, DUE).await;
        let said = status(dir.path(), &legacy);
        said.lines().find(|line| line.contains("without the fleet (+")).map(str::to_owned)
    })
    .await;
    assert!(said.starts_with("application ") && said.contains("limit "), "{said}");

    // Switched off, nothing is measured and nobody rests.
    tune(dir.path(), &legacy, "impact=off");
    until("nothing measured", async || {
        backlog::feed(&legacy, DUE).await;
        throttle(dir.path(), &legacy)["impact"].is_null().then_some(())
    })
    .await;
    legacy.execute("DROP TRIGGER slow").await;
    backlog::release_all(&legacy).await;
    assert_eq!(wait(&mut worker, LIMIT), Some(0));
    busy.iter().for_each(tokio::task::JoinHandle::abort);
    assert_eq!(oracle::check_every_row(&legacy).await, 4_000);
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hashing_keeps_to_the_byte_rate() {
    const FILE: usize = 2 << 20;
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    legacy.fill(3).await;
    for name in ["a", "b", "c"] {
        std::fs::write(dir.path().join(name), vec![7; FILE]).expect("a file");
        let one = "SELECT id FROM videos WHERE file_path IS NULL LIMIT 1";
        let size = format!("file_path = '{name}', file_size = {FILE}");
        legacy.execute(&format!("UPDATE videos SET {size} WHERE id = ({one})")).await;
    }
    run(dir.path(), &legacy, &["apply", "expand"], 0);
    run(dir.path(), &legacy, &["enqueue", "hash"], 0);
    tune(dir.path(), &legacy, "byte_rate=2MiB");
    let began = Instant::now();
    let media = dir.path().to_string_lossy().into_owned();
    let mut worker = worker(dir.path(), &legacy, &["--media-root", &media]);
    assert_eq!(wait(&mut worker, LIMIT), Some(0));
    // 6 MiB, of which a quarter of a second's are free.
    assert!(began.elapsed() >= Duration::from_millis(2_700), "{:?}", began.elapsed());
    let hashed = "SELECT COUNT(*) FROM videos WHERE LENGTH(file_hash) = 64";
    assert_eq!(legacy.number(hashed).await, 3);
}

/// The replica is another database of the same server, and replication the copying of the
/// one row that matters.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_falls_behind_stops_the_fleet() {
    let dir = tempfile::tempdir().expect("a directory");
    let (legacy, replica) = (Legacy::mariadb().await, Legacy::empty_mariadb().await);
    prepared(dir.path(), &legacy, 4_000).await;
    let database = legacy.url.rsplit('/').next().expect("a name");
    let copied = format!("{database}.reelshift_duties");
    replica.execute(&format!("CREATE TABLE reelshift_duties LIKE {copied}")).await;
    let replicate = async || loop {
        replica.execute(&format!("REPLACE INTO reelshift_duties SELECT * FROM {copied}")).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    tune(dir.path(), &legacy, "replica_lag=1s");
    let mut worker = worker(dir.path(), &legacy, &["--replica", &replica.url]);
    let lag = |throttle: &Value| {
        let readings = throttle["readings"].as_array().cloned().unwrap_or_default();
        readings.into_iter().find(|reading| reading["signal"] == "replica_lag")
    };
    tokio::select! {
        () = replicate() => unreachable!("it goes on for ever"),
        () = until("a replica that follows", async || {
            backlog::feed(&legacy, DUE).await;
            let throttle = throttle(dir.path(), &legacy);
            let value = lag(&throttle)?["value"].as_f64()?;
            (value < 1.0 && throttle["at_once"] != 0).then_some(())
        }) => {}
    }
    // Nothing is copied any more.
    let stopped = until_level(dir.path(), &legacy, "stopped").await;
    let reason = stopped["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("replica lag ") && reason.contains(" > 1.0 s on "), "{reason}");
    let done = rows_done(&legacy).await;
    backlog::release_all(&legacy).await;
    tokio::select! {
        () = replicate() => unreachable!("it goes on for ever"),
        () = until("work once it has caught up", async || {
            (rows_done(&legacy).await > done).then_some(())
        }) => {}
    }
    worker.kill().expect("it dies");
    worker.wait().expect("it is dead");
    replica.drop_database().await;
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_cannot_be_asked_slows_the_fleet_down() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    prepared(dir.path(), &legacy, 4_000).await;
    let replica = ["--replica", "mysql://root@127.0.0.1:1/platform"];
    let mut blind = worker(dir.path(), &legacy, &replica);
    // The fleet is blind before its first sample, too.
    let seen = until("a sample without the replica", async || {
        let throttle = throttle(dir.path(), &legacy);
        let reason = throttle["reason"].as_str().unwrap_or_default();
        reason.starts_with("replica lag unknown on 127.0.0.1:1: ").then_some(throttle.clone())
    })
    .await;
    assert_eq!(seen["level"], "blind", "{seen}");
    assert!(seen["chunks"].as_f64().is_some_and(|chunks| chunks <= 0.05), "{seen}");
    let done = rows_done(&legacy).await;
    backlog::release_all(&legacy).await;
    until("slow progress", async || (rows_done(&legacy).await > done).then_some(())).await;

    // A successor that was not given the replica does not forget it.
    blind.kill().expect("it dies");
    blind.wait().expect("it is dead");
    let mut successor = worker(dir.path(), &legacy, &[]);
    until("the successor's words", async || {
        let throttle = throttle(dir.path(), &legacy);
        let reason = throttle["reason"].as_str().unwrap_or_default();
        reason.contains("other workers were given this replica").then_some(())
    })
    .await;
    successor.kill().expect("it dies");
    successor.wait().expect("it is dead");
    legacy.drop_database().await;
}
