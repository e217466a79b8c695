//! A disk that fills up under an SQLite database, and has room again.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use reelshift_tests::chaos::{chunks, proof, skipped, worker::Worker};
use reelshift_tests::{LIMIT, Legacy, Reelshift, backlog, oracle, until};
use tokio::task::block_in_place;
use tokio::time::sleep;

/// Room for the database at its end, and little more.
const SIZE: &str = "size=24m";

/// A small file system in memory, gone with this value.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf) -> Result<Self, String> {
        std::fs::create_dir(&at).expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", SIZE, "tmpfs"])
            .arg(&at)
            .output()
            .map_err(|error| format!("mount cannot be run: {error}"))?;
        if !mounted.status.success() {
            let said = String::from_utf8_lossy(&mounted.stderr).into_owned();
            return Err(format!("a full disk needs Linux and root: {}", said.trim()));
        }
        Ok(Self(at))
    }

    /// Takes every byte that is left.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = File::create(&path).expect("a file");
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may have a file open.
        Command::new("umount").arg("--lazy").arg(&self.0).status().ok();
    }
}

fn reelshift(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> Reelshift {
    Reelshift::new(directory, arguments).database(&legacy.url).env("REELSHIFT_LOG", "info")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_waited_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = match Disk::mount(dir.path().join("disk")) {
        Ok(disk) => disk,
        Err(why) => return skipped(&why),
    };
    let legacy = Legacy::sqlite(&disk.0).await;
    legacy.fill(6_000).await;
    let run = |arguments: &[&str]| {
        block_in_place(|| reelshift(dir.path(), &legacy, arguments).run()).ok();
    };
    run(&["apply", "expand"]);
    // The disk is to be full, not spared.
    run(&["tune", "throttle=off"]);
    chunks::install_sqlite(&legacy).await;
    run(&["enqueue", "backfill", "--batch-size", "100", "--max-attempts", "50"]);
    backlog::keep_back(&legacy, 10).await;

    let arguments = ["work", "--until-idle", "--concurrency", "1"];
    let mut workers: Vec<Worker> = ["one.log", "two.log"]
        .map(|log| Worker::start(reelshift(dir.path(), &legacy, &arguments), dir.path().join(log)))
        .into();
    let done = "SELECT COUNT(*) FROM reelshift_batches WHERE state = 'done'";
    // A worker that cannot join ends: the full disk is to meet both at work.
    let joined = "SELECT COUNT(*) FROM reelshift_workers";
    until("both workers", async || legacy.number(joined).await == 2).await;
    until("the first batches", async || legacy.number(done).await == 10).await;
    // The others become due while the disk is full: it takes milliseconds to fill.
    legacy
        .execute(
            "UPDATE reelshift_batches SET run_at = strftime('%Y-%m-%d %H:%M:%f', 'now', '+5 seconds')
             WHERE state = 'pending'",
        )
        .await;
    let ballast = disk.fill();
    let notices = |worker: &Worker| {
        std::fs::read_to_string(worker.log()).expect("a log").contains("disk is full")
    };
    until("a worker that notices", async || workers.iter().any(notices)).await;
    // Longer than a lease lasts.
    sleep(Duration::from_secs(9)).await;
    assert!(legacy.number(done).await < 60, "the disk filled up too late for this test");
    std::fs::remove_file(ballast).expect("the ballast goes");

    for worker in &mut workers {
        block_in_place(|| worker.ends(LIMIT));
    }
    assert_eq!(oracle::check_every_row(&legacy).await, 6_000);
    let summary = chunks::check(&legacy).await;
    proof::check_errors(&legacy, &summary).await;
    proof::check_ends(&legacy).await;
    run(&["validate"]);
}
