//! Live control by the binary, seen by real workers on both databases: pause, resume,
//! tune, cancel, watchers that take over, and pruning.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use reelshift_tests::{LIMIT, Legacy, Reelshift, backlog, oracle, wait};
use serde_json::Value;

fn document(directory: &Path, legacy: &Legacy, arguments: &[&str], code: i32) -> Value {
    let arguments: Vec<&str> = ["--json"].into_iter().chain(arguments.iter().copied()).collect();
    Reelshift::new(directory, &arguments).database(&legacy.url).run().expect(code).json()
}

/// What a refused command says.
fn refused(directory: &Path, legacy: &Legacy, arguments: &[&str], code: i32) -> String {
    Reelshift::new(directory, arguments).database(&legacy.url).run().expect(code).stderr
}

/// A worker, ended with the test.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.0.kill().expect("it is killed");
            self.0.wait().expect("it is gone");
        }
    }
}

fn worker(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> Worker {
    let arguments: Vec<&str> = ["work"].into_iter().chain(arguments.iter().copied()).collect();
    Worker(Reelshift::new(directory, &arguments).database(&legacy.url).start())
}

/// Waits for a state of the database. The fleet has something to claim meanwhile, as long as
/// batches are kept back.
async fn until(legacy: &Legacy, sql: &str, holds: impl Fn(i64) -> bool) {
    reelshift_tests::until(sql, async || {
        backlog::feed(legacy, DUE).await;
        holds(legacy.number(sql).await)
    })
    .await;
}

/// Batches that are due at a time: a run is not over before the test has done what it wants.
const DUE: usize = 100;

const LEASED: &str = "SELECT COUNT(*) FROM reelshift_batches WHERE state = 'leased'";
const PAUSED: &str =
    "SELECT COUNT(*) FROM reelshift_workers WHERE state = 'live' AND doing = 'paused'";
const DONE: &str = "SELECT COUNT(*) FROM reelshift_batches WHERE state = 'done'";

async fn databases(directory: &Path) -> [Legacy; 2] {
    [Legacy::sqlite(directory).await, Legacy::mariadb().await]
}

/// A run of many small batches, of which some are due; its id.
async fn enqueued(directory: &Path, legacy: &Legacy, videos: u32, size: &str) -> String {
    legacy.fill(videos).await;
    document(directory, legacy, &["apply", "expand"], 0);
    let run = document(directory, legacy, &["enqueue", "backfill", "--batch-size", size], 0);
    backlog::keep_back(legacy, DUE).await;
    run["run"]["id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_fleet_holds_nothing_and_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in databases(dir.path()).await {
        enqueued(dir.path(), &legacy, 1_000, "1").await;
        let _workers = [(); 2].map(|()| worker(dir.path(), &legacy, &["--concurrency", "2"]));
        until(&legacy, DONE, |done| done > 0).await;
        let paused = document(dir.path(), &legacy, &["pause", "--reason", "the backup runs"], 0);
        assert_eq!(paused["changes"][0]["previous"], Value::Null);
        until(&legacy, PAUSED, |workers| workers == 2).await;
        until(&legacy, LEASED, |leased| leased == 0).await;
        let done = legacy.number(DONE).await;
        backlog::release_all(&legacy).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(legacy.number(DONE).await, done, "nothing is done meanwhile");
        let status = document(dir.path(), &legacy, &["status"], 0);
        let pause = &status["controls"][0];
        assert_eq!(
            (&pause["name"], &pause["reason"]),
            (&"pause".into(), &"the backup runs".into())
        );
        assert!(pause["changed_by"].as_str().is_some_and(|who| who.contains('@')), "{pause}");
        let live = |worker: &&Value| worker["state"] == "live" && worker["doing"] == "paused";
        let workers = status["workers"].as_array().expect("workers");
        assert_eq!(workers.iter().filter(live).count(), 2, "they live: {workers:?}");
        let text = Reelshift::new(dir.path(), &["status"]).database(&legacy.url).run().stdout;
        assert!(text.contains("PAUSED, the whole fleet: the backup runs ("), "{text}");

        document(dir.path(), &legacy, &["resume"], 0);
        until(&legacy, DONE, |now| now > done).await;
        legacy.drop_database().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_run_waits_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in databases(dir.path()).await {
        let run = enqueued(dir.path(), &legacy, 1_000, "1").await;
        let _worker = worker(dir.path(), &legacy, &["--concurrency", "2"]);
        until(&legacy, DONE, |done| done > 0).await;
        let paused =
            document(dir.path(), &legacy, &["pause", "--run", &run, "--reason", "odd rows"], 0);
        assert_eq!(paused["run"]["state"], "paused");
        until(&legacy, LEASED, |leased| leased == 0).await;
        let status = document(dir.path(), &legacy, &["status"], 5);
        assert_eq!(status["runs"][0]["reason"], "odd rows");
        let said = Reelshift::new(dir.path(), &["enqueue", "backfill"]).database(&legacy.url).run();
        assert!(said.stdout.contains(&format!("resume --run {run}")), "{said:?}");
        document(dir.path(), &legacy, &["resume", "--run", &run], 0);
        assert_eq!(document(dir.path(), &legacy, &["status"], 0)["runs"][0]["reason"], Value::Null);
        let said = refused(dir.path(), &legacy, &["resume", "--run", &run], 4);
        assert!(said.contains("not paused"), "{said}");
        backlog::release_all(&legacy).await;
        document(dir.path(), &legacy, &["work", "--until-idle"], 0);
        assert_eq!(oracle::check_every_row(&legacy).await, 1_000);
        legacy.drop_database().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_ends_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in databases(dir.path()).await {
        let run = enqueued(dir.path(), &legacy, 1_000, "1").await;
        let _worker = worker(dir.path(), &legacy, &["--concurrency", "2"]);
        until(&legacy, DONE, |done| done > 0).await;
        let cancelled = document(dir.path(), &legacy, &["cancel", &run, "--reason", "wrong"], 0);
        assert_eq!(cancelled["run"]["state"], "cancelled");
        assert!(cancelled["batches_cancelled"].as_u64() > Some(0), "{cancelled}");
        let rows = "SELECT COUNT(*) FROM video_processing_status";
        let open = "SELECT COUNT(*) FROM reelshift_batches WHERE state IN ('pending', 'leased')";
        assert_eq!(legacy.number(open).await, 0);
        let written = legacy.number(rows).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(legacy.number(rows).await, written, "nobody writes any more");
        assert_eq!(
            legacy.number("SELECT COUNT(*) FROM reelshift_batches WHERE attempts > 0").await,
            0
        );
        assert_eq!(document(dir.path(), &legacy, &["cancel", &run], 0)["batches_cancelled"], 0);
        let said = refused(dir.path(), &legacy, &["pause", "--run", &run], 4);
        assert!(said.contains("cancelled"), "{said}");
        refused(dir.path(), &legacy, &["cancel", "01890000-0000-7000-8000-000000000000"], 2);

        let again = document(dir.path(), &legacy, &["enqueue", "backfill"], 0);
        assert_eq!(again["created"], true, "its videos are free");
        document(dir.path(), &legacy, &["work", "--until-idle"], 0);
        assert_eq!(oracle::check_every_row(&legacy).await, 1_000);
        legacy.drop_database().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_a_cancelled_run_is_not_read_to_its_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    legacy.fill(1).await;
    legacy.execute("UPDATE videos SET file_path = 'endless.mp4'").await;
    document(dir.path(), &legacy, &["apply", "expand"], 0);
    let media = dir.path().join("media");
    std::fs::create_dir(&media).expect("a media root");
    // A hole: it takes far longer to be hashed than a test may, and no space.
    let endless = std::fs::File::create(media.join("endless.mp4")).expect("a file");
    endless.set_len(1 << 43).expect("a large file");
    let run = document(dir.path(), &legacy, &["enqueue", "hash"], 0)["run"]["id"].clone();
    let worker = Reelshift::new(dir.path(), &["work"]).database(&legacy.url).media(&media);
    let _worker = Worker(worker.start());
    let read = "SELECT COUNT(*) FROM reelshift_workers WHERE bytes_done > 0";
    until(&legacy, read, |bytes| bytes > 0).await;
    document(dir.path(), &legacy, &["cancel", run.as_str().expect("an id")], 0);
    let idle = "SELECT COUNT(*) FROM reelshift_workers WHERE doing = 'waiting for batches'";
    until(&legacy, idle, |idle| idle == 1).await;
    assert_eq!(legacy.number("SELECT COUNT(*) FROM processing_error_log").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleets_concurrency_is_tuned_while_it_works() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in databases(dir.path()).await {
        enqueued(dir.path(), &legacy, 4_000, "1").await;
        // On a slow machine the throttle lets the fleet run one chunk at a time.
        let tuned = ["tune", "fleet_concurrency=1", "throttle=off"];
        document(dir.path(), &legacy, &tuned, 0);
        let _workers = [(); 2].map(|()| worker(dir.path(), &legacy, &["--concurrency", "4"]));
        until(&legacy, DONE, |done| done > 5).await;
        let beyond = "SELECT COUNT(*) FROM reelshift_workers
                      WHERE doing = 'beyond the fleet''s concurrency'";
        until(&legacy, beyond, |workers| workers == 1).await;
        let doing = document(dir.path(), &legacy, &["status"], 0);
        let mut workers = doing["workers"].as_array().expect("workers").iter();
        assert!(workers.any(|worker| worker["leases"] == 0), "the other of two: {doing}");
        // What the idler of the two has done.
        let least = "SELECT MIN(rows_done) FROM reelshift_workers";
        let before = legacy.number(least).await;

        document(
            dir.path(),
            &legacy,
            &["tune", "fleet_concurrency=default", "chunk_target=5ms"],
            0,
        );
        until(&legacy, least, |rows| rows > before).await;
        document(dir.path(), &legacy, &["tune", "fleet_concurrency=1"], 0);
        until(&legacy, beyond, |workers| workers == 1).await;
        let holders =
            "SELECT COUNT(DISTINCT leased_by) FROM reelshift_batches WHERE state = 'leased'";
        until(&legacy, holders, |holders| holders <= 1).await;
        document(dir.path(), &legacy, &["tune", "fleet_concurrency=default"], 0);

        let tuned = document(dir.path(), &legacy, &["tune"], 0);
        let setting = |name: &str| {
            let settings = tuned["settings"].as_array().expect("settings");
            settings.iter().find(|setting| setting["name"] == name).expect("it is shown").clone()
        };
        assert_eq!(setting("chunk_target")["value"], "5ms");
        assert_eq!(setting("chunk_target")["default"], "20ms");
        assert_eq!(setting("fleet_concurrency")["stored"], Value::Null, "back to its default");
        assert_eq!(tuned["changes"].as_array().map(Vec::len), Some(5), "the newest");
        for (arguments, says) in [
            (["tune", "chunk_target=1h"], "from 1ms to 1s"),
            (["tune", "warp=9"], "expected one of"),
            (["tune", "lock_waits"], "KEY=VALUE"),
        ] {
            let said = refused(dir.path(), &legacy, &arguments, 2);
            assert!(said.contains(says), "{said}");
        }
        refused(dir.path(), &legacy, &["tune", "lock_waits=1", "lock_waits=2"], 2);
        legacy.drop_database().await;
    }
}

/// A watcher and its events, as they come.
struct Watcher {
    process: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Watcher {
    fn start(directory: &Path, legacy: &Legacy, kind: &str) -> Self {
        Self::of(directory, legacy, &[kind])
    }

    /// With these arguments after `enqueue`.
    fn of(directory: &Path, legacy: &Legacy, some: &[&str]) -> Self {
        let arguments = [&["--json", "enqueue"][..], some, &["--watch", "--every", "1s"]].concat();
        let mut process =
            Reelshift::new(directory, &arguments).database(&legacy.url).start_reading();
        let lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        Self { process, lines }
    }

    /// The next event of this kind; those before it are passed over.
    fn next(&mut self, event: &str) -> Value {
        loop {
            let line = self.lines.next().expect("it goes on").expect("it is read");
            let line: Value = serde_json::from_str(&line).expect("a line is a document");
            if line["event"] == event {
                return line;
            }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.process.kill().expect("it is killed");
            self.process.wait().expect("it is gone");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_watcher_acts_and_another_takes_over() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in databases(dir.path()).await {
        legacy.fill(20).await;
        document(dir.path(), &legacy, &["apply", "expand"], 0);
        legacy.execute("UPDATE videos SET file_path = 'a.mp4'").await;

        let mut first = Watcher::start(dir.path(), &legacy, "hash");
        let found = first.next("enqueued");
        assert_eq!((&found["rows"], &found["batches"]), (&20.into(), &1.into()));
        let active = first.next("active");
        assert_eq!((&active["run"], &active["state"]), (&found["run"], &"running".into()));
        let mut second = Watcher::start(dir.path(), &legacy, "hash");
        let standing = second.next("standing_by");
        let pid = first.process.id().to_string();
        assert!(standing["holder"].as_str().is_some_and(|who| who.contains(&pid)), "{standing}");
        // Its videos are among the first one's: two runs would be over them.
        let mut filtered =
            Watcher::of(dir.path(), &legacy, &["hash", "--where", "status=uploaded"]);
        filtered.next("standing_by");
        drop(filtered);
        let mut other = Watcher::start(dir.path(), &legacy, "backfill");
        other.next("watching");

        first.process.kill().expect("kill -9");
        first.process.wait().expect("it is gone");
        second.next("watching");

        // SIGTERM gives the duty back at once.
        let mut third = Watcher::start(dir.path(), &legacy, "hash");
        third.next("standing_by");
        let term = Command::new("kill").arg(second.process.id().to_string()).status();
        assert!(term.expect("kill runs").success());
        assert_eq!(wait(&mut second.process, LIMIT), Some(0));
        let held = "SELECT COUNT(*) FROM reelshift_duties WHERE holder LIKE";
        let held = format!("{held} '%{}%'", second.process.id());
        assert_eq!(legacy.number(&held).await, 0, "given back, not lost to silence");
        third.next("watching");

        // Hashed: nothing to do, and no run is made of it. Then one file is another's.
        // In this order: the watcher may look between the two.
        legacy.execute("UPDATE videos SET file_hash = 'h'").await;
        legacy.execute("UPDATE reelshift_runs SET state = 'done', active_key = NULL").await;
        third.next("nothing");
        let runs = legacy.number("SELECT COUNT(*) FROM reelshift_runs WHERE kind = 'hash'").await;
        third.next("nothing");
        legacy
            .execute("UPDATE videos SET file_path = 'b.mp4' WHERE filename LIKE 'video 7.%'")
            .await;
        assert_eq!(third.next("enqueued")["rows"], 1, "only the video that changed");
        let after = legacy.number("SELECT COUNT(*) FROM reelshift_runs WHERE kind = 'hash'").await;
        assert_eq!(after, runs + 1, "a look that finds nothing leaves no run behind");
        drop((third, other));
        legacy.drop_database().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_runs_are_pruned() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in databases(dir.path()).await {
        enqueued(dir.path(), &legacy, 1_200, "1").await;
        backlog::release_all(&legacy).await;
        document(dir.path(), &legacy, &["work", "--until-idle"], 0);
        let batches = legacy.number("SELECT COUNT(*) FROM reelshift_batches").await;
        assert!(batches >= 1_200, "{batches}");
        // The newest that had something to do stays, and what found nothing after it.
        let first = "video_id = (SELECT MIN(id) FROM videos)";
        legacy.execute(&format!("DELETE FROM video_processing_status WHERE {first}")).await;
        document(dir.path(), &legacy, &["enqueue", "backfill"], 0);
        document(dir.path(), &legacy, &["work", "--until-idle"], 0);
        document(dir.path(), &legacy, &["enqueue", "backfill"], 0);
        let prune = |arguments: &[&str]| {
            let all: Vec<&str> = ["prune"].into_iter().chain(arguments.iter().copied()).collect();
            document(dir.path(), &legacy, &all, 0)
        };
        assert_eq!(prune(&["--older-than", "1h"])["removed"]["runs"], 0, "it has just ended");
        legacy.execute("UPDATE reelshift_runs SET finished_at = '2026-01-02 03:04:05.000'").await;
        let told = prune(&["--older-than", "30days", "--dry-run"]);
        assert_eq!(
            (&told["dry_run"], &told["removed"]["batches"]),
            (&true.into(), &batches.into())
        );
        let kept = legacy.number("SELECT COUNT(*) FROM reelshift_batches").await;
        assert_eq!(kept, batches + 1);
        let done = prune(&["--older-than", "30days"]);
        assert_eq!(
            (&done["removed"]["runs"], &done["removed"]["batches"]),
            (&1.into(), &batches.into())
        );
        assert_eq!(legacy.number("SELECT COUNT(*) FROM reelshift_batches").await, 1);
        assert_eq!(prune(&["--older-than", "30days"])["removed"]["runs"], 0);
        assert_eq!(legacy.number("SELECT COUNT(*) FROM reelshift_runs").await, 2);
        for nonsense in ["0s", "-1day", "soon", "1000years"] {
            refused(dir.path(), &legacy, &["prune", "--older-than", nonsense], 2);
        }
        legacy.drop_database().await;
    }
}
