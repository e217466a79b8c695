//! The engine: many files at a time, of all sizes, with checkpoints.
#![expect(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use reelshift_media::sha256::Backend;
use reelshift_media::{
    Checkpoint, Engine, EngineOptions, FileHash, Job, MediaError, MediaRoot, Observer,
};
use sha2::Digest;
use tempfile::TempDir;

enum Event {
    Checkpoint(Checkpoint),
    Done(String, Result<FileHash, MediaError>),
}

struct Recorder {
    path: String,
    sender: Sender<Event>,
    /// Stops the file once so many bytes were hashed.
    stop_after: u64,
}

impl Observer for Recorder {
    fn progress(&mut self, bytes: u64) -> ControlFlow<()> {
        self.stop_after = self.stop_after.saturating_sub(bytes);
        if self.stop_after == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint) {
        self.sender.send(Event::Checkpoint(checkpoint)).unwrap();
    }

    fn done(&mut self, result: Result<FileHash, MediaError>) {
        self.sender.send(Event::Done(self.path.clone(), result)).unwrap();
    }
}

struct Fixture {
    temp: TempDir,
    root: MediaRoot,
    sender: Sender<Event>,
    received: Receiver<Event>,
}

impl Fixture {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("media")).unwrap();
        fs::write(temp.path().join("media/.keep"), "").unwrap();
        let root = MediaRoot::open(temp.path().join("media")).unwrap();
        let (sender, received) = channel();
        Self { temp, root, sender, received }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join("media").join(name)
    }

    fn write(&self, name: &str, len: usize) -> String {
        let seed = len % 249 + 1;
        let content: Vec<u8> = (0..len).map(|i| (i / 64 * seed + i) as u8).collect();
        fs::write(self.path(name), &content).unwrap();
        hex::encode(sha2::Sha256::digest(&content))
    }

    fn recorder(&self, path: &str, stop_after: u64) -> Recorder {
        Recorder { path: path.to_owned(), sender: self.sender.clone(), stop_after }
    }

    fn job(&self, path: &str, resume: Option<Checkpoint>) -> Job<Recorder> {
        self.root.job(path, resume, self.recorder(path, u64::MAX))
    }

    fn done(&self) -> (String, Result<FileHash, MediaError>) {
        loop {
            if let Event::Done(path, result) =
                self.received.recv_timeout(Duration::from_secs(60)).unwrap()
            {
                return (path, result);
            }
        }
    }
}

fn engine(backend: Backend, threads: usize, checkpoint_every: Duration) -> Engine {
    let (most_threads, stall_timeout) = (threads + 2, NEVER);
    let options = EngineOptions { backend, threads, most_threads, checkpoint_every, stall_timeout };
    Engine::start(options).unwrap()
}

const NEVER: Duration = Duration::MAX;
const ALWAYS: Duration = Duration::ZERO;

#[test]
fn files_of_all_sizes_are_hashed_by_every_backend() {
    let fixture = Fixture::new();
    let edges = [0, 1, 55, 56, 63, 64, 65, 4_096, 32_767, 32_768, 32_769, 65_536];
    let odd = (0..150).map(|i| i * i * 37 % 300_000);
    let sizes: Vec<usize> = edges.into_iter().chain(odd).chain([5 << 20, (3 << 20) + 1]).collect();
    let expected: Vec<String> =
        sizes.iter().enumerate().map(|(i, &len)| fixture.write(&format!("{i}"), len)).collect();
    for backend in Backend::all() {
        for threads in [1, 3] {
            let engine = engine(backend, threads, NEVER);
            for i in 0..sizes.len() {
                engine.submit([fixture.job(&i.to_string(), None)]);
            }
            for _ in &sizes {
                let (path, result) = fixture.done();
                let (i, hash): (usize, _) = (path.parse().unwrap(), result.unwrap());
                assert_eq!(hash.bytes, sizes[i] as u64);
                assert_eq!(hash.to_hex(), expected[i], "{} of {} bytes", backend.name(), sizes[i]);
            }
        }
    }
}

#[test]
fn a_bad_file_does_not_disturb_the_others() {
    let fixture = Fixture::new();
    let expected = fixture.write("good", 2 << 20);
    let engine = engine(Backend::fastest(), 1, NEVER);
    for path in ["missing", "good", "../outside", "good", "."] {
        engine.submit([fixture.job(path, None)]);
    }
    let mut failed = Vec::new();
    for _ in 0..5 {
        match fixture.done() {
            (_, Ok(hash)) => assert_eq!(hash.to_hex(), expected),
            (_, Err(error)) => failed.push(error.error_type()),
        }
    }
    failed.sort_unstable();
    assert_eq!(failed, ["file_missing", "file_not_regular", "file_outside_root"]);
}

/// Stops a file after some MiB and returns its last checkpoint.
fn interrupted(fixture: &Fixture, engine: &Engine, path: &str) -> Checkpoint {
    engine.submit([fixture.root.job(path, None, fixture.recorder(path, 3 << 20))]);
    let mut last = None;
    loop {
        match fixture.received.recv_timeout(Duration::from_secs(60)).unwrap() {
            Event::Checkpoint(checkpoint) => last = Some(checkpoint),
            Event::Done(_, Err(MediaError::Interrupted { .. })) => return last.unwrap(),
            Event::Done(_, result) => panic!("it was not stopped: {result:?}"),
        }
    }
}

#[test]
fn a_file_goes_on_from_its_checkpoint() {
    let fixture = Fixture::new();
    let expected = fixture.write("big", (5 << 20) + 77);
    for (first, second) in [(NEVER, NEVER), (ALWAYS, ALWAYS)] {
        let checkpoint = interrupted(&fixture, &engine(Backend::fastest(), 1, first), "big");
        assert!(checkpoint.offset >= 3 << 20, "{checkpoint:?}");
        let checkpoint = Checkpoint::from_bytes(&checkpoint.to_bytes()).unwrap();
        // Another processor may have other instructions.
        for backend in Backend::all() {
            let engine = engine(backend, 1, second);
            engine.submit([fixture.job("big", Some(checkpoint.clone()))]);
            let hash = fixture.done().1.unwrap();
            assert_eq!(hash.to_hex(), expected);
            assert_eq!(hash.resumed_at, checkpoint.offset);
            assert_eq!(hash.bytes, (5 << 20) + 77);
        }
    }
}

#[test]
fn a_file_that_is_not_the_same_starts_over() {
    let fixture = Fixture::new();
    fixture.write("big", 5 << 20);
    let engine = engine(Backend::fastest(), 1, NEVER);
    let checkpoint = interrupted(&fixture, &engine, "big");
    let changes: [&dyn Fn() -> String; 2] = [
        &|| {
            let expected = fixture.write("big", 5 << 20);
            let file = fs::File::options().append(true).open(fixture.path("big")).unwrap();
            let later = file.metadata().unwrap().modified().unwrap() + Duration::from_millis(1);
            file.set_modified(later).unwrap();
            expected
        },
        &|| fixture.write("big", (5 << 20) + 1),
    ];
    for change in changes {
        let expected = change();
        engine.submit([fixture.job("big", Some(checkpoint.clone()))]);
        let hash = fixture.done().1.unwrap();
        assert_eq!((hash.to_hex(), hash.resumed_at), (expected, 0));
    }
}

/// A file whose bytes were read for long to come.
struct Indebted {
    recorder: Recorder,
    read: bool,
    stop: Arc<AtomicBool>,
}

impl Observer for Indebted {
    fn progress(&mut self, bytes: u64) -> ControlFlow<()> {
        self.read |= bytes > 0;
        if self.stop.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            self.recorder.progress(bytes)
        }
    }

    fn debt(&mut self) -> Option<Duration> {
        Some(if self.read { Duration::from_hours(1) } else { Duration::ZERO })
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint) {
        self.recorder.checkpoint(checkpoint);
    }

    fn done(&mut self, result: Result<FileHash, MediaError>) {
        self.recorder.done(result);
    }
}

#[test]
fn a_file_that_is_left_out_has_checkpoints_can_be_stopped_and_keeps_nobody() {
    let fixture = Fixture::new();
    fixture.write("big", 5 << 20);
    let expected = fixture.write("other", 3 << 20);
    let engine = engine(Backend::fastest(), 1, Duration::from_millis(300));
    let stop = Arc::new(AtomicBool::new(false));
    let recorder = fixture.recorder("big", u64::MAX);
    let indebted = Indebted { recorder, read: false, stop: Arc::clone(&stop) };
    engine.submit([fixture.root.job("big", None, indebted)]);
    engine.submit([fixture.job("other", None)]);
    assert_eq!(fixture.done().1.unwrap().to_hex(), expected);
    let received = fixture.received.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(matches!(received, Event::Checkpoint(_)), "long before the hour is over");
    stop.store(true, Ordering::Relaxed);
    let (path, result) = fixture.done();
    assert!(matches!(result, Err(MediaError::Interrupted { .. })), "{path}: {result:?}");
}

/// Files of the kernel say 0 or 4096 bytes, whatever they hold.
#[cfg(target_os = "linux")]
#[test]
fn files_that_do_not_say_their_size_are_read_to_their_end() {
    let fixture = Fixture::new();
    let engine = engine(Backend::fastest(), 1, NEVER);
    for path in ["/proc/version", "/sys/kernel/mm/transparent_hugepage/enabled"] {
        let Ok(content) = fs::read(path) else { continue };
        engine.submit([Job::plain(Path::new(path), fixture.recorder(path, u64::MAX))]);
        let hash = fixture.done().1.unwrap();
        assert_eq!(hash.to_hex(), hex::encode(sha2::Sha256::digest(&content)), "{path}");
        assert_eq!(hash.bytes, content.len() as u64, "{path}");
    }
}

#[test]
fn files_that_are_all_missing_are_all_told() {
    let fixture = Fixture::new();
    let backend = Backend::all().next().unwrap();
    let engine = engine(backend, 2, NEVER);
    let paths: Vec<String> = (0..50).map(|number| format!("gone-{number}.mp4")).collect();
    engine.submit(paths.iter().map(|path| fixture.job(path, None)));
    for _ in &paths {
        let received = fixture.received.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(matches!(received, Event::Done(_, Err(MediaError::Missing { .. }))));
    }
}

#[test]
fn an_engine_that_is_dropped_finishes_what_it_has() {
    let fixture = Fixture::new();
    let engine = engine(Backend::fastest(), 2, NEVER);
    for i in 0..100 {
        fixture.write(&i.to_string(), 100_000);
        engine.submit([fixture.job(&i.to_string(), None)]);
    }
    drop(engine);
    assert_eq!(fixture.received.try_iter().count(), 100);
}
