//! Files that hang or kill whoever reads them, roots that are not the mount, and rows that
//! cannot be read: all others are hashed, and each of these is explained.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use reelshift_tests::chaos::{fanotify, skipped};
use reelshift_tests::s3::ObjectStore;
use reelshift_tests::{Legacy, Reelshift, Video, until, wait};
use sqlx::Row;
use tempfile::TempDir;

/// SHA-256 of what every file holds.
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// Each of its databases is dropped with its directory.
struct Scene {
    dir: TempDir,
    legacy: Legacy,
}

impl Scene {
    /// No video, and a media root without a file.
    async fn empty() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let legacy = Legacy::sqlite(dir.path()).await;
        fs::create_dir(dir.path().join("media")).expect("a directory");
        Self { dir, legacy }
    }

    /// Files of which each holds `abc`, enqueued in batches of `batch_files`.
    async fn new(files: usize, batch_files: &str) -> Self {
        let scene = Self::empty().await;
        let videos: Vec<Video> = (0..files)
            .map(|n| {
                let name = format!("f{n:03}");
                fs::write(scene.dir.path().join("media").join(&name), "abc").expect("a file");
                video(&format!("v{n:03}"), &name)
            })
            .collect();
        scene.legacy.insert(&videos).await;
        scene.command(&["apply", "expand"]).run().ok();
        let arguments = ["enqueue", "hash", "--max-attempts", "1", "--batch-files", batch_files];
        scene.command(&arguments).run().ok();
        scene
    }

    fn command(&self, arguments: &[&str]) -> Reelshift {
        Reelshift::new(self.dir.path(), arguments)
            .database(&self.legacy.url)
            .media(&self.dir.path().join("media"))
    }

    fn file(&self, n: usize) -> std::path::PathBuf {
        self.dir.path().join(format!("media/f{n:03}"))
    }

    async fn count(&self, from: &str) -> i64 {
        self.legacy.number(&format!("SELECT COUNT(*) FROM {from}")).await
    }

    async fn hashed(&self) -> i64 {
        self.count(&format!("videos WHERE file_hash = '{ABC}'")).await
    }

    async fn quarantined(&self) -> Vec<(String, String)> {
        let sql = "SELECT video_id, error_type FROM reelshift_quarantine ORDER BY video_id";
        let rows = self.legacy.rows(sql).await;
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// A worker of short leases.
    fn worker(&self, until_idle: bool) -> Child {
        let mut arguments = vec!["work", "--lease-timeout", "2s", "--stall-timeout", "2s"];
        arguments.extend(until_idle.then_some("--until-idle"));
        self.command(&arguments).start_logging(&self.dir.path().join("work.log"))
    }
}

fn video(id: &str, file_path: &str) -> Video {
    Video {
        id: id.to_owned(),
        filename: None,
        file_path: Some(file_path.to_owned()),
        file_size: Some(3),
        status: None,
        processing_status: None,
        ground_truth: Some(false),
    }
}

fn terminate(child: &Child) {
    let kill = std::process::Command::new("kill").arg(child.id().to_string()).status();
    assert!(kill.expect("kill runs").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_never_answers_holds_nobody() {
    let scene = Scene::new(130, "64").await;
    let Some(hanging) = fanotify::hang_reads(&scene.file(7)) else {
        return skipped("a read that hangs needs fanotify's permission events");
    };
    let mut worker = scene.worker(false);
    // Results are written and shown while the read hangs.
    until("all other hashes", async || scene.hashed().await == 129).await;
    until("the file in status", async || {
        let ran = scene.command(&["status", "--json"]).run();
        ran.stdout.contains("no byte of") && ran.stdout.contains("f007")
    })
    .await;
    until("the end of its batch", async || {
        scene.count("reelshift_batches WHERE state = 'failed'").await == 1
    })
    .await;
    let error =
        "processing_error_log WHERE error_type = 'storage_unavailable' AND video_id = 'v007'";
    assert_eq!(scene.count(error).await, 1);
    assert!(scene.quarantined().await.is_empty(), "it says nothing about the file");
    let began = Instant::now();
    terminate(&worker);
    assert_eq!(wait(&mut worker, Duration::from_secs(30)), Some(0), "{:?}", began.elapsed());

    // The same while its batch waits for it: with a stall timeout that does not come.
    scene.command(&["rerun"]).run().ok();
    let arguments = ["work", "--stall-timeout", "1h"];
    let mut worker = scene.command(&arguments).start();
    until("the file in hand", async || {
        scene.count("reelshift_batches WHERE state = 'leased'").await == 1
    })
    .await;
    terminate(&worker);
    assert_eq!(wait(&mut worker, Duration::from_secs(30)), Some(0));
    assert_eq!(scene.count("reelshift_batches WHERE state = 'leased'").await, 0, "given back");
    drop(hanging);
    let ran = scene.command(&["work", "--until-idle"]).run();
    assert!(ran.code.is_some_and(|code| [0, 5].contains(&code)), "{ran:?}");
    assert_eq!(scene.hashed().await, 130);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_kills_its_reader_is_found_and_set_aside() {
    let scene = Scene::new(40, "8").await;
    let poison = scene.file(21);
    if !fanotify::kill_whoever_opens(&poison) {
        return skipped("killing whoever opens a file needs fanotify's permission events");
    }
    // Three losses, then groups of 4, 2 and 1 of the batch's eight.
    let mut killed = 0;
    let code = loop {
        let code = wait(&mut scene.worker(true), Duration::from_mins(2));
        match code {
            None => killed += 1,
            Some(code) => break code,
        }
        assert!(killed <= 6, "the file was not found");
    };
    assert_eq!((code, killed), (5, 6));
    assert_eq!(scene.quarantined().await, [("v021".to_owned(), "worker_lost".to_owned())]);
    assert_eq!(scene.hashed().await, 39);
    assert_eq!(scene.count("reelshift_batches WHERE attempts > 0").await, 0, "no attempt failed");
    let errors = scene.command(&["errors"]).run().expect(0).stdout;
    assert!(errors.contains("worker_lost"), "{errors}");
}

/// A worker over `root` that ends since it does not find the files there.
fn suspects(scene: &Scene, root: &Path) -> String {
    let ran = scene.command(&["work", "--until-idle"]).media(root).run();
    ran.expect(4).stderr
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_is_not_the_mount_ends_its_worker() {
    let scene = Scene::new(120, "40").await;
    let empty = scene.dir.path().join("empty");
    fs::create_dir_all(empty.join("lost+found")).expect("a directory");
    let stderr = scene.command(&["work", "--until-idle"]).media(&empty).run().expect(1).stderr;
    assert!(stderr.contains("it is empty, as when its volume is not mounted"), "{stderr}");
    // Something else is there.
    fs::write(empty.join("README"), "backups").expect("a file");
    let stderr = suspects(&scene, &empty);
    assert!(stderr.contains("40 of 40 files of batch"), "{stderr}");
    assert!(scene.quarantined().await.is_empty());
    assert_eq!(scene.count("reelshift_batches WHERE state <> 'pending' OR attempts > 0").await, 0);
    let told = "processing_error_log WHERE error_type = 'media_root_suspect'";
    assert!(scene.count(told).await > 0);

    // Another worker finds them.
    scene.command(&["work", "--until-idle"]).run().ok();
    assert_eq!(scene.hashed().await, 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_a_wrong_mount_does_no_harm_beside_others() {
    let scene = Scene::new(80, "40").await;
    let wrong = scene.dir.path().join("wrong");
    fs::create_dir(&wrong).expect("a directory");
    fs::write(wrong.join("README"), "backups").expect("a file");
    // One file of the run was hashed by somebody.
    scene.legacy.execute("UPDATE reelshift_batches SET rows_done = 1 WHERE seq = 2").await;
    for _ in 0..2 {
        let stderr = suspects(&scene, &wrong);
        assert!(stderr.contains("missing or unreadable"), "{stderr}");
    }
    assert!(scene.quarantined().await.is_empty());
    scene.command(&["work", "--until-idle"]).run().ok();
    assert_eq!(scene.hashed().await, 80);
}

// A share that is unmounted below all workers of a machine, which have read files of it before.
#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_empties_below_its_workers_sets_nothing_aside() {
    let scene = Scene::new(120, "40").await;
    let media = scene.dir.path().join("media");
    let mut workers = [scene.worker(false), scene.worker(false)];
    let done = "reelshift_runs WHERE state = 'done'";
    until("all hashes", async || scene.count(done).await == 1).await;
    let mut more = Vec::new();
    for n in 120..240 {
        fs::write(scene.file(n), "abc").expect("a file");
        more.push(video(&format!("v{n:03}"), &format!("f{n:03}")));
    }
    scene.legacy.insert(&more).await;
    let away = scene.dir.path().join("away");
    fs::create_dir(&away).expect("a directory");
    let move_all = |from: &Path, to: &Path| {
        for entry in fs::read_dir(from).expect("a directory") {
            let entry = entry.expect("an entry");
            fs::rename(entry.path(), to.join(entry.file_name())).expect("it moves");
        }
    };
    move_all(&media, &away);
    let enqueue = ["enqueue", "hash", "--batch-files", "40"];
    Reelshift::new(scene.dir.path(), &enqueue).database(&scene.legacy.url).run().ok();
    for worker in &mut workers {
        assert_eq!(wait(worker, Duration::from_mins(1)), Some(4));
    }
    assert!(scene.quarantined().await.is_empty(), "{:?}", scene.quarantined().await);
    assert_eq!(scene.count("reelshift_batches WHERE attempts > 0").await, 0);
    move_all(&away, &media);
    scene.command(&["work", "--until-idle"]).run().ok();
    assert_eq!(scene.hashed().await, 240);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_mount_does_no_harm_to_batches_of_one_file() {
    let scene = Scene::new(60, "1").await;
    let wrong = scene.dir.path().join("wrong");
    fs::create_dir(&wrong).expect("a directory");
    fs::write(wrong.join("README"), "backups").expect("a file");
    // The first file was hashed by somebody.
    let hashed = format!("UPDATE videos SET file_hash = '{ABC}' WHERE id = 'v000'");
    scene.legacy.execute(&hashed).await;
    let batch = "UPDATE reelshift_batches SET rows_done = 1 WHERE items LIKE '%v000%'";
    scene.legacy.execute(batch).await;
    for _ in 0..2 {
        let stderr = suspects(&scene, &wrong);
        assert!(stderr.contains("1 of 1 files of batch"), "{stderr}");
    }
    assert!(scene.quarantined().await.is_empty());
    // Below the right root what is missing is missing, also where it is met first.
    fs::remove_file(scene.file(1)).expect("a file goes");
    let ran = scene.command(&["work", "--until-idle"]).run();
    assert_eq!(ran.code, Some(5), "{ran:?}");
    assert_eq!(scene.quarantined().await, [("v001".to_owned(), "file_missing".to_owned())]);
    assert_eq!(scene.hashed().await, 59);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_threads_all_hang_ends_when_it_is_told_to() {
    let scene = Scene::new(130, "64").await;
    let hanging: Vec<_> = (0..6).map_while(|n| fanotify::hang_reads(&scene.file(n))).collect();
    if hanging.len() < 6 {
        return skipped("a read that hangs needs fanotify's permission events");
    }
    let arguments = ["work", "--concurrency", "2", "--stall-timeout", "1h"];
    let log = scene.dir.path().join("work.log");
    let mut worker = scene.command(&arguments).start_logging(&log);
    until("the files in status", async || {
        let ran = scene.command(&["status", "--json"]).run();
        ran.stdout.contains("no byte of")
    })
    .await;
    terminate(&worker);
    assert_eq!(wait(&mut worker, Duration::from_secs(30)), Some(0));
    assert_eq!(scene.count("reelshift_batches WHERE state = 'leased'").await, 0, "given back");
    drop(hanging);
    scene.command(&["work", "--until-idle"]).run().ok();
    assert_eq!(scene.hashed().await, 130);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_two_workers_miss_are_set_aside() {
    let scene = Scene::new(100, "25").await;
    for n in 0..100 {
        fs::remove_file(scene.file(n)).expect("a file goes");
    }
    fs::write(scene.dir.path().join("media/README"), "empty").expect("a file");
    suspects(&scene, &scene.dir.path().join("media"));
    assert!(scene.quarantined().await.is_empty());
    let stderr = scene.command(&["work", "--until-idle"]).run().expect(5).stderr;
    assert!(stderr.contains("another worker misses them too"), "{stderr}");
    let quarantined = scene.quarantined().await;
    assert_eq!(quarantined.len(), 100);
    assert!(quarantined.iter().all(|(_, error_type)| error_type == "file_missing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_lists_and_denies_ends_its_worker() {
    let scene = Scene::new(40, "20").await;
    let store = ObjectStore::start();
    let work = || {
        scene
            .command(&["work", "--until-idle"])
            .media(Path::new("s3://bucket/m"))
            .env("AWS_ENDPOINT_URL", &store.endpoint)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .run()
    };
    store.refuse(Some(("403 Forbidden", "AccessDenied")));
    let stderr = work().expect(4).stderr;
    assert!(stderr.contains("20 of 20 files") && stderr.contains("s3://bucket/m"), "{stderr}");
    assert!(scene.quarantined().await.is_empty());
    store.refuse(None);
    work().ok();
    assert_eq!(scene.hashed().await, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_rows_are_set_aside_or_end_their_run() {
    let scene = Scene::empty().await;
    scene.command(&["apply", "expand"]).run().ok();
    fs::write(scene.dir.path().join("media/line\nfeed"), "abc").expect("a file");
    let long = "x".repeat(10_000);
    let odd = [video("v1", "line\nfeed"), video("v2", "odd"), video("v3", &long), video("v4", "")];
    scene.legacy.insert(&odd).await;
    scene
        .legacy
        .execute("UPDATE videos SET file_path = CAST(x'61FF622E6D7034' AS TEXT) WHERE id = 'v2'")
        .await;
    scene.command(&["enqueue", "hash"]).run().ok();
    let ran = scene.command(&["work", "--until-idle"]).run().expect(5);
    assert!(!ran.stderr.contains("look after the runs"), "{}", ran.stderr);
    let expected = [("v2", "file_path_not_utf8"), ("v3", "file_missing")];
    let expected = expected.map(|(id, error_type)| (id.to_owned(), error_type.to_owned()));
    assert_eq!(scene.quarantined().await, expected);
    assert_eq!(scene.hashed().await, 1);

    // An id that cannot be read cannot be set aside either: its run fails and says why.
    scene
        .legacy
        .execute("INSERT INTO videos (id, file_path) VALUES (CAST(x'FF62' AS TEXT), 'f')")
        .await;
    let stderr = scene.command(&["enqueue", "hash"]).run().expect(1).stderr;
    assert!(stderr.to_lowercase().contains("utf"), "{stderr}");
    let failed = "reelshift_runs WHERE state = 'failed' AND reason LIKE 'it cannot be planned%'";
    assert_eq!(scene.count(failed).await, 1);
    assert_eq!(scene.count("reelshift_runs WHERE state = 'planning'").await, 0);
    assert_eq!(scene.command(&["work", "--until-idle"]).run().code, Some(5));
}
