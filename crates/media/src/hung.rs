//! Which file each hashing thread waits for, and since when. A dead network mount answers
//! neither with bytes nor with an error, and no thread can be called back from such a read:
//! it is given up, with the one file, and its other files go to other threads.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::checkpoint::Checkpoint;
use crate::engine::{AnyObserver, lock};
use crate::error::MediaError;
use crate::job::{Job, Open};
use crate::observer::{FileHash, Observer};

/// A read that has not returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HungRead {
    pub file_path: String,
    pub waited: Duration,
}

/// What a hashing thread is at.
pub(crate) struct HashThread {
    number: usize,
    given_up: AtomicBool,
    /// The file whose storage was asked, and when; none between two reads.
    reading: Mutex<Option<(Arc<Taken>, Instant)>>,
    files: Mutex<Vec<Arc<Taken>>>,
}

/// A file that a thread has taken, kept where others reach it.
struct Taken {
    file_path: String,
    open: Open,
    state: Mutex<State>,
}

struct State {
    /// None once the file has ended here, or was given to others.
    observer: Option<AnyObserver>,
    /// Where others would go on.
    resume: Option<Checkpoint>,
}

impl HashThread {
    pub(crate) fn new(number: usize) -> Self {
        Self {
            number,
            given_up: AtomicBool::new(false),
            reading: Mutex::default(),
            files: Mutex::default(),
        }
    }

    pub(crate) const fn number(&self) -> usize {
        self.number
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    /// The read that the thread is in, if it has been for at least `least`.
    pub(crate) fn reading(&self, least: Duration) -> Option<HungRead> {
        let reading = lock(&self.reading);
        let (taken, since) = reading.as_ref()?;
        let waited = since.elapsed();
        (waited >= least).then(|| HungRead { file_path: taken.file_path.clone(), waited })
    }

    /// Gives the thread up: the file that it waits for ends with `error`, all others are
    /// returned.
    pub(crate) fn give_up(
        &self,
        error: impl FnOnce(String, Duration) -> MediaError,
    ) -> Vec<Job<AnyObserver>> {
        self.given_up.store(true, Ordering::Release);
        let reading = lock(&self.reading).clone();
        if let Some((taken, since)) = reading {
            let observer = lock(&taken.state).observer.take();
            if let Some(mut observer) = observer {
                observer.done(Err(error(taken.file_path.clone(), since.elapsed())));
            }
        }
        self.release_all()
    }

    /// The thread's files, for others.
    pub(crate) fn release_all(&self) -> Vec<Job<AnyObserver>> {
        let files = std::mem::take(&mut *lock(&self.files));
        files.iter().filter_map(|taken| taken.release()).collect()
    }

    fn forget(&self, taken: &Arc<Taken>) {
        lock(&self.files).retain(|other| !Arc::ptr_eq(other, taken));
    }
}

impl Taken {
    fn release(&self) -> Option<Job<AnyObserver>> {
        let mut state = lock(&self.state);
        let observer = state.observer.take()?;
        Some(Job {
            file_path: self.file_path.clone(),
            open: Arc::clone(&self.open),
            resume: state.resume.take(),
            observer,
        })
    }
}

/// The observer of a taken file. Its bytes count for the pace.
pub(crate) struct Tracked<'a> {
    taken: Arc<Taken>,
    thread: Arc<HashThread>,
    hashed: &'a AtomicU64,
}

impl<'a> Tracked<'a> {
    pub(crate) fn take(
        job: Job<AnyObserver>,
        thread: &Arc<HashThread>,
        hashed: &'a AtomicU64,
    ) -> Job<Self> {
        let Job { file_path, open, resume, observer } = job;
        let taken = Arc::new(Taken {
            file_path: file_path.clone(),
            open: Arc::clone(&open),
            state: Mutex::new(State { observer: Some(observer), resume: resume.clone() }),
        });
        lock(&thread.files).push(Arc::clone(&taken));
        let observer = Self { taken, thread: Arc::clone(thread), hashed };
        Job { file_path, open, resume, observer }
    }

    /// The file as it was taken; none where it is others' already.
    pub(crate) fn release(job: Job<Self>) -> Option<Job<AnyObserver>> {
        let Self { taken, thread, .. } = job.observer;
        thread.forget(&taken);
        taken.release()
    }
}

impl Observer for Tracked<'_> {
    fn progress(&mut self, bytes: u64) -> ControlFlow<()> {
        self.hashed.fetch_add(bytes, Ordering::Relaxed);
        match &mut lock(&self.taken.state).observer {
            Some(observer) => observer.progress(bytes),
            None => ControlFlow::Break(()),
        }
    }

    fn debt(&mut self) -> Option<Duration> {
        lock(&self.taken.state).observer.as_mut()?.debt()
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint) {
        let mut state = lock(&self.taken.state);
        if let Some(observer) = &mut state.observer {
            observer.checkpoint(checkpoint.clone());
        }
        state.resume = Some(checkpoint);
    }

    fn waits_for_storage(&mut self, waits: bool) {
        let reading = waits.then(|| (Arc::clone(&self.taken), Instant::now()));
        *lock(&self.thread.reading) = reading;
    }

    fn done(&mut self, result: Result<FileHash, MediaError>) {
        self.thread.forget(&self.taken);
        let observer = lock(&self.taken.state).observer.take();
        if let Some(mut observer) = observer {
            observer.done(result);
        }
    }
}
