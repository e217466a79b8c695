//! Hashing as its users run it: every hash is that of `sha256sum`, every refusal has its
//! row, a killed worker's large file goes on where it was.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use reelshift_tests::{Legacy, Reelshift, Video, wait};
use sqlx::Row;

const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// Large enough to be in the middle of for a second, on the slowest backend. All of it is
/// a hole, so that the disk has nothing to do.
const LARGE: u64 = 512 << 20;

fn video(n: usize, file_path: &str, file_size: u64) -> Video {
    let text = |text: &str| Some(text.to_owned());
    Video {
        id: format!("v{n:04}"),
        filename: text("clip.mp4"),
        file_path: text(file_path),
        file_size: i64::try_from(file_size).ok(),
        status: text("uploaded"),
        processing_status: text("pending"),
        ground_truth: Some(false),
    }
}

fn sha256sum(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().expect("sha256sum runs");
    String::from_utf8_lossy(&output.stdout)[..64].to_owned()
}

fn large(path: &Path) {
    fs::File::create(path).and_then(|file| file.set_len(LARGE)).expect("a sparse file");
}

async fn ready(legacy: &Legacy, dir: &Path, videos: &[Video]) {
    legacy.insert(videos).await;
    for arguments in [&["apply", "expand"][..], &["enqueue", "hash", "--batch-files", "16"]] {
        Reelshift::new(dir, arguments).database(&legacy.url).run().ok();
    }
}

/// A worker that writes checkpoints all the time, killed once there is one.
async fn killed_in_the_middle(legacy: &Legacy, dir: &Path) {
    let arguments = ["work", "--checkpoint-every", "10ms", "--hash-backend", "portable"];
    let mut victim =
        Reelshift::new(dir, &arguments).database(&legacy.url).media(&dir.join("media")).start();
    let began = Instant::now();
    while legacy.number("SELECT COUNT(*) FROM reelshift_file_checkpoints").await == 0 {
        assert!(began.elapsed() < Duration::from_mins(1), "no checkpoint came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    victim.kill().expect("the victim dies");
    victim.wait().expect("the victim is dead");
    let done = "SELECT CAST(bytes_done AS SIGNED) FROM reelshift_file_checkpoints";
    assert!(legacy.number(done).await < LARGE.cast_signed(), "it was killed too late");
}

/// What the last worker of all says on standard error.
fn finishes(legacy: &Legacy, dir: &Path, code: i32) -> String {
    let arguments = ["work", "--until-idle", "--checkpoint-every", "10ms"];
    let worker = Reelshift::new(dir, &arguments).database(&legacy.url).media(&dir.join("media"));
    worker.run().expect(code).stderr
}

async fn hashes(legacy: &Legacy) -> HashMap<String, Option<String>> {
    let rows = legacy.rows("SELECT id, file_hash FROM videos").await;
    rows.iter().map(|row| (row.get("id"), row.get("file_hash"))).collect()
}

async fn every_file(legacy: Legacy, dir: &Path) {
    let media = dir.join("media");
    fs::create_dir_all(media.join("sub")).expect("a directory");
    fs::write(dir.join("secret"), "secret").expect("a file");
    large(&media.join("large"));
    symlink("../secret", media.join("escapes")).expect("a symlink");
    symlink("large", media.join("inside")).expect("a symlink");
    let made = Command::new("mkfifo").arg(media.join("pipe")).status().expect("mkfifo runs");
    assert!(made.success());
    let absolute = media.join("f1").to_string_lossy().into_owned();
    let bad = [
        ("../secret", "file_outside_root"),
        ("escapes", "file_outside_root"),
        ("/etc/hostname", "file_outside_root"),
        ("pipe", "file_not_regular"),
        ("sub", "file_not_regular"),
        ("missing", "file_missing"),
    ];
    let mut videos = vec![
        video(0, "large", LARGE),
        video(1, "inside", LARGE),
        video(2, &absolute, 62),
        video(3, "f2", 7),
    ];
    for n in 0..60_usize {
        let size = n * n * n * 11 % 200_003;
        let content: Vec<u8> = (0..size).map(|i| (i * 31 + n) as u8).collect();
        fs::write(media.join(format!("f{n}")), content).expect("a file");
        videos.push(video(10 + n, &format!("f{n}"), size as u64));
    }
    for (i, (path, _)) in bad.iter().enumerate() {
        videos.push(video(100 + i, path, 1));
    }
    ready(&legacy, dir, &videos).await;
    killed_in_the_middle(&legacy, dir).await;
    let mut second = Reelshift::new(dir, &["work"]).database(&legacy.url).media(&media).start();
    finishes(&legacy, dir, 5);
    let pid = second.id().to_string();
    assert!(Command::new("kill").arg(pid).status().expect("kill runs").success());
    assert_eq!(wait(&mut second, Duration::from_mins(1)), Some(0));

    let hashes = hashes(&legacy).await;
    for video in &videos[..64] {
        let path = media.join(video.file_path.as_deref().expect("a path"));
        assert_eq!(hashes[&video.id], Some(sha256sum(&path)), "{}", path.display());
    }
    let rows = legacy
        .rows(
            "SELECT video_id, error_type FROM processing_error_log WHERE processing_stage = 'hash'",
        )
        .await;
    let errors: HashMap<String, String> =
        rows.iter().map(|row| (row.get("video_id"), row.get("error_type"))).collect();
    for (i, (path, error_type)) in bad.iter().enumerate() {
        let id = format!("v{:04}", 100 + i);
        assert_eq!((hashes[&id].as_ref(), errors[&id].as_str()), (None, *error_type), "{path}");
    }
    // The row said 7 bytes: told, and hashed.
    assert_eq!(errors["v0003"], "file_size_mismatch");
    assert_eq!(errors["v0010"], "file_empty");
    assert_eq!(legacy.number("SELECT COUNT(*) FROM reelshift_file_checkpoints").await, 0);
    let duplicates = Reelshift::new(dir, &["duplicates", "--json"]).database(&legacy.url).run();
    let duplicates = duplicates.expect(0).json();
    // `large` under two names, f1 and f2 under two each, and the empty f0 alone.
    assert_eq!((&duplicates["hashes"], &duplicates["videos"]), (&3.into(), &6.into()));
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_is_hashed_or_refused_on_sqlite() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    every_file(legacy, dir.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_is_hashed_or_refused_on_mariadb() {
    let dir = tempfile::tempdir().expect("a directory");
    every_file(Legacy::mariadb().await, dir.path()).await;
}

/// One large file whose worker is killed, then `change`d.
async fn taken_over(change: impl FnOnce(&Path)) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    let path = dir.path().join("media/large");
    fs::create_dir(dir.path().join("media")).expect("a directory");
    large(&path);
    ready(&legacy, dir.path(), &[video(0, "large", LARGE)]).await;
    killed_in_the_middle(&legacy, dir.path()).await;
    change(&path);
    let said = finishes(&legacy, dir.path(), 0);
    assert_eq!(hashes(&legacy).await["v0000"], Some(sha256sum(&path)));
    legacy.drop_database().await;
    said
}

const WENT_ON: &str = "went on from a checkpoint";

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_goes_on_where_a_killed_worker_was() {
    let said = taken_over(|_| {}).await;
    assert!(said.contains(WENT_ON), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_that_changed_meanwhile_starts_over() {
    let said = taken_over(|path| {
        let file = fs::File::options().write(true).open(path).expect("it opens");
        std::os::unix::fs::FileExt::write_all_at(&file, b"changed", 0).expect("it is written");
    })
    .await;
    assert!(!said.contains(WENT_ON), "{said}");
}

#[test]
fn hash_prints_what_sha256sum_prints() {
    let dir = tempfile::tempdir().expect("a directory");
    let names = ["a", "b c", "back\\slash", "line\nfeed", "return\rd", "ünïcode", "-dash", "empty"];
    for name in names {
        let content = if name == "empty" { Vec::new() } else { name.repeat(40_000).into_bytes() };
        fs::write(dir.path().join(name), content).expect("a file");
    }
    fs::create_dir(dir.path().join("dir")).expect("a directory");
    let arguments: Vec<&str> =
        ["--"].into_iter().chain(names).chain(["missing", "dir", "-", "a"]).collect();
    let theirs = Command::new("sha256sum")
        .args(&arguments)
        .current_dir(dir.path())
        .stdin(std::process::Stdio::null())
        .output()
        .expect("sha256sum runs");
    for backend in ["", "portable"] {
        let ours = [&["hash"], arguments.as_slice()].concat();
        let ours = Reelshift::new(dir.path(), &ours).env("REELSHIFT_HASH_BACKEND", backend).run();
        assert_eq!(ours.code, theirs.status.code());
        assert_eq!(ours.stdout, String::from_utf8_lossy(&theirs.stdout));
        let errors = String::from_utf8_lossy(&theirs.stderr).replace("sha256sum: ", "reelshift: ");
        assert_eq!(ours.stderr, errors);
    }
}

#[test]
fn a_pipe_is_read_once_and_what_comes_before_it_is_printed_meanwhile() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("a"), "abc").expect("a file");
    let pipe = dir.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
    assert!(made.success());
    let mut child = Reelshift::new(dir.path(), &["hash", "a", "pipe"]).start_reading();
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut line = || lines.next().expect("a line").expect("it is read");
    assert_eq!(line(), format!("{ABC}  a"));
    fs::write(&pipe, "abc").expect("it is read");
    assert_eq!(line(), format!("{ABC}  pipe"));
    assert_eq!(wait(&mut child, Duration::from_mins(1)), Some(0));
}

#[test]
fn a_media_prefix_that_no_absolute_path_begins_with_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let ran = Reelshift::new(dir.path(), &["--media-prefix", "srv/videos", "status"]).run();
    assert!(ran.expect(2).stderr.contains("the media prefix \"srv/videos\" is no absolute path"));
}

#[test]
fn a_backend_that_is_none_is_refused_in_one_sentence() {
    let dir = tempfile::tempdir().expect("a directory");
    let ran = Reelshift::new(dir.path(), &["hash"]).env("REELSHIFT_HASH_BACKEND", "gpu").run();
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("no hash backend \"gpu\"") && ran.stderr.contains("portable"));
}
