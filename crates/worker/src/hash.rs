//! Hash: the files of a batch, several at once, results written as they come.
//!
//! The batch has no checkpoint but the rows themselves: an attempt takes up whichever of
//! its videos have no hash yet. A large file has one of its own, from which any worker
//! goes on.

mod reader;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use reelshift_media::{Checkpoint, FileHash, MediaError};
use reelshift_plan::Backoff;
use reelshift_queue::{AttemptEnd, Session};
use reelshift_store::file_checkpoints::FileCheckpoint;
use reelshift_store::ledger::{Bounds, Claimed};
use reelshift_store::videos::{FailedItem, FileResults, FileToHash, HashedFile};
use reelshift_store::{ErrorRecord, StoreError};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

pub use self::reader::HashOptions;
pub(crate) use self::reader::Reader;
use self::reader::{Checkpoints, Left};
use crate::classify::{self, Remedy};
use crate::record::Recorder;

/// Results are written when this many are in, or after [`MOST_WAIT`].
const MOST_RESULTS: usize = 32;
/// What a crash costs at most beside the files being read.
const MOST_WAIT: Duration = Duration::from_millis(500);
/// A drain leaves running files this long to finish; the rest of the drain is for writing.
const FILE_DRAIN: Duration = Duration::from_secs(20);
/// Passes over a batch whose rows change their `file_path` while the files are read.
const MOST_PASSES: u32 = 3;

pub(crate) struct Hash {
    session: Arc<Session>,
    recorder: Arc<Recorder>,
    reader: Reader,
    files_at_once: usize,
    /// Files being read at once, whichever batch they are of.
    slots: Arc<Semaphore>,
    stop: CancellationToken,
    /// Says to the reading threads that the drain is over.
    interrupted: Arc<AtomicBool>,
}

/// A file that was read, or was not.
struct Outcome {
    file: FileToHash,
    result: Result<FileHash, MediaError>,
}

impl Hash {
    pub(crate) fn new(
        session: Arc<Session>,
        recorder: Arc<Recorder>,
        reader: Reader,
        stop: CancellationToken,
    ) -> Self {
        let interrupted = Arc::new(AtomicBool::new(false));
        tokio::spawn({
            let (stop, interrupted) = (stop.clone(), Arc::clone(&interrupted));
            async move {
                stop.cancelled().await;
                tokio::time::sleep(FILE_DRAIN).await;
                interrupted.store(true, Ordering::Relaxed);
            }
        });
        let files_at_once = reader.files_at_once();
        let slots = Arc::new(Semaphore::new(files_at_once));
        Self { session, recorder, reader, files_at_once, slots, stop, interrupted }
    }

    /// Executes one attempt.
    pub(crate) async fn attempt(&self, batch: &Claimed) -> Result<(), AttemptEnd> {
        let _doing = self.session.activity().begin(batch.lease.seq, format!("hash {}", batch.id));
        let Bounds::Items(items) = &batch.bounds else {
            let message = "a hash batch must list its videos".to_owned();
            let error = self.recorder.message(batch, None, classify::PANIC, message);
            return Err(failed(batch, false, error));
        };
        for _ in 0..MOST_PASSES {
            let files = self
                .session
                .store()
                .files_to_hash(items)
                .await
                .map_err(|error| self.database_failed(batch, &error))?;
            if files.is_empty() {
                return Ok(());
            }
            let left = self.left(batch, items, &files).await?;
            self.pass(batch, files, left).await?;
        }
        let message = "the file_path of a video changed each time its file was read".to_owned();
        let error = self.recorder.message(batch, None, classify::PATH_UNSETTLED, message);
        Err(failed(batch, true, error))
    }

    /// Reads `files` and writes what came of each. Files whose failure may pass make the
    /// attempt fail, after all others are done; at the last attempt they are set aside.
    async fn pass(
        &self,
        batch: &Claimed,
        files: Vec<FileToHash>,
        mut left: Left,
    ) -> Result<(), AttemptEnd> {
        let (checkpoints, mut to_save) = mpsc::unbounded_channel();
        let last_attempt = batch.attempts + 1 >= batch.max_attempts;
        // The largest first: otherwise the last one is read with nothing beside it.
        let mut files = files;
        files.sort_by_key(|file| std::cmp::Reverse(file.file_size));
        let mut waiting = files.into_iter();
        let mut reading = FuturesUnordered::new();
        let mut results = FileResults::default();
        let mut written_at = Instant::now();
        let mut to_retry: Option<ErrorRecord> = None;
        let mut drained = false;
        loop {
            while !self.stop.is_cancelled() && reading.len() < self.files_at_once {
                let Some(file) = waiting.next() else { break };
                let resume = left.take(&file);
                reading.push(self.read(file, resume, checkpoints.clone()));
            }
            // Checkpoints first: none is written after its file's outcome.
            let next = tokio::select! {
                biased;
                Some(checkpoint) = to_save.recv() => {
                    self.save(batch, &checkpoint).await?;
                    continue;
                }
                next = reading.next() => next,
            };
            let Some(outcome) = next else {
                drained |= waiting.next().is_some();
                break;
            };
            match self.sort(batch, outcome, last_attempt, &mut results) {
                Ok(()) => {}
                Err(Unfinished::Interrupted) => drained = true,
                // The first is the attempt's own error row; each other file has a row of its own.
                Err(Unfinished::Retry(error)) if to_retry.is_some() => results.noticed.push(*error),
                Err(Unfinished::Retry(error)) => to_retry = Some(*error),
            }
            if results_len(&results) >= MOST_RESULTS || written_at.elapsed() >= MOST_WAIT {
                self.write(batch, &mut results).await?;
                written_at = Instant::now();
            }
        }
        if drained {
            // The attempt ends as drained, not as failed: the file's error has its row still.
            results.noticed.extend(to_retry.take());
        }
        self.write(batch, &mut results).await?;
        match to_retry {
            _ if drained => Err(AttemptEnd::Drained),
            Some(error) => Err(failed(batch, true, error)),
            None => Ok(()),
        }
    }

    /// The checkpoints that earlier attempts have left. Those of videos that need no hash
    /// any more are removed.
    async fn left(
        &self,
        batch: &Claimed,
        items: &[String],
        files: &[FileToHash],
    ) -> Result<Left, AttemptEnd> {
        let store = self.session.store();
        let failed = |error: StoreError| self.database_failed(batch, &error);
        let left = Left::new(store.file_checkpoints(items).await.map_err(failed)?);
        let useless = left.without(files);
        if !useless.is_empty() {
            store.forget_file_checkpoints(batch.lease, &useless).await.map_err(failed)?;
        }
        Ok(left)
    }

    /// Writes down how far a file has come. Where that fails the file is read on: another
    /// checkpoint follows, and its hash is what matters.
    async fn save(&self, batch: &Claimed, checkpoint: &FileCheckpoint) -> Result<(), AttemptEnd> {
        match self.session.store().save_file_checkpoint(batch.lease, checkpoint).await {
            Ok(()) => Ok(()),
            Err(StoreError::LeaseLost) => Err(AttemptEnd::LeaseLost),
            Err(error) => {
                tracing::warn!(batch = %batch.id, %error, "could not write a file's checkpoint");
                Ok(())
            }
        }
    }

    /// Reads one file on the hashing threads.
    async fn read(
        &self,
        file: FileToHash,
        resume: Option<Checkpoint>,
        checkpoints: Checkpoints,
    ) -> Outcome {
        let slot =
            Arc::clone(&self.slots).acquire_owned().await.expect("the slots are never closed");
        let interrupted = Arc::clone(&self.interrupted);
        let session = Arc::clone(&self.session);
        let progress = move |bytes| {
            let _slot = &slot;
            session.activity().add_bytes(bytes);
            if interrupted.load(Ordering::Relaxed) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let result = self.reader.hash(&file, resume, checkpoints, progress).await;
        Outcome { file, result }
    }

    fn sort(
        &self,
        batch: &Claimed,
        outcome: Outcome,
        last_attempt: bool,
        results: &mut FileResults,
    ) -> Result<(), Unfinished> {
        let Outcome { file, result } = outcome;
        let error = match result {
            Ok(hash) => {
                if hash.resumed_at > 0 {
                    tracing::info!(
                        video = file.id,
                        from = hash.resumed_at,
                        bytes = hash.bytes,
                        "went on from a checkpoint of another attempt"
                    );
                }
                results.noticed.extend(self.size_mismatch(batch, &file, hash.bytes));
                results.hashed.push(HashedFile {
                    id: file.id,
                    file_path: file.file_path,
                    file_size: file.file_size,
                    sha256: hash.to_hex(),
                    bytes: hash.bytes,
                });
                return Ok(());
            }
            Err(MediaError::Interrupted { .. }) => return Err(Unfinished::Interrupted),
            Err(error) => error,
        };
        let meaning = classify::media(&error);
        let code = error.code();
        let record = self.recorder.failure(batch, Some(&file.id), meaning, &error, code);
        if meaning.remedy == Remedy::Quarantine || last_attempt {
            results.failed.push(FailedItem { video_id: file.id, error: record });
            Ok(())
        } else {
            Err(Unfinished::Retry(Box::new(record)))
        }
    }

    /// The size that the row says, where the file has another. A 32-bit column cannot hold
    /// the size of a file of 2 GiB or more; that is said as well.
    fn size_mismatch(&self, batch: &Claimed, file: &FileToHash, bytes: u64) -> Option<ErrorRecord> {
        let said = file.file_size?;
        if u64::try_from(said) == Ok(bytes) {
            return None;
        }
        let message =
            format!("{}: the row says {said} bytes, the file has {bytes}", file.file_path);
        Some(self.recorder.message(batch, Some(&file.id), classify::SIZE_MISMATCH, message))
    }

    async fn write(&self, batch: &Claimed, results: &mut FileResults) -> Result<(), AttemptEnd> {
        if results_len(results) == 0 {
            return Ok(());
        }
        let results = std::mem::take(results);
        match self.session.store().record_files(batch.lease, &results).await {
            Ok(written) => {
                self.session.activity().add_rows(written);
                Ok(())
            }
            Err(error) => Err(self.database_failed(batch, &error)),
        }
    }

    fn database_failed(&self, batch: &Claimed, error: &StoreError) -> AttemptEnd {
        if matches!(error, StoreError::LeaseLost) {
            return AttemptEnd::LeaseLost;
        }
        let meaning = classify::store(error);
        let code = error.code().map(str::to_owned);
        let record = self.recorder.failure(batch, None, meaning, error, code);
        failed(batch, meaning.remedy == Remedy::Retry || batch.attempts == 0, record)
    }
}

/// Why a file of this pass is not done.
enum Unfinished {
    Interrupted,
    Retry(Box<ErrorRecord>),
}

fn results_len(results: &FileResults) -> usize {
    results.hashed.len() + results.failed.len() + results.noticed.len()
}

fn failed(batch: &Claimed, retry: bool, error: ErrorRecord) -> AttemptEnd {
    let delay = Backoff::default().delay(batch.attempts + 1, &mut rand::rng());
    AttemptEnd::Failed { retry, delay, error: Box::new(error) }
}
