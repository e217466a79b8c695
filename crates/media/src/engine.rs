//! Hashing threads over one queue of files: as many as cores to begin with, more while
//! that makes a slow disk give more. A thread that hangs in a read is given up and replaced.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::MediaError;
use crate::gang::{Gang, MAX_REST, Step};
use crate::hung::{HashThread, HungRead, Tracked};
use crate::job::Job;
use crate::observer::Observer;
use crate::pace::Pace;
use crate::sha256::Backend;

#[cfg(test)]
mod tests;

/// Files that a thread has open: all lanes of the widest backend, and some to step in for
/// those that end.
const FILES_A_THREAD: usize = 20;
/// A file for which there was no descriptor is tried again after this long: others end
/// meanwhile.
const OPEN_AGAIN: Duration = Duration::from_millis(10);
/// Where no file is open that could end, others of this process, or of the machine, get this
/// long to leave it a descriptor.
const EXHAUSTED_PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked at whether more threads would help: long enough to see the
/// disk's rate, short beside a run.
const PACE_EVERY: Duration = Duration::from_millis(500);
/// Threads that hang and were replaced, at most. Each keeps up to 1.3 MiB of buffers; where
/// more hang, it is the storage that does not answer.
const MAX_HUNG_THREADS: usize = 12;
/// How often it is checked whether a thread hangs, at most.
const WATCH_PERIOD: Duration = Duration::from_millis(500);
/// A closed engine does not wait for a thread that has been in one read for this long.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

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
    /// A file whose storage has not answered for this long is given up.
    pub stall_timeout: Duration,
}

pub(crate) type AnyObserver = Box<dyn Observer + Send>;

/// Hashing threads. Dropping it waits for the files that it was given, but for those whose
/// storage does not answer and those that only a thread which waits for that could take: they
/// end as interrupted.
pub struct Engine {
    shared: Arc<Shared>,
    watch: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

struct Shared {
    options: EngineOptions,
    most_threads: usize,
    queue: Mutex<VecDeque<Job<AnyObserver>>>,
    threads: Mutex<Threads>,
    /// Those of a lower number work; the others wait until they are needed.
    working: AtomicUsize,
    closed: AtomicBool,
    /// Files that all threads have open.
    open: AtomicUsize,
    /// Since when none could be opened for want of a descriptor or of memory.
    exhausted_since: Mutex<Option<Instant>>,
    /// Of all threads since the last look at the pace.
    hashed: AtomicU64,
    reading_micros: AtomicU64,
    pace: Mutex<(Pace, Instant)>,
}

/// The threads that take files, and those that were given up and have not returned yet.
#[derive(Default)]
struct Threads {
    live: Vec<Running>,
    hung: Vec<Arc<HashThread>>,
}

struct Running {
    thread: Arc<HashThread>,
    handle: JoinHandle<()>,
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
            most_threads: most,
            queue: Mutex::default(),
            threads: Mutex::default(),
            working: AtomicUsize::new(first),
            closed: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            exhausted_since: Mutex::default(),
            hashed: AtomicU64::new(0),
            reading_micros: AtomicU64::new(0),
            pace: Mutex::new((Pace::new(first, most), Instant::now())),
        });
        let mut engine = Self { shared, watch: None };
        for number in 0..most {
            Shared::spawn(&engine.shared, number)?;
        }
        let shared = Arc::clone(&engine.shared);
        let watch = std::thread::Builder::new().name("hash-watch".to_owned());
        engine.watch = Some(watch.spawn(move || Shared::watch(&shared))?);
        Ok(engine)
    }

    /// Files that it makes sense to have submitted at once.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.most_threads * FILES_A_THREAD
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

    /// A function that lists the reads from which a thread has not returned for at least
    /// `least`, the longest first. It does not keep the engine.
    pub fn hung_reads(&self) -> impl Fn(Duration) -> Vec<HungRead> + Send + Sync + use<> {
        let shared = Arc::clone(&self.shared);
        move |least| {
            let threads = lock(&shared.threads);
            let live = threads.live.iter().map(|running| &running.thread);
            let mut reads: Vec<HungRead> =
                live.chain(&threads.hung).filter_map(|thread| thread.reading(least)).collect();
            reads.sort_by_key(|read| std::cmp::Reverse(read.waited));
            reads
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.wake_all();
        if let Some(watch) = self.watch.take() {
            watch.thread().unpark();
            watch.join().ok();
        }
        loop {
            let mut threads = lock(&self.shared.threads);
            threads.live.retain(|running| !running.handle.is_finished());
            if threads.live.iter().all(|running| running.thread.reading(CLOSE_PATIENCE).is_some()) {
                break;
            }
            drop(threads);
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut left: Vec<_> = lock(&self.shared.queue).drain(..).collect();
        let live = std::mem::take(&mut lock(&self.shared.threads).live);
        for Running { thread, .. } in live {
            left.extend(thread.give_up(|path, _| MediaError::Interrupted { path }));
        }
        for job in left {
            let path = job.file_path.clone();
            job.refuse(MediaError::Interrupted { path });
        }
    }
}

impl Shared {
    fn wake_all(&self) {
        lock(&self.threads).live.iter().for_each(|running| running.handle.thread().unpark());
    }

    /// Starts the hashing thread `number`.
    fn spawn(shared: &Arc<Self>, number: usize) -> std::io::Result<()> {
        let thread = Arc::new(HashThread::new(number));
        let handle = std::thread::Builder::new().name(format!("hash-{number}")).spawn({
            let (shared, thread) = (Arc::clone(shared), Arc::clone(&thread));
            move || shared.work(&thread)
        })?;
        lock(&shared.threads).live.push(Running { thread, handle });
        Ok(())
    }

    /// Gives up threads that hang, until the engine is closed.
    fn watch(shared: &Arc<Self>) {
        let period = WATCH_PERIOD.min(shared.options.stall_timeout / 4);
        while !shared.closed.load(Ordering::Acquire) {
            std::thread::park_timeout(period);
            Self::give_up_hung(shared);
        }
    }

    /// Replaces threads that have been in one read for too long: the file of the read fails,
    /// the thread's other files go to other threads.
    fn give_up_hung(shared: &Arc<Self>) {
        let (hung, count) = {
            let mut threads = lock(&shared.threads);
            let stalled = |running: &mut Running| {
                running.thread.reading(shared.options.stall_timeout).is_some()
            };
            let hung: Vec<Running> = threads.live.extract_if(.., stalled).collect();
            threads.hung.extend(hung.iter().map(|running| Arc::clone(&running.thread)));
            (hung, threads.hung.len())
        };
        for Running { thread, .. } in hung {
            if count <= MAX_HUNG_THREADS
                && let Err(error) = Self::spawn(shared, thread.number())
            {
                tracing::error!(%error, "a hashing thread that hangs could not be replaced");
            }
            let jobs = thread.give_up(|path, waited| match count <= MAX_HUNG_THREADS {
                true => MediaError::Stalled { path, waited },
                false => MediaError::StorageHung { reads: count },
            });
            shared.put_back(jobs.into_iter());
            shared.wake_all();
        }
    }

    /// The life of a hashing thread.
    fn work(&self, thread: &Arc<HashThread>) {
        let number = thread.number();
        let mut gang = Gang::new(self.options.backend, self.options.checkpoint_every);
        loop {
            if thread.is_given_up() {
                // The read has returned after all. Its files are others' by now.
                self.put_back(thread.release_all().into_iter());
                self.open.fetch_sub(gang.len(), Ordering::AcqRel);
                lock(&self.threads).hung.retain(|hung| !Arc::ptr_eq(hung, thread));
                return;
            }
            let working = self.working.load(Ordering::Relaxed);
            // In the end everybody helps: those that work may hang.
            let takes = number < working || self.closed.load(Ordering::Acquire);
            let mut put_back = false;
            if takes {
                let mut jobs = self.take(FILES_A_THREAD - gang.len(), working, thread).into_iter();
                while let Some(job) = jobs.next() {
                    if let Some(job) = self.open(&mut gang, job) {
                        put_back = true;
                        self.put_back([job].into_iter().chain(jobs).filter_map(Tracked::release));
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
                    if takes && gang.len() < FILES_A_THREAD && !self.is_empty() => {}
                // Whoever has no byte for its files still hears that they are to stop.
                Step::Waiting => std::thread::park_timeout(MAX_REST),
                Step::Idle => std::thread::park(),
            }
        }
    }

    /// Opens a file, or returns it where it can be opened later.
    fn open<'a>(
        &'a self,
        gang: &mut Gang<Tracked<'a>>,
        mut job: Job<Tracked<'a>>,
    ) -> Option<Job<Tracked<'a>>> {
        if let Some(waited) = self.hangs(&job.file_path) {
            let path = job.file_path.clone();
            job.refuse(MediaError::Stalled { path, waited });
            return None;
        }
        // It may have waited for long, and not be wanted any more.
        if job.observer.progress(0).is_break() {
            let path = job.file_path.clone();
            job.refuse(MediaError::Interrupted { path });
            return None;
        }
        match gang.open(&mut job) {
            Ok(source) => {
                self.open.fetch_add(1, Ordering::AcqRel);
                *lock(&self.exhausted_since) = None;
                gang.take_in(job, source);
            }
            Err(error @ MediaError::Exhausted { .. }) if self.waits_for_room(&error) => {
                return Some(job);
            }
            Err(error) => job.refuse(error),
        }
        None
    }

    /// Whether a file that could not be opened for want of something is tried again: while
    /// others are open that will end, and for a while besides.
    fn waits_for_room(&self, error: &MediaError) -> bool {
        let mut since = lock(&self.exhausted_since);
        let since = since.get_or_insert_with(|| {
            tracing::warn!(%error, "no file can be opened for now, trying again");
            Instant::now()
        });
        self.open.load(Ordering::Acquire) > 0 || since.elapsed() < EXHAUSTED_PATIENCE
    }

    /// For how long a thread that was given up has waited for this file: it would cost
    /// another thread.
    fn hangs(&self, file_path: &str) -> Option<Duration> {
        let threads = lock(&self.threads);
        let mut reads = threads.hung.iter().filter_map(|thread| thread.reading(Duration::ZERO));
        reads.find(|read| read.file_path == file_path).map(|read| read.waited)
    }

    /// Files that could not be opened are the next ones, in their order.
    fn put_back(&self, jobs: impl Iterator<Item = Job<AnyObserver>>) {
        let jobs: Vec<_> = jobs.collect();
        let mut queue = lock(&self.queue);
        jobs.into_iter().rev().for_each(|job| queue.push_front(job));
    }

    /// This thread's share of the queue: all threads get as many, so that none is without
    /// while another has all.
    fn take(&self, room: usize, working: usize, thread: &Arc<HashThread>) -> Vec<Job<Tracked<'_>>> {
        let mut queue = lock(&self.queue);
        let share = queue.len().div_ceil(working).min(room);
        queue.drain(..share).map(|job| Tracked::take(job, thread, &self.hashed)).collect()
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

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
