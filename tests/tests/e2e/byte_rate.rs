//! Hashing at a low byte rate: what is said to the fleet is heeded as soon as at any other,
//! and no batch waits in a worker that cannot start it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use reelshift_tests::{LIMIT, Legacy, Reelshift, until, until_within, wait};
use serde_json::Value;
use sqlx::Row as _;

/// Far longer than giving a file back takes, far shorter than reading one takes at
/// [`LOW_RATE`].
const PROMPT: Duration = Duration::from_secs(10);
const LOW_RATE: &str = "byte_rate=100KiB";
/// Twenty minutes at [`LOW_RATE`].
const FILM_BYTES: u64 = 120 << 20;

const LEASED: &str = "SELECT COUNT(*) FROM reelshift_batches WHERE state = 'leased'";
const READ: &str = "SELECT COUNT(*) FROM reelshift_workers WHERE state = 'live' AND bytes_done > 0";
const CHECKPOINTS: &str = "SELECT COUNT(*) FROM reelshift_file_checkpoints WHERE bytes_done > 0";
const ATTEMPTS: &str = "SELECT COUNT(*) FROM reelshift_batches WHERE attempts > 0";

fn document(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = ["--json"].into_iter().chain(arguments.iter().copied()).collect();
    Reelshift::new(directory, &arguments).database(&legacy.url).run().expect(0).json()
}

/// A worker, ended with the test.
struct Worker(Child);

impl Worker {
    fn start(directory: &Path, legacy: &Legacy, media: &Path) -> Self {
        let arguments = ["work", "--concurrency", "2"];
        Self(Reelshift::new(directory, &arguments).database(&legacy.url).media(media).start())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.0.kill().expect("it is killed");
            self.0.wait().expect("it is gone");
        }
    }
}

/// A file of zeros that takes no space.
fn film(media: &Path, name: &str, bytes: u64) {
    File::create(media.join(name)).and_then(|file| file.set_len(bytes)).expect("a film");
}

async fn migrated(directory: &Path, legacy: &Legacy, videos: u32) -> PathBuf {
    legacy.fill(videos).await;
    document(directory, legacy, &["apply", "expand"]);
    let media = directory.join("media");
    std::fs::create_dir_all(&media).expect("a media root");
    document(directory, legacy, &["tune", LOW_RATE]);
    media
}

async fn gives_back(directory: &Path, legacy: &Legacy) {
    let media = migrated(directory, legacy, 1).await;
    film(&media, "film.mp4", FILM_BYTES);
    legacy.execute("UPDATE videos SET file_path = 'film.mp4'").await;
    let run = document(directory, legacy, &["enqueue", "hash"]);
    let run = run["run"]["id"].as_str().expect("an id").to_owned();
    let mut worker = Worker::start(directory, legacy, &media);
    for (hold, resume) in [
        (vec!["pause", "--run", &run], vec!["resume", "--run", &run]),
        (vec!["pause"], vec!["resume"]),
    ] {
        until("a file is read", async || legacy.number(LEASED).await == 1).await;
        until("bytes are read", async || legacy.number(READ).await == 1).await;
        document(directory, legacy, &hold);
        let given_back = async || legacy.number(LEASED).await == 0;
        until_within(&format!("{hold:?} gives the file back"), PROMPT, given_back).await;
        assert_eq!(legacy.number(CHECKPOINTS).await, 1, "{hold:?}");
        assert_eq!(legacy.number(READ).await, 1, "the worker stays");
        document(directory, legacy, &resume);
    }
    until("it is read on", async || legacy.number(LEASED).await == 1).await;
    let term = Command::new("kill").arg(worker.0.id().to_string()).status();
    assert!(term.expect("kill runs").success());
    assert_eq!(wait(&mut worker.0, PROMPT), Some(0));
    assert_eq!((legacy.number(LEASED).await, legacy.number(CHECKPOINTS).await), (0, 1));
    assert_eq!(legacy.number(ATTEMPTS).await, 0, "none of this was an attempt");

    let mut worker = Worker::start(directory, legacy, &media);
    until("it is read on", async || legacy.number(LEASED).await == 1).await;
    document(directory, legacy, &["cancel", &run]);
    let idle = "SELECT COUNT(*) FROM reelshift_workers
                WHERE state = 'live' AND doing = 'waiting for batches'";
    until_within("a cancelled run is left", PROMPT, async || legacy.number(idle).await == 1).await;

    // Its checkpoint is the file's, whichever run takes it up.
    document(directory, legacy, &["tune", "byte_rate=default"]);
    document(directory, legacy, &["enqueue", "hash"]);
    let hashed = "SELECT COUNT(*) FROM videos WHERE file_hash IS NOT NULL";
    until("the film is hashed", async || legacy.number(hashed).await == 1).await;
    let zeros = Command::new("sha256sum").arg(media.join("film.mp4")).output().expect("sha256sum");
    let hash: String = legacy.rows("SELECT file_hash FROM videos").await[0].get(0);
    assert_eq!(zeros.stdout[..64], *hash.as_bytes());
    worker.0.kill().expect("it is killed");
    assert!(wait(&mut worker.0, LIMIT).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_drain_and_cancel_are_heeded_at_a_low_rate() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in [Legacy::sqlite(dir.path()).await, Legacy::mariadb().await] {
        gives_back(dir.path(), &legacy).await;
        legacy.drop_database().await;
    }
}

/// Batches of missing files take a moment: what follows takes far longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_leases_no_batch_that_it_cannot_start() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in [Legacy::sqlite(dir.path()).await, Legacy::mariadb().await] {
        let media = migrated(dir.path(), &legacy, 100).await;
        // One file a batch: a missing one, a film, two clips, and so on.
        for (number, row) in
            legacy.rows("SELECT id FROM videos ORDER BY id").await.iter().enumerate()
        {
            let id: String = row.get(0);
            let name = match number % 4 {
                0 => format!("missing-{number}.mp4"),
                1 => format!("film-{number}.mp4"),
                _ => format!("clip-{number}.mp4"),
            };
            if number % 4 == 1 {
                film(&media, &name, FILM_BYTES);
            } else if number % 4 > 1 {
                film(&media, &name, 20 << 10);
            }
            let set = format!("UPDATE videos SET file_path = '{name}' WHERE id = '{id}'");
            legacy.execute(&set).await;
        }
        document(dir.path(), &legacy, &["enqueue", "hash", "--batch-bytes", "1"]);
        let _worker = Worker::start(dir.path(), &legacy, &media);
        let set_aside = "SELECT COUNT(*) FROM reelshift_quarantine";
        let mut most = 0;
        let mut polls = 0;
        until("two films are read, and nothing else", async || {
            most = most.max(legacy.number(LEASED).await);
            let both = legacy.number(LEASED).await == 2 && legacy.number(READ).await == 1;
            polls = if both { polls + 1 } else { 0 };
            polls > 200
        })
        .await;
        let pending = "SELECT COUNT(*) FROM reelshift_batches WHERE state = 'pending'";
        assert!(legacy.number(pending).await > 10, "others find work");
        assert!(legacy.number(set_aside).await > 0);
        assert_eq!(most, 2, "two at once are read");
        legacy.drop_database().await;
    }
}
