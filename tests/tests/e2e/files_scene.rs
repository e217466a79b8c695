//! Twenty thousand files of which one never answers, one kills its reader, forty are missing
//! and three are pipes, beside a worker whose mount is empty: all others are hashed as
//! `sha256sum` hashes them, the run ends, and each exception is explained in one screen.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reelshift_tests::chaos::{fanotify, skipped};
use reelshift_tests::{Legacy, Reelshift, Video, until, wait};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use sqlx::Row;

const FILES: usize = 20_000;
const FILES_PER_DIRECTORY: usize = 500;
const HANGS: usize = 777;
const KILLS: usize = 12_345;
const PIPES: [usize; 3] = [5_000, 10_001, 15_002];
/// The place in each directory of the one that is missing.
const MISSING: usize = 3;
/// Lines that a terminal shows at once.
const SCREEN: usize = 50;

fn name(n: usize) -> String {
    format!("{}/{n}.mp4", n / FILES_PER_DIRECTORY)
}

fn is_missing(n: usize) -> bool {
    n % FILES_PER_DIRECTORY == MISSING
}

/// Makes the files below `media`; the rows of all.
fn make(media: &Path) -> Vec<Video> {
    for directory in 0..FILES / FILES_PER_DIRECTORY {
        fs::create_dir_all(media.join(directory.to_string())).expect("a directory");
    }
    let row = |n: usize| {
        let path = media.join(name(n));
        if PIPES.contains(&n) {
            mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
        } else if !is_missing(n) {
            fs::write(&path, format!("film {n}\n").repeat(n % 700)).expect("a file");
        }
        Video {
            id: format!("v{n:05}"),
            filename: None,
            file_path: Some(name(n)),
            file_size: None,
            status: None,
            processing_status: None,
            ground_truth: Some(false),
        }
    };
    (0..FILES).map(row).collect()
}

/// What `sha256sum` says of the files that can be read.
fn sha256sum(media: &Path) -> HashMap<String, String> {
    let odd = |n: usize| n == HANGS || n == KILLS || PIPES.contains(&n) || is_missing(n);
    let mut child = Command::new("xargs")
        .args(["-0", "-n", "2000", "sha256sum"])
        .current_dir(media)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("xargs starts");
    let names: Vec<String> = (0..FILES).filter(|n| !odd(*n)).map(name).collect();
    let mut input = child.stdin.take().expect("its input");
    let writer = std::thread::spawn(move || input.write_all(names.join("\0").as_bytes()));
    let output = child.wait_with_output().expect("sha256sum ends");
    writer.join().expect("the writer ends").expect("the names are written");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("text");
    let line = |line: &str| {
        let (hash, name) = line.split_once("  ").expect("a hash and a name");
        (name.to_owned(), hash.to_owned())
    };
    text.lines().map(line).collect()
}

struct Scene {
    dir: tempfile::TempDir,
    legacy: Legacy,
    media: PathBuf,
}

impl Scene {
    fn command(&self, arguments: &[&str]) -> Reelshift {
        let command = Reelshift::new(self.dir.path(), arguments).database(&self.legacy.url);
        command.media(&self.media)
    }

    fn worker(&self, arguments: &[&str]) -> Child {
        let all = [&["work", "--lease-timeout", "2s"], arguments].concat();
        self.command(&all).start_logging(&self.dir.path().join("work.log"))
    }

    async fn count(&self, from: &str) -> i64 {
        self.legacy.number(&format!("SELECT COUNT(*) FROM {from}")).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_whatever_is_among_its_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let media = dir.path().join("media");
    let rows = make(&media);
    let Some(hanging) = fanotify::hang_reads(&media.join(name(HANGS))) else {
        return skipped("a read that hangs needs fanotify's permission events");
    };
    assert!(fanotify::kill_whoever_opens(&media.join(name(KILLS))), "fanotify is there");
    let scene = Scene { legacy: Legacy::mariadb().await, dir, media };
    scene.legacy.insert(&rows).await;
    scene.command(&["apply", "expand"]).run().ok();
    scene.command(&["enqueue", "hash", "--max-attempts", "2"]).run().ok();

    // Beside the others one whose mount is not there: only what lay below its mount point.
    let empty = scene.dir.path().join("empty");
    fs::create_dir(&empty).expect("a directory");
    fs::write(empty.join("README"), "nothing is mounted here").expect("a file");
    let ran = scene.command(&["work", "--until-idle"]).media(&empty).run().expect(4);
    assert!(ran.stderr.contains("missing or unreadable"), "{}", ran.stderr);

    let mut killed = 0;
    let code = loop {
        let mut worker = scene.worker(&["--stall-timeout", "2s", "--until-idle"]);
        match wait(&mut worker, Duration::from_mins(4)) {
            None => killed += 1,
            Some(code) => break code,
        }
        assert!(killed <= 12, "the file that kills was not found");
    };
    assert!(killed >= 3, "killed {killed} times");
    assert_eq!(code, 5, "done, with items set aside");

    let quarantine = "SELECT video_id, error_type FROM reelshift_quarantine";
    let mut by_type: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in scene.legacy.rows(quarantine).await {
        by_type.entry(row.get(1)).or_default().push(row.get(0));
    }
    let counts: Vec<_> = by_type.iter().map(|(kind, ids)| (kind.as_str(), ids.len())).collect();
    let expected = [("file_missing", 40), ("file_not_regular", 3), ("worker_lost", 1)];
    assert_eq!(counts, expected);
    assert_eq!(by_type["worker_lost"], [format!("v{KILLS:05}")]);
    let hung = format!(
        "processing_error_log WHERE error_type = 'storage_unavailable' AND video_id = 'v{HANGS:05}'"
    );
    assert!(scene.count(&hung).await >= 1, "the file that never answers is named");
    assert_eq!(scene.count("reelshift_batches WHERE state = 'failed'").await, 1, "its batch");

    let expected = sha256sum(&scene.media);
    let hashes = "SELECT file_path, file_hash FROM videos WHERE file_hash IS NOT NULL";
    let hashes = scene.legacy.rows(hashes).await;
    let hashes: HashMap<String, String> =
        hashes.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(hashes.len(), FILES - 45);
    assert!(hashes == expected, "a hash differs from that of sha256sum");

    let screen = scene.command(&["errors", "--limit", "0"]).run().expect(0).stdout;
    let kinds = [
        "file_missing",
        "file_not_regular",
        "worker_lost",
        "storage_unavailable",
        "media_root_suspect",
    ];
    for kind in kinds {
        assert!(screen.contains(kind), "{kind} in {screen}");
    }
    assert!(screen.lines().count() <= SCREEN, "{screen}");

    // A worker that has the hung file in hand leaves in time.
    scene.command(&["rerun", "--type", "storage_unavailable"]).run().ok();
    let mut worker = scene.worker(&["--stall-timeout", "1h"]);
    until("the file in hand", async || {
        scene.count("reelshift_batches WHERE state = 'leased'").await == 1
    })
    .await;
    let kill = Command::new("kill").arg(worker.id().to_string()).status();
    assert!(kill.expect("kill runs").success());
    assert_eq!(wait(&mut worker, Duration::from_secs(30)), Some(0));
    drop(hanging);
    scene.legacy.drop_database().await;
}
