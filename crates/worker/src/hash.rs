//! Hash: the files of a batch, several at once, results written as they come.
//!
//! The batch has no checkpoint but the rows themselves: an attempt takes up whichever of
//! its videos have no hash yet. A large file has one of its own, from which any worker
//! goes on.

pub(crate) mod intake;
mod isolate;
mod reader;
mod results;
mod root_trust;
mod sort;

use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use reelshift_media::{Checkpoint, MediaError};
use reelshift_plan::JobKind;
use reelshift_queue::{AttemptEnd, FatalError, Job, Pass};
use reelshift_store::file_checkpoints::FileCheckpoint;
use reelshift_store::ledger::{Bounds, Claimed};
use reelshift_store::videos::FileToHash;
use reelshift_store::{ErrorRecord, StoreError};
use reelshift_telemetry::failure::{Failure, failed};
use tokio::sync::{RwLock, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use tracing::field::Empty;

use self::intake::InHand;
pub use self::reader::HashOptions;
pub(crate) use self::reader::Reader;
use self::reader::{Checkpoints, ResumePoints};
use self::results::Outcomes;
use self::root_trust::RootTrust;
use self::sort::{Outcome, Unfinished};
use crate::classify::{self, Meaning, Remedy};
use crate::controls::{Controls, Gates, Interrupt};
use crate::ending::Endings;

/// A drain or a pause leaves running files this long to finish, which most need no longer
/// for. The others are given back with a checkpoint.
const FILE_GRACE: Duration = Duration::from_millis(500);
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
    /// Held for reading by batches that are read beside others, for writing by one that is
    /// read alone.
    reading: RwLock<()>,
    stop: CancellationToken,
}

/// One attempt at a batch.
struct Attempt<'a> {
    batch: &'a Claimed,
    pass: &'a Pass,
    interrupt: Arc<Interrupt>,
}

impl Attempt<'_> {
    /// Waits for a turn to read, unless the batch is wanted back meanwhile.
    async fn turn<T>(&self, turn: impl Future<Output = T>) -> Result<T, AttemptEnd> {
        tokio::select! {
            turn = turn => Ok(turn),
            () = self.interrupt.begins() => Err(AttemptEnd::Drained),
        }
    }
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
        Self { endings, reader, controls, gates, turns, trust, reading: RwLock::default(), stop }
    }
}

impl Job for Hash {
    const KIND: JobKind = JobKind::Hash;
    /// A batch of missing files takes a moment, the next one of films an hour.
    const CLAIMS_AHEAD: bool = false;

    async fn run(&self, batch: &Claimed, pass: &Pass) -> Result<(), AttemptEnd> {
        let session = &self.endings.session;
        let _doing = session.activity().begin(batch.lease.seq, format!("hash {}", batch.id));
        let Bounds::Items(items) = &batch.bounds else {
            let message = "a hash batch must list its videos".to_owned();
            return Err(self.ends(batch, classify::BOUNDS_UNFIT, message));
        };
        let interrupt = Arc::new(Interrupt::new(
            self.controls.clone(),
            self.stop.clone(),
            batch.run_id,
            FILE_GRACE,
        ));
        let attempt = Attempt { batch, pass, interrupt };
        let mut in_hand = self.gates.hash.begin();
        let mut alone_files = batch.alone_files;
        for _ in 0..MOST_PASSES {
            let (found, mut left) = {
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
            if batch.lost_leases >= isolate::LEAST_LOST_LEASES {
                let work = isolate::Work { files, left, alone_files: alone_files.take() };
                self.isolated(&attempt, &mut in_hand, work).await?;
            } else {
                let _beside_others = attempt.turn(self.reading.read()).await?;
                self.pass(&attempt, &mut in_hand, files, &mut left).await?;
            }
        }
        let message = "the file_path of a video changed each time its file was read".to_owned();
        Err(self.ends(batch, classify::PATH_UNSETTLED, message))
    }
}

impl Hash {
    fn ends(&self, batch: &Claimed, meaning: Meaning, message: String) -> AttemptEnd {
        let record = self.endings.recorder.message(batch, None, meaning, message);
        self.endings.failed(batch, meaning.remedy, record)
    }

    /// Reads `files` and writes what came of each. Files whose failure may pass make the
    /// attempt fail, after all others are done; at the last attempt they are set aside,
    /// unless it was the storage that failed: then the batch is what fails.
    async fn pass(
        &self,
        attempt: &Attempt<'_>,
        in_hand: &mut InHand<'_>,
        files: Vec<FileToHash>,
        left: &mut ResumePoints,
    ) -> Result<(), AttemptEnd> {
        let Attempt { batch, pass, interrupt } = attempt;
        // One for the whole pass: its patience does not begin again with each file.
        let mut over = pin!(interrupt.over());
        let (checkpoints, mut to_save) = mpsc::unbounded_channel();
        let last_attempt = batch.attempts + 1 >= batch.max_attempts;
        // The largest first: otherwise the last one is read with nothing beside it.
        let mut files = files;
        files.sort_by_key(|file| std::cmp::Reverse(file.file_size));
        let count = files.len() as u64;
        let mut waiting = files.into_iter();
        let mut reading = FuturesUnordered::new();
        let mut outcomes = Outcomes::default();
        let mut to_retry: Option<ErrorRecord> = None;
        let mut drained = false;
        let mut cannot_read = false;
        loop {
            while reading.len() < self.gates.files.limit()
                && !interrupt.begun()
                && !cannot_read
                && !pass.must_leave()
            {
                let Some(file) = waiting.next() else { break };
                let resume = left.take(&file);
                let interrupt = Arc::clone(interrupt);
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
                () = &mut over => {
                    drained = true;
                    break;
                }
                () = until(outcomes.due()) => {
                    self.write(batch, &mut outcomes).await?;
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
                Err(Unfinished::CannotRead(record, error)) => {
                    if !cannot_read {
                        let error = FatalError::Unusable(error.to_string());
                        self.endings.cannot_read(*record, error);
                    }
                    (cannot_read, drained) = (true, true);
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
            if outcomes.is_due() {
                self.write(batch, &mut outcomes).await?;
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
        self.write(batch, &mut outcomes).await?;
        match to_retry {
            _ if drained => Err(AttemptEnd::Drained),
            Some(error) => Err(self.endings.failed(batch, Remedy::Retry, error)),
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
    ) -> Result<ResumePoints, AttemptEnd> {
        let store = self.endings.session.store();
        let failed = |error: StoreError| self.endings.database(batch, &error);
        let left = ResumePoints::new(store.file_checkpoints(items).await.map_err(failed)?);
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
        let slot = tokio::select! {
            slot = self.gates.files.enter() => slot?,
            () = interrupt.begins() => return None,
        };
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
                self.count_checksum(hash);
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
}

/// Waits until then; for ever where there is no such time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
