//! Hashing threads over one queue of files: as many as cores to begin with, more while
//! that makes a slow disk give more.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use crate::checkpoint::Checkpoint;
use crate::error::MediaError;
use crate::gang::{FileHash, Gang, Observer, Step};
use crate::job::Job;
use crate::pace::Pace;
use crate::sha256::Backend;

/// Files that a thread has open: all lanes of the widest backend, and some to step in for
/// those that end.
const FILES_A_THREAD: usize = 20;
/// A file for which there was no descriptor is tried again after this long: others end
/// meanwhile.
const OPEN_AGAIN: Duration = Duration::from_millis(10);
/// How often it is looked at whether more threads would help: long enough to see the
/// disk's rate, short beside a run.
const PACE_EVERY: Duration = Duration::from_millis(500);

/// How an engine works.
#[derive(Debug, Clone, Copy)]
pub struct EngineOptions {
    pub backend: Backend,
    /// Hashing threads to begin with; at least 1.
    pub threads: usize,
    /// Threads at most, while they wait for the disk more than they compute.
    pub most_threads: usize,
    /// How often a file's checkpoint is handed to its observer.
    pub checkpoint_every: Duration,
}

type AnyObserver = Box<dyn Observer + Send>;

/// Hashing threads. Dropping it waits for the files that are open.
pub struct Engine {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

struct Shared {
    options: EngineOptions,
    queue: Mutex<VecDeque<Job<AnyObserver>>>,
    /// The hashing threads, to wake them.
    wake: Mutex<Vec<Thread>>,
    /// Those of a lower number work; the others wait until they are needed.
    working: AtomicUsize,
    closed: AtomicBool,
    /// Files that all threads have open.
    open: AtomicUsize,
    /// Of all threads since the last look at the pace.
    hashed: AtomicU64,
    reading_micros: AtomicU64,
    pace: Mutex<(Pace, Instant)>,
}

impl Engine {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the operating system gives no more threads.
    pub fn start(options: EngineOptions) -> std::io::Result<Self> {
        let first = options.threads.max(1);
        let most = options.most_threads.max(first);
        let shared = Arc::new(Shared {
            options,
            queue: Mutex::default(),
            wake: Mutex::default(),
            working: AtomicUsize::new(first),
            closed: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            hashed: AtomicU64::new(0),
            reading_micros: AtomicU64::new(0),
            pace: Mutex::new((Pace::new(first, most), Instant::now())),
        });
        let mut engine = Self { shared, threads: Vec::new() };
        for number in 0..most {
            let shared = Arc::clone(&engine.shared);
            let thread = std::thread::Builder::new()
                .name(format!("hash-{number}"))
                .spawn(move || shared.work(number))?;
            lock(&engine.shared.wake).push(thread.thread().clone());
            engine.threads.push(thread);
        }
        Ok(engine)
    }

    /// Files that it makes sense to have submitted at once.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.threads.len() * FILES_A_THREAD
    }

    /// Has files hashed, in this order as far as there is room; what comes of each is told
    /// to its observer. Large files first keep all lanes busy to the end.
    pub fn submit<O: Observer + Send + 'static>(&self, jobs: impl IntoIterator<Item = Job<O>>) {
        let jobs = jobs.into_iter().map(|Job { file_path, open, resume, observer }| {
            let observer: AnyObserver = Box::new(observer);
            Job { file_path, open, resume, observer }
        });
        let jobs: Vec<_> = jobs.collect();
        lock(&self.shared.queue).extend(jobs);
        self.shared.wake_all();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.wake_all();
        for thread in self.threads.drain(..) {
            // A panic was an observer's; its files' receivers have seen it.
            thread.join().ok();
        }
    }
}

impl Shared {
    fn wake_all(&self) {
        lock(&self.wake).iter().for_each(Thread::unpark);
    }

    /// The life of a hashing thread.
    fn work(&self, number: usize) {
        let mut gang = Gang::new(self.options.backend, self.options.checkpoint_every);
        loop {
            let working = self.working.load(Ordering::Relaxed);
            let mut put_back = false;
            if number < working {
                let mut jobs = self.take(FILES_A_THREAD - gang.len(), working).into_iter();
                while let Some(job) = jobs.next() {
                    if let Some(job) = self.open(&mut gang, job) {
                        put_back = true;
                        self.put_back([job].into_iter().chain(jobs));
                        break;
                    }
                }
            }
            let before = gang.len();
            let step = gang.step();
            self.open.fetch_sub(before - gang.len(), Ordering::AcqRel);
            match step {
                Step::Worked => {
                    let reading = gang.take_reading().as_micros();
                    let reading = u64::try_from(reading).unwrap_or(u64::MAX);
                    self.reading_micros.fetch_add(reading, Ordering::Relaxed);
                    self.look_at_pace();
                }
                Step::Idle if self.closed.load(Ordering::Acquire) && self.is_empty() => {
                    // Those that had slept while there were files left end as well.
                    return self.wake_all();
                }
                Step::Resting(rest) => std::thread::park_timeout(rest),
                Step::Waiting | Step::Idle if put_back => std::thread::park_timeout(OPEN_AGAIN),
                // Its share was refused, or is done: what others did not take is left.
                Step::Waiting | Step::Idle
                    if number < working && gang.len() < FILES_A_THREAD && !self.is_empty() => {}
                Step::Waiting | Step::Idle => std::thread::park(),
            }
        }
    }

    /// Opens a file, or returns it where too many others are open.
    fn open<'a>(
        &'a self,
        gang: &mut Gang<Counted<'a>>,
        job: Job<AnyObserver>,
    ) -> Option<Job<AnyObserver>> {
        let Job { file_path, open, resume, observer } = job;
        let job =
            Job { file_path, open, resume, observer: Counted { observer, hashed: &self.hashed } };
        match gang.open(&job) {
            Ok(source) => {
                self.open.fetch_add(1, Ordering::AcqRel);
                gang.take_in(job, source);
            }
            Err(error)
                if error.is_for_want_of_descriptors() && self.open.load(Ordering::Acquire) > 0 =>
            {
                let Job { file_path, open, resume, observer: Counted { observer, .. } } = job;
                return Some(Job { file_path, open, resume, observer });
            }
            Err(error) => job.refuse(error),
        }
        None
    }

    /// Files that could not be opened are the next ones, in their order.
    fn put_back(&self, jobs: impl DoubleEndedIterator<Item = Job<AnyObserver>>) {
        let mut queue = lock(&self.queue);
        jobs.rev().for_each(|job| queue.push_front(job));
    }

    /// This thread's share of the queue: all threads get as many, so that none is without
    /// while another has all.
    fn take(&self, room: usize, working: usize) -> Vec<Job<AnyObserver>> {
        let mut queue = lock(&self.queue);
        let share = queue.len().div_ceil(working).min(room);
        queue.drain(..share).collect()
    }

    fn is_empty(&self) -> bool {
        lock(&self.queue).is_empty()
    }

    fn look_at_pace(&self) {
        // Another thread is at it.
        let Ok(mut pace) = self.pace.try_lock() else { return };
        let elapsed = pace.1.elapsed();
        if elapsed < PACE_EVERY {
            return;
        }
        pace.1 = Instant::now();
        let bytes = self.hashed.swap(0, Ordering::Relaxed);
        let reading = Duration::from_micros(self.reading_micros.swap(0, Ordering::Relaxed));
        let before = self.working.load(Ordering::Relaxed);
        let share = reading.as_secs_f64() / elapsed.as_secs_f64() / before as f64;
        let threads = pace.0.observe(bytes as f64 / elapsed.as_secs_f64(), share);
        self.working.store(threads, Ordering::Relaxed);
        if threads > before {
            self.wake_all();
        }
    }
}

/// An observer whose file's bytes count for the pace.
struct Counted<'a> {
    observer: AnyObserver,
    hashed: &'a AtomicU64,
}

impl Observer for Counted<'_> {
    fn progress(&mut self, bytes: u64) -> ControlFlow<()> {
        self.hashed.fetch_add(bytes, Ordering::Relaxed);
        self.observer.progress(bytes)
    }

    fn debt(&mut self) -> Option<Duration> {
        self.observer.debt()
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint) {
        self.observer.checkpoint(checkpoint);
    }

    fn done(&mut self, result: Result<FileHash, MediaError>) {
        self.observer.done(result);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
