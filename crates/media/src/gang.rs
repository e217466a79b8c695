//! Files that are hashed side by side by one thread: each with a small buffer that is
//! filled, run through the backend together with all others, and filled again. A file's
//! place is another's the moment it ends.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::checkpoint::{Checkpoint, FileVersion};
use crate::checksum::Checksum;
use crate::error::MediaError;
use crate::job::Job;
use crate::observer::{FileHash, HashOrigin, Observer};
use crate::sha256::{Backend, INITIAL, State, Work, finished, pad};
use crate::source::{Read, Source};

/// Bytes of a file that are read and then hashed at a time. Twenty such buffers are about
/// what a core's second-level cache holds (1 to 2 MiB), so that hashing finds most of them
/// there. Half of it costs a system call more often (4.4 GB/s of reading instead of 5.4),
/// twice as much was no faster.
const BUFFER: usize = 64 << 10;
/// Progress is reported after this many bytes, and at the end. Where the rate is limited, after
/// each read.
const REPORT_EVERY: u64 = 1 << 20;
/// However slow its storage or its limit is, a file is looked at this often: the limit may
/// have changed, its checkpoint be due, its observer stop it.
pub(crate) const MAX_REST: Duration = Duration::from_millis(100);

/// A file being hashed.
struct Stream<O> {
    source: Box<dyn Source>,
    observer: O,
    file_path: String,
    /// A checkpoint to go on from, until the source has begun.
    resume: Option<Checkpoint>,
    /// None until the source has begun.
    version: Option<FileVersion>,
    /// To be compared with the hash.
    stored: Option<[u8; 32]>,
    state: State,
    buffer: Buffer,
    resumed_at: u64,
    /// Bytes that the source has given, from the start of the file.
    read: u64,
    /// Bytes that are in the state, padding not counted.
    hashed: u64,
    reported: u64,
    reported_at: Instant,
    /// The rate of bytes is limited.
    limited: bool,
    /// The source has ended; the padding is in the buffer.
    ended: bool,
    /// None where the clock does not reach that far.
    checkpoint_at: Option<Instant>,
}

/// Bytes that were read and not hashed yet: `bytes[start..end]`.
struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    fn new() -> Self {
        // The last block and the padding may be 128 bytes beyond what is read at a time.
        Self { bytes: vec![0; BUFFER + 128].into_boxed_slice(), start: 0, end: 0 }
    }

    fn blocks(&self) -> &[[u8; 64]] {
        self.bytes[self.start..self.end].as_chunks().0
    }

    /// Moves what is left, less than a block, to the front.
    fn make_room(&mut self) {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
    }
}

/// What a step of a gang came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Some bytes were hashed, or a file ended.
    Worked,
    /// Every file waits for its source.
    Waiting,
    /// So do all but those that are left out, of which one may be read on after this long.
    Resting(Duration),
    /// There are no files.
    Idle,
}

/// Files hashed side by side.
pub(crate) struct Gang<O> {
    backend: Backend,
    checkpoint_every: Duration,
    streams: Vec<Stream<O>>,
    /// Of files that have ended.
    buffers: Vec<Buffer>,
    /// Time spent opening and reading since it was last asked for.
    reading: Duration,
}

impl<O: Observer> Gang<O> {
    pub(crate) const fn new(backend: Backend, checkpoint_every: Duration) -> Self {
        Self {
            backend,
            checkpoint_every,
            streams: Vec::new(),
            buffers: Vec::new(),
            reading: Duration::ZERO,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.streams.len()
    }

    /// Time spent opening and reading since the last call.
    pub(crate) fn take_reading(&mut self) -> Duration {
        std::mem::take(&mut self.reading)
    }

    /// Opens a file and takes it in.
    pub(crate) fn add(&mut self, mut job: Job<O>) {
        match self.open(&mut job) {
            Ok(source) => self.take_in(job, source),
            Err(error) => job.refuse(error),
        }
    }

    pub(crate) fn open(&mut self, job: &mut Job<O>) -> Result<Box<dyn Source>, MediaError> {
        let started = Instant::now();
        job.observer.waits_for_storage(true);
        let opened = (job.open)(job.resume.as_ref());
        job.observer.waits_for_storage(false);
        self.reading += started.elapsed();
        opened
    }

    /// Takes a file in that was opened.
    pub(crate) fn take_in(&mut self, job: Job<O>, source: Box<dyn Source>) {
        let Job { file_path, resume, observer, .. } = job;
        self.streams.push(Stream {
            source,
            observer,
            file_path,
            resume,
            version: None,
            stored: None,
            state: INITIAL,
            buffer: self.buffers.pop().unwrap_or_else(Buffer::new),
            resumed_at: 0,
            read: 0,
            hashed: 0,
            reported: 0,
            reported_at: Instant::now(),
            limited: false,
            ended: false,
            checkpoint_at: Instant::now().checked_add(self.checkpoint_every),
        });
    }

    /// Reads and hashes a little of every file.
    pub(crate) fn step(&mut self) -> Step {
        if self.streams.is_empty() {
            return Step::Idle;
        }
        let started = Instant::now();
        let mut rest = None;
        let mut ended = self.each(|stream| stream.fill(&mut rest));
        self.reading += started.elapsed();
        let mut work: Vec<Work<'_>> = self
            .streams
            .iter()
            .map(|stream| Work { state: stream.state, blocks: stream.buffer.blocks() })
            .collect();
        let ready = work.iter().any(|stream| !stream.blocks.is_empty());
        if ready {
            self.backend.compress(&mut work);
            let left: Vec<_> = work.iter().map(|work| (work.state, work.blocks.len())).collect();
            for (stream, (state, blocks)) in self.streams.iter_mut().zip(left) {
                stream.advance(state, blocks);
            }
        }
        let now = Instant::now();
        ended |= self.each(|stream| stream.report(now));
        self.checkpoints();
        match rest {
            _ if ready || ended => Step::Worked,
            Some(rest) => Step::Resting(rest),
            None => Step::Waiting,
        }
    }

    /// Hands out the checkpoints that are due, also those of files that are left out.
    fn checkpoints(&mut self) {
        let now = Instant::now();
        for stream in &mut self.streams {
            if stream.checkpoint_at.is_some_and(|at| now >= at) {
                stream.checkpoint_at = now.checked_add(self.checkpoint_every);
                stream.checkpoint();
            }
        }
    }

    /// Does something to each file; those that end by it leave. Returns whether any did.
    fn each(
        &mut self,
        mut act: impl FnMut(&mut Stream<O>) -> ControlFlow<Result<FileHash, MediaError>>,
    ) -> bool {
        let before = self.streams.len();
        let mut i = 0;
        while i < self.streams.len() {
            match act(&mut self.streams[i]) {
                ControlFlow::Continue(()) => i += 1,
                ControlFlow::Break(result) => {
                    let mut stream = self.streams.swap_remove(i);
                    (stream.buffer.start, stream.buffer.end) = (0, 0);
                    self.buffers.push(stream.buffer);
                    // Closing a file can hang as reading it can.
                    stream.observer.waits_for_storage(true);
                    drop(stream.source);
                    stream.observer.waits_for_storage(false);
                    stream.observer.done(result);
                }
            }
        }
        self.streams.len() < before
    }
}

type Go = ControlFlow<Result<FileHash, MediaError>>;

impl<O: Observer> Stream<O> {
    /// Learns what the source is and where it begins; false while that is not known. Ends
    /// where a checksum is taken for the hash.
    fn begin(&mut self) -> ControlFlow<Result<FileHash, MediaError>, bool> {
        self.observer.waits_for_storage(true);
        let begun = self.source.begin(self.resume.as_ref());
        self.observer.waits_for_storage(false);
        let begun = match begun {
            Ok(Some(begun)) => begun,
            Ok(None) => return ControlFlow::Continue(false),
            Err(error) => return ControlFlow::Break(Err(error)),
        };
        match begun.checksum {
            Some(Checksum::Trusted(sha256)) => {
                let (bytes, origin) = (begun.version.size, HashOrigin::StoredChecksum);
                return ControlFlow::Break(Ok(FileHash { sha256, bytes, resumed_at: 0, origin }));
            }
            Some(Checksum::ToVerify(sha256)) => self.stored = Some(sha256),
            None => {}
        }
        let resume = self.resume.take();
        if let Some(checkpoint) = resume.filter(|_| begun.offset > 0) {
            self.state = checkpoint.state;
        }
        for count in [&mut self.resumed_at, &mut self.read, &mut self.hashed, &mut self.reported] {
            *count = begun.offset;
        }
        self.version = Some(begun.version);
        ControlFlow::Continue(true)
    }

    /// Reads until there is a block to hash, the source has no more for now, or the file is
    /// to be left out: for no longer than `rest` then.
    fn fill(&mut self, rest: &mut Option<Duration>) -> Go {
        if self.version.is_none() && !self.begin()? {
            return ControlFlow::Continue(());
        }
        if !self.ended && self.buffer.blocks().is_empty() {
            let debt = self.observer.debt();
            self.limited = debt.is_some();
            if let Some(debt) = debt.filter(|debt| !debt.is_zero()) {
                *rest = Some(debt.min(rest.unwrap_or(MAX_REST)));
                return self.progress(0);
            }
        }
        while !self.ended && self.buffer.blocks().is_empty() {
            self.buffer.make_room();
            let end = self.buffer.end;
            self.observer.waits_for_storage(true);
            let read = self.source.read(&mut self.buffer.bytes[end..BUFFER]);
            self.observer.waits_for_storage(false);
            match read {
                Ok(Read::Bytes(count)) => {
                    self.buffer.end += count;
                    self.read += count as u64;
                }
                Ok(Read::Waiting) => break,
                Ok(Read::End) => {
                    let (padding, len) = pad(self.read);
                    self.buffer.bytes[end..end + len].copy_from_slice(&padding[..len]);
                    self.buffer.end += len;
                    self.ended = true;
                }
                Err(error) => return ControlFlow::Break(Err(error)),
            }
        }
        ControlFlow::Continue(())
    }

    /// Takes the backend's work over, which left `blocks` in the buffer.
    fn advance(&mut self, state: State, blocks: usize) {
        let run = self.buffer.blocks().len() - blocks;
        self.state = state;
        self.buffer.start += run * 64;
        self.hashed = (self.hashed + run as u64 * 64).min(self.read);
    }

    fn report(&mut self, now: Instant) -> Go {
        let through = self.ended && self.buffer.blocks().is_empty();
        let news = self.hashed - self.reported;
        let due = news >= REPORT_EVERY || now.duration_since(self.reported_at) >= MAX_REST;
        if due || ((through || self.limited) && news > 0) {
            self.reported = self.hashed;
            self.reported_at = now;
            self.progress(news)?;
        }
        if through {
            self.observer.waits_for_storage(true);
            let settled = self.source.settle();
            self.observer.waits_for_storage(false);
            return ControlFlow::Break(settled.and_then(|()| self.hash()));
        }
        ControlFlow::Continue(())
    }

    /// The hash of all that was read.
    fn hash(&self) -> Result<FileHash, MediaError> {
        let sha256 = finished(self.state);
        let origin = match self.stored {
            None => HashOrigin::Read,
            Some(stored) if stored == sha256 => HashOrigin::Verified,
            Some(stored) => {
                return Err(MediaError::ChecksumDiffers {
                    path: self.file_path.clone(),
                    stored: hex::encode(stored),
                    computed: hex::encode(sha256),
                });
            }
        };
        Ok(FileHash { sha256, bytes: self.read, resumed_at: self.resumed_at, origin })
    }

    fn progress(&mut self, bytes: u64) -> Go {
        if self.observer.progress(bytes).is_continue() {
            return ControlFlow::Continue(());
        }
        self.checkpoint();
        ControlFlow::Break(Err(MediaError::Interrupted { path: self.file_path.clone() }))
    }

    /// Once the padding is in the buffer the file is as good as done.
    fn checkpoint(&mut self) {
        if let Some(version) = &self.version
            && !self.ended
            && self.hashed > self.resumed_at
        {
            self.observer.checkpoint(Checkpoint {
                version: version.clone(),
                offset: self.hashed,
                state: self.state,
            });
        }
    }
}
