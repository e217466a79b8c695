//! Files through the hashing engine: what its threads tell becomes what this worker's
//! tasks wait for.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use reelshift_media::sha256::Backend;
use reelshift_media::{
    Checkpoint, Engine, EngineOptions, FileHash, HungRead, MediaError, MediaRoot, Observer,
    VerifySample,
};
use reelshift_store::file_checkpoints::FileCheckpoint;
use reelshift_store::videos::FileToHash;
use tokio::sync::{mpsc, oneshot};

use crate::throttle::byte_rate::ByteRate;

/// Threads for each one that a fast disk would keep busy, at most: as many files more are
/// read at once.
const THREADS_FOR_A_SLOW_DISK: usize = 4;

/// A read that takes so long is shown: a disk that spins up takes ten seconds.
const STALL_SHOWN: Duration = Duration::from_secs(5);

/// Reads and hashes files.
#[derive(Debug)]
pub(crate) struct Reader {
    media: MediaRoot,
    engine: Engine,
}

/// How files are hashed.
#[derive(Debug, Clone, Copy)]
pub struct HashOptions {
    pub backend: Backend,
    /// How often the state of a file's hash is written to the ledger: what a crash costs.
    pub checkpoint_every: Duration,
    /// A file whose storage gives no byte for this long is left to a later attempt.
    pub stall_timeout: Duration,
    /// With it, checksums that the storage keeps are taken for hashes, but for this sample.
    pub trust_checksums: Option<VerifySample>,
}

/// Where the checkpoints of a batch's files go.
pub(super) type Checkpoints = mpsc::UnboundedSender<FileCheckpoint>;

impl Reader {
    /// `concurrency` threads, but no more than there are processors; and more while it is the
    /// disk that they wait for.
    pub(crate) fn start(
        media: MediaRoot,
        concurrency: usize,
        options: HashOptions,
    ) -> std::io::Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let engine = Engine::start(EngineOptions {
            backend: options.backend,
            threads: concurrency.min(processors),
            most_threads: concurrency * THREADS_FOR_A_SLOW_DISK,
            checkpoint_every: options.checkpoint_every,
            stall_timeout: options.stall_timeout,
        })?;
        Ok(Self { media, engine })
    }

    /// A function that says which file's storage does not answer, and for how long.
    pub(crate) fn stalls(&self) -> impl Fn() -> Option<String> + Send + Sync + use<> {
        let (hung, media) = (self.engine.hung_reads(), self.media.clone());
        move || {
            let mut reads = hung(STALL_SHOWN);
            reads.extend(media.silent_reads(STALL_SHOWN));
            reads.sort_by_key(|read| std::cmp::Reverse(read.waited));
            let HungRead { file_path, waited } = reads.first()?;
            let more = match reads.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more files"),
            };
            Some(format!("no byte of {file_path:?}{more} for {} s", waited.as_secs()))
        }
    }

    /// The media root's name.
    pub(super) fn root(&self) -> String {
        self.media.name()
    }

    /// Files that it makes sense to have given it at once.
    pub(crate) fn files_at_once(&self) -> usize {
        self.engine.capacity()
    }

    /// Hashes one file, from `resume` if it is the file's, at no more than `rate`.
    /// `progress` is told how many bytes more were hashed and can stop the work; whatever it
    /// holds is held until the reading has stopped, also where nobody waits for it any more.
    pub(super) async fn hash(
        &self,
        file: &FileToHash,
        resume: Option<Checkpoint>,
        checkpoints: Checkpoints,
        rate: Arc<ByteRate>,
        progress: impl FnMut(u64) -> ControlFlow<()> + Send + 'static,
    ) -> Result<FileHash, MediaError> {
        let (done, result) = oneshot::channel();
        let observer =
            ResultSender { file: file.clone(), checkpoints, rate, progress, done: Some(done) };
        self.engine.submit([self.media.job(&file.file_path, resume, observer)]);
        result.await.expect("a hashing thread sends the result of each file")
    }

    /// Whether a file's first bytes can be read; `None` where the storage does not answer.
    pub(super) async fn has(&self, file: &FileToHash) -> Option<bool> {
        let (checkpoints, _) = mpsc::unbounded_channel();
        let first = |bytes| match bytes {
            0 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        };
        match self.hash(file, None, checkpoints, Arc::default(), first).await {
            Ok(_) | Err(MediaError::Interrupted { .. }) => Some(true),
            Err(MediaError::Missing { .. } | MediaError::NotReadable { .. }) => Some(false),
            Err(_) => None,
        }
    }
}

struct ResultSender<P> {
    file: FileToHash,
    checkpoints: Checkpoints,
    rate: Arc<ByteRate>,
    progress: P,
    done: Option<oneshot::Sender<Result<FileHash, MediaError>>>,
}

impl<P: FnMut(u64) -> ControlFlow<()>> Observer for ResultSender<P> {
    fn progress(&mut self, bytes: u64) -> ControlFlow<()> {
        self.rate.charge(bytes);
        // An attempt that has lost its lease waits for none of its files.
        if self.done.as_ref().is_none_or(oneshot::Sender::is_closed) {
            return ControlFlow::Break(());
        }
        (self.progress)(bytes)
    }

    fn debt(&mut self) -> Option<Duration> {
        self.rate.debt()
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint) {
        let checkpoint = FileCheckpoint {
            video_id: self.file.id.clone(),
            file_path: self.file.file_path.clone(),
            file_size: checkpoint.version.size,
            bytes_done: checkpoint.offset,
            state: checkpoint.to_bytes(),
        };
        // The attempt may have ended without this file.
        self.checkpoints.send(checkpoint).ok();
    }

    fn done(&mut self, result: Result<FileHash, MediaError>) {
        if let Some(done) = self.done.take() {
            done.send(result).ok();
        }
    }
}

/// The checkpoints that earlier attempts have left, by video.
#[derive(Debug, Default)]
pub(super) struct ResumePoints(HashMap<String, FileCheckpoint>);

impl ResumePoints {
    pub(super) fn new(checkpoints: Vec<FileCheckpoint>) -> Self {
        Self(checkpoints.into_iter().map(|point| (point.video_id.clone(), point)).collect())
    }

    /// What `file` can go on from: nothing where its path is another by now, or where the
    /// checkpoint cannot be read.
    pub(super) fn take(&mut self, file: &FileToHash) -> Option<Checkpoint> {
        let point = self.0.remove(&file.id)?;
        if point.file_path != file.file_path {
            return None;
        }
        let checkpoint = Checkpoint::from_bytes(&point.state);
        if checkpoint.is_none() {
            tracing::warn!(
                video = file.id,
                "the checkpoint cannot be read (damaged, or of another version): starting over"
            );
        }
        checkpoint
    }

    /// Those whose videos need no hash any more.
    pub(super) fn without(&self, files: &[FileToHash]) -> Vec<String> {
        let wanted = |id: &str| files.iter().any(|file| file.id == id);
        self.0.keys().filter(|id| !wanted(id)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_for_which_nobody_waits_is_not_read_on() {
        let (done, result) = oneshot::channel();
        let mut observer = ResultSender {
            file: FileToHash {
                id: "v1".to_owned(),
                file_path: "a.mp4".to_owned(),
                file_size: None,
            },
            checkpoints: mpsc::unbounded_channel().0,
            rate: Arc::default(),
            progress: |_| ControlFlow::Continue(()),
            done: Some(done),
        };
        assert!(observer.progress(1).is_continue());
        drop(result);
        assert!(observer.progress(1).is_break());
    }
}
