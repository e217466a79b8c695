//! Hash: the files of a batch, several at once, results written as they come.
//!
//! The batch has no checkpoint but the rows themselves: an attempt takes up whichever of
//! its videos have no hash yet. A large file has one of its own, from which any worker
//! goes on.

pub(crate) mod intake;
mod reader;
mod root_trust;

use std::ops::ControlFlow;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use reelshift_media::{Checkpoint, FileHash, MediaError};
use reelshift_plan::JobKind;
use reelshift_queue::{AttemptEnd, Pass};
use reelshift_store::file_checkpoints::FileCheckpoint;
use reelshift_store::ledger::{Bounds, Claimed};
use reelshift_store::videos::{FailedItem, FileResults, FileToHash, HashedFile, PathNotUtf8};
use reelshift_store::{ErrorRecord, StoreError};
use reelshift_telemetry::failure::{Failure, failed};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use tracing::field::Empty;

use self::intake::InHand;
pub use self::reader::HashOptions;
pub(crate) use self::reader::Reader;
use self::reader::{Checkpoints, Left};
use self::root_trust::{RootTrust, Tally};
use crate::bisect::{self, Halves, failed_item};
use crate::classify::{self, Meaning, Remedy};
use crate::controls::{Controls, Gates, Interrupt};
use crate::ending::{Endings, blames_an_item};

/// Results are written when this many are in, or after [`MOST_WAIT`]: as many as a batch of
/// small files has, since a write costs as much as hashing some of these.
const MOST_RESULTS: usize = 64;
/// What a crash costs at most beside the files being read.
const MOST_WAIT: Duration = Duration::from_millis(500);
/// A drain or a pause leaves running files this long to finish; the rest of a drain is for
/// writing.
const FILE_DRAIN: Duration = Duration::from_secs(20);
/// Passes over a batch whose rows change their `file_path` while the files are read.
const MOST_PASSES: u32 = 3;
/// Batches that talk to the database at once: one is answered while another asks. The
/// application's statements need the server more than ours do.
const TURNS: usize = 2;

pub(crate) struct Hash {
    endings: Endings,
    reader: Reader,
    controls: Controls,
    gates: Arc<Gates>,
    /// For the database: however many batches are in hand, few of them talk to it at once.
    turns: Semaphore,
    trust: RootTrust,
    stop: CancellationToken,
}

/// What came of the files of one pass, until it is written.
#[derive(Default)]
struct Outcomes {
    results: FileResults,
    /// Missing or unreadable files: set aside once it is known that it is not the root.
    refused: Vec<FailedItem>,
    tally: Tally,
}

/// A file that was read, or was not.
struct Outcome {
    file: FileToHash,
    result: Result<FileHash, MediaError>,
}

impl Hash {
    pub(crate) fn new(
        endings: Endings,
        reader: Reader,
        controls: Controls,
        gates: Arc<Gates>,
        stop: CancellationToken,
    ) -> Self {
        let (turns, trust) = (Semaphore::new(TURNS), RootTrust::default());
        Self { endings, reader, controls, gates, turns, trust, stop }
    }

    /// Executes one attempt.
    pub(crate) async fn attempt(&self, batch: &Claimed, pass: &Pass) -> Result<(), AttemptEnd> {
        let session = &self.endings.session;
        let _doing = session.activity().begin(batch.lease.seq, format!("hash {}", batch.id));
        let Bounds::Items(items) = &batch.bounds else {
            let message = "a hash batch must list its videos".to_owned();
            return Err(self.ends(batch, classify::BOUNDS_UNFIT, message));
        };
        let mut in_hand = self.gates.hash.begin();
        for _ in 0..MOST_PASSES {
            let (found, left) = {
                let _turn = self.turns.acquire().await;
                let found = session
                    .store()
                    .files_to_hash(items)
                    .await
                    .map_err(|error| self.endings.database(batch, &error))?;
                let left = self.left(batch, items, &found.files).await?;
                (found, left)
            };
            self.not_utf8(batch, found.not_utf8).await?;
            let files = found.files;
            if files.is_empty() {
                return Ok(());
            }
            in_hand.files(files.len());
            self.pass(batch, pass, &mut in_hand, files, left).await?;
        }
        let message = "the file_path of a video changed each time its file was read".to_owned();
        Err(self.ends(batch, classify::PATH_UNSETTLED, message))
    }

    /// Sets aside what has no path that could be opened.
    async fn not_utf8(&self, batch: &Claimed, paths: Vec<PathNotUtf8>) -> Result<(), AttemptEnd> {
        let mut results = FileResults::default();
        for PathNotUtf8 { id, shown } in paths {
            let message = format!("the file_path {shown:?} of this video is not UTF-8");
            let recorder = &self.endings.recorder;
            let error = recorder.message(batch, Some(&id), classify::PATH_NOT_UTF8, message);
            let item = FailedItem { video_id: id, error };
            bisect::found(&item);
            results.failed.push(item);
        }
        self.write(batch, &mut results).await
    }

    fn ends(&self, batch: &Claimed, meaning: Meaning, message: String) -> AttemptEnd {
        let record = self.endings.recorder.message(batch, None, meaning, message);
        self.endings.failed(batch, meaning.remedy, record)
    }

    /// Reads `files` and writes what came of each. Files whose failure may pass make the
    /// attempt fail, after all others are done; at the last attempt they are set aside,
    /// unless it was the storage that failed: then the batch is what fails.
    async fn pass(
        &self,
        batch: &Claimed,
        pass: &Pass,
        in_hand: &mut InHand<'_>,
        files: Vec<FileToHash>,
        mut left: Left,
    ) -> Result<(), AttemptEnd> {
        let interrupt = Arc::new(Interrupt::new(
            self.controls.clone(),
            self.stop.clone(),
            batch.run_id,
            FILE_DRAIN,
        ));
        let (checkpoints, mut to_save) = mpsc::unbounded_channel();
        let last_attempt = batch.attempts + 1 >= batch.max_attempts;
        // The largest first: otherwise the last one is read with nothing beside it.
        let mut files = files;
        files.sort_by_key(|file| std::cmp::Reverse(file.file_size));
        let count = files.len() as u64;
        let mut waiting = files.into_iter();
        let mut reading = FuturesUnordered::new();
        let mut outcomes = Outcomes::default();
        let mut write_at = write_deadline();
        let mut to_retry: Option<ErrorRecord> = None;
        let mut drained = false;
        let mut root_unusable = false;
        loop {
            while reading.len() < self.gates.files.limit()
                && !interrupt.begun()
                && !root_unusable
                && !pass.must_leave()
            {
                let Some(file) = waiting.next() else { break };
                let resume = left.take(&file);
                let interrupt = Arc::clone(&interrupt);
                reading.push(self.read(file, resume, checkpoints.clone(), interrupt));
            }
            // Checkpoints first: none is written after its file's outcome.
            let next = tokio::select! {
                biased;
                Some(checkpoint) = to_save.recv() => {
                    self.save(batch, &checkpoint).await?;
                    continue;
                }
                next = reading.next() => next,
                // What hangs does not hear of a drain.
                () = interrupt.over() => {
                    drained = true;
                    break;
                }
                () = tokio::time::sleep_until(write_at), if results_len(&outcomes.results) > 0 => {
                    self.write(batch, &mut outcomes.results).await?;
                    write_at = write_deadline();
                    continue;
                }
            };
            let outcome = match next {
                Some(Some(outcome)) => outcome,
                Some(None) => {
                    drained = true;
                    continue;
                }
                None => {
                    drained |= waiting.next().is_some();
                    break;
                }
            };
            in_hand.done();
            match self.sort(batch, outcome, last_attempt, &mut outcomes) {
                Ok(()) => {}
                Err(Unfinished::Interrupted) => drained = true,
                Err(Unfinished::RootUnusable(record, error)) => {
                    if !root_unusable {
                        self.endings.media_root(*record, error.to_string());
                    }
                    (root_unusable, drained) = (true, true);
                }
                // The first is the attempt's own error row; each other file has a row of its own.
                Err(Unfinished::Retry(error)) if to_retry.is_some() => {
                    outcomes.results.noticed.push(*error);
                }
                Err(Unfinished::Retry(error)) => to_retry = Some(*error),
            }
            if outcomes.tally.clears(count) {
                outcomes.accept_refusals();
            }
            let results = &mut outcomes.results;
            if results_len(results) >= MOST_RESULTS || write_at <= Instant::now() {
                self.write(batch, results).await?;
                write_at = write_deadline();
            }
        }
        if !drained && self.root_is_suspect(batch, &outcomes).await? {
            drained = true;
        } else if !drained {
            outcomes.accept_refusals();
        }
        if drained {
            // The attempt ends as drained, not as failed: the file's error has its row still.
            outcomes.results.noticed.extend(to_retry.take());
        }
        self.write(batch, &mut outcomes.results).await?;
        match to_retry {
            _ if drained => Err(AttemptEnd::Drained),
            Some(error) => Err(self.endings.failed(batch, Remedy::Retry, error)),
            None => Ok(()),
        }
    }

    /// Whether most of the batch's files are missing here and no other worker has said so:
    /// then this worker ends, and the batch goes back.
    async fn root_is_suspect(
        &self,
        batch: &Claimed,
        outcomes: &Outcomes,
    ) -> Result<bool, AttemptEnd> {
        let Outcomes { refused, tally, .. } = outcomes;
        let Some(first) = refused.first().filter(|_| self.trust.doubts(*tally)) else {
            return Ok(false);
        };
        let (store, worker) = (self.endings.session.store(), self.endings.session.worker());
        let failed = |error: StoreError| self.endings.database(batch, &error);
        let suspicion = store.root_suspicion(batch.lease).await.map_err(failed)?;
        if self.trust.agrees(worker, suspicion) {
            tracing::warn!(batch = %batch.id, missing = tally.refused, "another worker misses them too");
            return Ok(false);
        }
        store.suspect_root(batch.lease, worker).await.map_err(failed)?;
        let message = format!(
            "{} of {} files of batch {} are missing or unreadable below the media root {:?}, as \
             where its volume is not mounted: mend the root and start this worker again; where \
             another worker finds the same, the files are set aside (first: {})",
            tally.refused,
            tally.refused + tally.read,
            batch.id,
            self.reader.root(),
            first.error.error_message
        );
        let meaning = classify::ROOT_SUSPECT;
        let record = self.endings.recorder.message(batch, None, meaning, message.clone());
        self.endings.media_root(record, message);
        Ok(true)
    }

    /// The checkpoints that earlier attempts have left. Those of videos that need no hash
    /// any more are removed.
    async fn left(
        &self,
        batch: &Claimed,
        items: &[String],
        files: &[FileToHash],
    ) -> Result<Left, AttemptEnd> {
        let store = self.endings.session.store();
        let failed = |error: StoreError| self.endings.database(batch, &error);
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
        let _turn = self.turns.acquire().await;
        let store = self.endings.session.store();
        match store.save_file_checkpoint(batch.lease, checkpoint).await {
            Ok(()) => Ok(()),
            Err(StoreError::LeaseLost) => Err(AttemptEnd::LeaseLost),
            Err(error) => {
                tracing::warn!(batch = %batch.id, %error, "could not write a file's checkpoint");
                Ok(())
            }
        }
    }

    /// Reads one file on the hashing threads; `None` when none is to be read now.
    async fn read(
        &self,
        file: FileToHash,
        resume: Option<Checkpoint>,
        checkpoints: Checkpoints,
        interrupt: Arc<Interrupt>,
    ) -> Option<Outcome> {
        let slot = self.gates.files.enter().await?;
        let session = Arc::clone(&self.endings.session);
        let rate = Arc::clone(&self.gates.bytes);
        let span = tracing::debug_span!(
            "hash file",
            reelshift.video.id = file.id,
            file.size = file.file_size,
            reelshift.bytes = Empty,
        );
        let progress = move |bytes| {
            let _slot = &slot;
            session.activity().add_bytes(JobKind::Hash, bytes);
            if interrupt.due() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let read = self.reader.hash(&file, resume, checkpoints, rate, progress);
        let result = read.instrument(span.clone()).await;
        match &result {
            Ok(hash) => {
                span.record("reelshift.bytes", hash.bytes);
            }
            Err(MediaError::Interrupted { .. }) => {}
            Err(error) => failed(
                &span,
                Failure {
                    error_type: classify::media(error).error_type,
                    message: &error.to_string(),
                    stack_trace: None,
                },
            ),
        }
        Some(Outcome { file, result })
    }

    fn sort(
        &self,
        batch: &Claimed,
        outcome: Outcome,
        last_attempt: bool,
        outcomes: &mut Outcomes,
    ) -> Result<(), Unfinished> {
        let Outcome { file, result } = outcome;
        let results = &mut outcomes.results;
        let error = match result {
            Ok(hash) => {
                outcomes.tally.read += 1;
                if hash.resumed_at > 0 {
                    tracing::info!(
                        video = file.id,
                        from = hash.resumed_at,
                        bytes = hash.bytes,
                        "went on from a checkpoint of another attempt"
                    );
                }
                results.noticed.extend(self.size_mismatch(batch, &file, hash.bytes));
                results.noticed.extend((hash.bytes == 0).then(|| self.empty(batch, &file)));
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
        let record = self.endings.recorder.failure(batch, Some(&file.id), meaning, &error, code);
        let set_aside = match meaning.remedy {
            Remedy::EndWorker => {
                return Err(Unfinished::RootUnusable(Box::new(record), Box::new(error)));
            }
            Remedy::Quarantine => true,
            Remedy::RetryOnce => batch.attempts > 0 || last_attempt,
            // A storage that is away says nothing about the file.
            _ => last_attempt && meaning != classify::STORAGE_AWAY,
        };
        if set_aside {
            let item = FailedItem { video_id: file.id, error: record };
            if classify::tells_of_the_root(meaning) {
                outcomes.tally.refused += 1;
                outcomes.refused.push(item);
            } else {
                bisect::found(&item);
                results.failed.push(item);
            }
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
        let path = &file.file_path;
        let message = format!("the file {path:?} has {bytes} bytes, its row says {said}");
        Some(self.endings.recorder.message(batch, Some(&file.id), classify::SIZE_MISMATCH, message))
    }

    fn empty(&self, batch: &Claimed, file: &FileToHash) -> ErrorRecord {
        let message = format!("the file {:?} has no bytes", file.file_path);
        self.endings.recorder.message(batch, Some(&file.id), classify::FILE_EMPTY, message)
    }

    async fn write(&self, batch: &Claimed, results: &mut FileResults) -> Result<(), AttemptEnd> {
        if results_len(results) == 0 {
            return Ok(());
        }
        let results = std::mem::take(results);
        let _turn = self.turns.acquire().await;
        match self.record(batch, &results).await {
            Err(error) if blames_an_item(batch, &error) => self.write_apart(batch, results).await,
            written => written.map_err(|error| self.endings.database(batch, &error)),
        }
    }

    async fn record(&self, batch: &Claimed, results: &FileResults) -> Result<(), StoreError> {
        let written = self.endings.session.store().record_files(batch.lease, results).await?;
        self.endings.session.activity().add_rows(JobKind::Hash, written);
        results.failed.iter().for_each(|item| bisect::set_aside(batch, item));
        Ok(())
    }

    /// The same where the row of some video refuses its hash: that video is set aside.
    async fn write_apart(&self, batch: &Claimed, results: FileResults) -> Result<(), AttemptEnd> {
        let FileResults { hashed, failed, noticed } = results;
        let ended = |error| self.endings.database(batch, &error);
        let mut halves = Halves::of(&hashed);
        while let Some(files) = halves.next() {
            let some = FileResults { hashed: files.to_vec(), ..FileResults::default() };
            let error = match self.record(batch, &some).await {
                Ok(()) => continue,
                Err(error) if blames_an_item(batch, &error) => error,
                Err(error) => return Err(ended(error)),
            };
            if let Some(file) = halves.split(files) {
                let item = failed_item(&self.endings, batch, &file.id, &error);
                bisect::found(&item);
                let store = self.endings.session.store();
                store.set_aside(batch.lease, slice::from_ref(&item)).await.map_err(ended)?;
                bisect::set_aside(batch, &item);
            }
        }
        let rest = FileResults { hashed: Vec::new(), failed, noticed };
        self.record(batch, &rest).await.map_err(ended)
    }
}

impl Outcomes {
    /// Files that are missing are missing.
    fn accept_refusals(&mut self) {
        self.refused.iter().for_each(bisect::found);
        self.results.failed.append(&mut self.refused);
    }
}

/// Why a file of this pass is not done.
enum Unfinished {
    Interrupted,
    Retry(Box<ErrorRecord>),
    /// No file can be read until a person has acted.
    RootUnusable(Box<ErrorRecord>, Box<MediaError>),
}

/// When what there is is written, whatever else the batch waits for.
fn write_deadline() -> Instant {
    Instant::now() + MOST_WAIT
}

fn results_len(results: &FileResults) -> usize {
    results.hashed.len() + results.failed.len() + results.noticed.len()
}
