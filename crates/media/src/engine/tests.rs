//! Reads that do not return until the test lets them.

use std::ops::ControlFlow;
use std::sync::Condvar;
use std::sync::mpsc::{Receiver, Sender, channel};

use sha2::Digest;

use super::*;
use crate::checkpoint::{Checkpoint, FileVersion};
use crate::observer::FileHash;
use crate::source::{Begun, Read, Source};

const STALL: Duration = Duration::from_millis(100);
const CONTENT: &[u8] = b"abc";

/// Lets hanging reads return.
#[derive(Default)]
struct Release(Mutex<bool>, Condvar);

impl Release {
    fn wait(&self) {
        let waits = self.1.wait_while(lock(&self.0), |released| !*released);
        drop(waits.expect("nobody panics with it"));
    }

    fn release(&self) {
        *lock(&self.0) = true;
        self.1.notify_all();
    }
}

/// [`CONTENT`], or nothing until it is released.
struct Short {
    hangs: Option<Arc<Release>>,
    given: bool,
}

impl Source for Short {
    fn begin(&mut self, _: Option<&Checkpoint>) -> Result<Option<Begun>, MediaError> {
        let version = FileVersion { size: CONTENT.len() as u64, mark: "1".to_owned() };
        Ok(Some(Begun { version, offset: 0, checksum: None }))
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<Read, MediaError> {
        if let Some(release) = &self.hangs {
            release.wait();
        }
        if std::mem::replace(&mut self.given, true) {
            return Ok(Read::End);
        }
        buffer[..CONTENT.len()].copy_from_slice(CONTENT);
        Ok(Read::Bytes(CONTENT.len()))
    }

    fn settle(&mut self) -> Result<(), MediaError> {
        Ok(())
    }
}

struct Recorder(String, Sender<(String, Result<FileHash, MediaError>)>);

impl Observer for Recorder {
    fn progress(&mut self, _: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn checkpoint(&mut self, _: Checkpoint) {}

    fn done(&mut self, result: Result<FileHash, MediaError>) {
        self.1.send((self.0.clone(), result)).expect("the test listens");
    }
}

struct Fixture {
    engine: Engine,
    release: Arc<Release>,
    sender: Sender<(String, Result<FileHash, MediaError>)>,
    received: Receiver<(String, Result<FileHash, MediaError>)>,
}

impl Fixture {
    fn new() -> Self {
        Self::with(1, 1, STALL)
    }

    fn with(threads: usize, most_threads: usize, stall_timeout: Duration) -> Self {
        let options = EngineOptions {
            backend: Backend::fastest(),
            threads,
            most_threads,
            checkpoint_every: Duration::MAX,
            stall_timeout,
        };
        let engine = Engine::start(options).expect("threads");
        let (sender, received) = channel();
        Self { engine, release: Arc::default(), sender, received }
    }

    fn submit(&self, name: &str, hangs: bool) {
        let hangs = hangs.then(|| Arc::clone(&self.release));
        let open = move |_: Option<&Checkpoint>| {
            Ok(Box::new(Short { hangs: hangs.clone(), given: false }) as Box<dyn Source>)
        };
        let recorder = Recorder(name.to_owned(), self.sender.clone());
        self.engine.submit([Job::new(name, None, recorder, open)]);
    }

    fn received(&self) -> (String, Result<FileHash, MediaError>) {
        self.received.recv_timeout(Duration::from_secs(60)).expect("an outcome")
    }

    fn is_stalled(&self, name: &str) {
        match self.received() {
            (file, Err(MediaError::Stalled { path, .. })) => {
                assert_eq!((&*file, &*path), (name, name))
            }
            other => panic!("{other:?}"),
        }
    }

    fn hung_threads(&self) -> usize {
        lock(&self.engine.shared.threads).hung.len()
    }
}

#[test]
fn a_read_that_does_not_return_holds_no_other_file() {
    let fixture = Fixture::new();
    fixture.submit("hangs", true);
    let names: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    names.iter().for_each(|name| fixture.submit(name, false));
    let mut hashed = Vec::new();
    let mut stalled = 0;
    for _ in 0..51 {
        match fixture.received() {
            (name, Ok(hash)) => {
                assert_eq!(hash.sha256[..], sha2::Sha256::digest(CONTENT)[..]);
                hashed.push(name);
            }
            (name, Err(MediaError::Stalled { path, .. })) => {
                assert_eq!((&*name, &*path), ("hangs", "hangs"));
                stalled += 1;
            }
            (name, other) => panic!("{name}: {other:?}"),
        }
    }
    hashed.sort_by_key(|name| name.parse::<usize>().expect("a number"));
    assert_eq!((hashed, stalled), (names, 1));

    // It is shown for as long as it hangs, and costs no second thread.
    let reads = (fixture.engine.hung_reads())(STALL);
    assert_eq!(reads.iter().map(|read| &*read.file_path).collect::<Vec<_>>(), ["hangs"]);
    fixture.submit("hangs", true);
    fixture.is_stalled("hangs");
    assert_eq!(fixture.hung_threads(), 1);

    // Once it returns, the thread ends and the file can be read again.
    fixture.release.release();
    let began = Instant::now();
    while fixture.hung_threads() > 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "the thread did not end");
        std::thread::sleep(Duration::from_millis(1));
    }
    fixture.submit("hangs", true);
    assert!(fixture.received().1.is_ok());
}

#[test]
fn so_many_reads_hang_and_no_more() {
    let fixture = Fixture::new();
    for number in 0..MAX_HUNG_THREADS {
        let name = number.to_string();
        fixture.submit(&name, true);
        fixture.is_stalled(&name);
    }
    fixture.submit("last", true);
    let (_, result) = fixture.received();
    assert!(matches!(result, Err(MediaError::StorageHung { .. })), "{result:?}");
    assert_eq!(lock(&fixture.engine.shared.threads).live.len(), 0, "it is not replaced");
    fixture.release.release();
}

#[test]
fn an_engine_is_dropped_beside_a_read_that_hangs() {
    let fixture = Fixture::new();
    fixture.submit("hangs", true);
    fixture.is_stalled("hangs");
    let Fixture { engine, release, .. } = fixture;
    drop(engine);
    release.release();
}

/// Hangs as many reads as threads work, waits until they do, and submits more files.
fn hang_all(fixture: &Fixture, threads: usize, more: usize) {
    (0..threads).for_each(|number| fixture.submit(&format!("hangs {number}"), true));
    let reads = fixture.engine.hung_reads();
    let began = Instant::now();
    while reads(Duration::ZERO).len() < threads {
        assert!(began.elapsed() < Duration::from_secs(60), "not all of them hang");
        std::thread::sleep(Duration::from_millis(1));
    }
    (0..more).for_each(|number| fixture.submit(&number.to_string(), false));
}

#[test]
fn what_hanging_threads_leave_is_done_by_the_others_in_the_end() {
    let fixture = Fixture::with(2, 4, Duration::from_secs(3600));
    hang_all(&fixture, 2, 50);
    let Fixture { engine, release, received, .. } = fixture;
    drop(engine);
    let (hashed, interrupted): (Vec<_>, Vec<_>) =
        (0..52).map(|_| received.recv().expect("an outcome")).partition(|(_, end)| end.is_ok());
    assert_eq!((hashed.len(), interrupted.len()), (50, 2));
    assert!(interrupted.iter().all(|(name, _)| name.starts_with("hangs")), "{interrupted:?}");
    release.release();
}

#[test]
fn what_nobody_can_take_any_more_ends_as_interrupted() {
    let fixture = Fixture::with(1, 1, Duration::from_secs(3600));
    hang_all(&fixture, 1, 50);
    let Fixture { engine, release, received, .. } = fixture;
    drop(engine);
    for _ in 0..51 {
        let (name, end) = received.recv().expect("an outcome");
        assert!(matches!(end, Err(MediaError::Interrupted { .. })), "{name}: {end:?}");
    }
    release.release();
}
