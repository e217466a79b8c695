//! An object that is fetched in ranges by a task of its own, ahead of the hashing.
//!
//! Every range after the first is asked for with `If-Match`, so that what is hashed is one
//! version of the object; so is the first one after a checkpoint. Nothing but checksums is
//! asked by HEAD: an answer to it has no body, so that a refusal would not say whom it
//! refuses.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::thread::Thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{GetOptions, GetResult, ObjectMeta, ObjectStore};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, SemaphorePermit, mpsc};
use tokio_util::task::AbortOnDropHandle;

use crate::bucket::Bucket;
use crate::checkpoint::{Checkpoint, FileVersion};
use crate::checksum::Checksum;
use crate::error::MediaError;
use crate::remote;
use crate::source::{Begun, Read, Source};

#[cfg(test)]
mod tests;

/// Bytes of one request: large enough that asking costs little beside the transfer (a tenth
/// at 80 MB/s and 20 ms), small enough that a broken one costs little. They are never in
/// memory as a whole.
const RANGE: u64 = 16 << 20;
/// Requests of an object that are under way at once: the next one's answer begins while
/// this one's is read.
const RANGES_AT_ONCE: usize = 2;
/// An object about which the store is silent for so long gives its turn to another.
const TURN_PATIENCE: Duration = Duration::from_secs(3);
/// Pieces of an object that wait to be hashed. A piece is what came out of the network at
/// once, 8 KiB to 400 KiB; the bucket sees to it that those of all objects are not too many.
const PIECES: usize = 16;

enum Piece {
    Begun(Begun),
    Bytes(InMemory),
    End,
}

/// Bytes that count for what the bucket has in memory until they are taken.
#[derive(Default)]
struct InMemory {
    bytes: Bytes,
    _permit: Option<OwnedSemaphorePermit>,
}

/// An object that is being fetched.
pub(crate) struct Object {
    pieces: mpsc::Receiver<Result<Piece, MediaError>>,
    /// The piece of which some bytes were not taken yet.
    rest: InMemory,
    file_path: String,
    _fetch: AbortOnDropHandle<()>,
}

impl Object {
    /// Begins to fetch; unparks this thread whenever there is more.
    pub(crate) fn begin(
        bucket: Arc<Bucket>,
        runtime: &Handle,
        key: Path,
        file_path: String,
        resume: Option<&Checkpoint>,
    ) -> Self {
        let (sender, pieces) = mpsc::channel(PIECES);
        let fetch = Fetch {
            bucket,
            key,
            file_path: file_path.clone(),
            resume: resume.cloned(),
            pieces: sender,
            reader: std::thread::current(),
        };
        let fetch = AbortOnDropHandle::new(runtime.spawn(fetch.run()));
        Self { pieces, rest: InMemory::default(), file_path, _fetch: fetch }
    }

    fn next(&mut self) -> Result<Option<Piece>, MediaError> {
        match self.pieces.try_recv() {
            Ok(piece) => piece.map(Some),
            Err(mpsc::error::TryRecvError::Empty) => Ok(None),
            // The runtime is shutting down.
            Err(mpsc::error::TryRecvError::Disconnected) => {
                Err(MediaError::Interrupted { path: self.file_path.clone() })
            }
        }
    }
}

impl Source for Object {
    fn begin(&mut self, _: Option<&Checkpoint>) -> Result<Option<Begun>, MediaError> {
        Ok(match self.next()? {
            Some(Piece::Begun(begun)) => Some(begun),
            _ => None,
        })
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<Read, MediaError> {
        if self.rest.bytes.is_empty() {
            match self.next()? {
                Some(Piece::Bytes(bytes)) => self.rest = bytes,
                Some(Piece::End) => return Ok(Read::End),
                Some(Piece::Begun(_)) | None => return Ok(Read::Waiting),
            }
        }
        let count = self.rest.bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.rest.bytes.split_to(count));
        if self.rest.bytes.is_empty() {
            self.rest = InMemory::default();
        }
        Ok(Read::Bytes(count))
    }

    /// `If-Match` has seen to it that all of it was one version.
    fn settle(&mut self) -> Result<(), MediaError> {
        Ok(())
    }
}

/// The task that fetches.
struct Fetch {
    bucket: Arc<Bucket>,
    key: Path,
    file_path: String,
    resume: Option<Checkpoint>,
    pieces: mpsc::Sender<Result<Piece, MediaError>>,
    reader: Thread,
}

/// Why a fetch ended early.
enum Ended {
    Failed(MediaError),
    /// The object is not wanted any more.
    Unwanted,
}

impl From<MediaError> for Ended {
    fn from(error: MediaError) -> Self {
        Self::Failed(error)
    }
}

impl Fetch {
    async fn run(self) {
        if let Err(Ended::Failed(error)) = self.all().await {
            self.send(Err(error)).await.ok();
        }
    }

    async fn send(&self, piece: Result<Piece, MediaError>) -> Result<(), Ended> {
        let sent = self.pieces.send(piece).await.map_err(|_| Ended::Unwanted);
        self.reader.unpark();
        sent
    }

    async fn all(&self) -> Result<(), Ended> {
        let mut turn = self.bucket.turns.acquire().await.ok();
        let stored = match &self.bucket.checksums {
            Some(checksums) => self.answer(&mut turn, checksums.of(&self.key)).await?,
            None => None,
        };
        if let Some((version, checksum @ Checksum::Trusted(_))) = stored {
            let begun = Begun { version, offset: 0, checksum: Some(checksum) };
            return self.send(Ok(Piece::Begun(begun))).await;
        }
        let (version, etag, offset, first) = self.answer(&mut turn, self.first()).await??;
        let size = version.size;
        // The checksum of another version is not that of this one.
        let checksum = stored.filter(|(of, _)| *of == version).map(|(_, checksum)| checksum);
        self.send(Ok(Piece::Begun(Begun { version, offset, checksum }))).await?;
        let mut fetched = offset;
        let ranges: VecDeque<Range<u64>> = {
            let start = first.as_ref().map_or(offset, |first| first.range.end);
            let starts = (start..size).step_by(RANGE as usize);
            starts.map(|start| start..size.min(start + RANGE)).collect()
        };
        let more = futures::stream::iter(ranges)
            .map(|range| self.get(range, etag.clone()))
            .buffered(RANGES_AT_ONCE);
        let mut answers = std::pin::pin!(futures::stream::iter(first.map(Ok)).chain(more));
        while let Some(answer) = self.answer(&mut turn, answers.next()).await? {
            let mut body = answer?.into_stream();
            while let Some(bytes) = self.answer(&mut turn, body.next()).await? {
                let bytes = bytes.map_err(|error| self.error(&error))?;
                fetched += bytes.len() as u64;
                if !bytes.is_empty() {
                    let permit = self.bucket.room(bytes.len()).await;
                    self.send(Ok(Piece::Bytes(InMemory { bytes, _permit: permit }))).await?;
                }
            }
        }
        if fetched != size {
            let how = format!("it ended after {fetched} of {size} bytes");
            return Err(MediaError::Changed { path: self.file_path.clone(), how }.into());
        }
        self.send(Ok(Piece::End)).await
    }

    /// What the store answers. While it is silent for long, another object has this one's turn.
    async fn answer<'a, T>(
        &'a self,
        turn: &mut Option<SemaphorePermit<'a>>,
        asked: impl Future<Output = T>,
    ) -> Result<T, MediaError> {
        let began = Instant::now();
        let waited = self.bucket.stall_timeout;
        let patience = TURN_PATIENCE.min(waited);
        let mut asked = std::pin::pin!(asked);
        if let Ok(answer) = tokio::time::timeout(patience, &mut asked).await {
            return Ok(answer);
        }
        let silence = self.bucket.silences.add(&self.file_path, began);
        turn.take();
        let answer = tokio::time::timeout(waited.saturating_sub(patience), asked).await;
        drop(silence);
        let answer =
            answer.map_err(|_| MediaError::Stalled { path: self.file_path.clone(), waited })?;
        *turn = self.bucket.turns.acquire().await.ok();
        Ok(answer)
    }

    /// What the object is, where to begin, and the first answer where it begins there.
    async fn first(
        &self,
    ) -> Result<(FileVersion, Option<String>, u64, Option<GetResult>), MediaError> {
        if let Some(resume) = &self.resume
            && let Some(answer) = self.rest_of(resume).await?
        {
            return Ok(answer);
        }
        let first = match self.ask(ranged(0..RANGE, None)).await {
            Err(error) if of_nothing(&error) => self.ask(GetOptions::default()).await,
            answer => answer,
        };
        let first = first.map_err(|error| self.error(&error))?;
        let version = version(&first.meta);
        let etag = first.meta.e_tag.clone();
        // A checkpoint at the object's end leaves no range to be asked for.
        match Checkpoint::offset_in(self.resume.as_ref(), &version) {
            0 => Ok((version, etag, 0, Some(first))),
            offset => Ok((version, etag, offset, None)),
        }
    }

    /// What follows a checkpoint; none where the object is another by now, or has no more.
    async fn rest_of(
        &self,
        resume: &Checkpoint,
    ) -> Result<Option<(FileVersion, Option<String>, u64, Option<GetResult>)>, MediaError> {
        let mark = &resume.version.mark;
        let etag = mark.ends_with('"').then(|| mark.clone());
        let range = resume.offset..resume.version.size.min(resume.offset + RANGE);
        if range.is_empty() {
            return Ok(None);
        }
        let answer = match self.ask(ranged(range, etag)).await {
            Ok(answer) => answer,
            Err(object_store::Error::Precondition { .. }) => return Ok(None),
            Err(error) if of_nothing(&error) => return Ok(None),
            Err(error) => return Err(self.error(&error)),
        };
        let version = version(&answer.meta);
        Ok((version == resume.version && answer.range.start == resume.offset)
            .then(|| (version, answer.meta.e_tag.clone(), resume.offset, Some(answer))))
    }

    async fn ask(&self, options: GetOptions) -> object_store::Result<GetResult> {
        self.bucket.store.get_opts(&self.key, options).await
    }

    async fn get(&self, range: Range<u64>, etag: Option<String>) -> Result<GetResult, MediaError> {
        self.ask(ranged(range, etag)).await.map_err(|error| self.error(&error))
    }

    fn error(&self, error: &object_store::Error) -> MediaError {
        remote::media_error(&self.bucket.url, &self.file_path, error)
    }
}

/// Whether a range was asked for of an empty object, or behind its end: most stores answer
/// 416, some with no bytes, which the client refuses. Neither has a variant of its own.
fn of_nothing(error: &object_store::Error) -> bool {
    let message = error.to_string();
    message.contains("status code: 416") || message.contains("object was only 0 bytes long")
}

fn ranged(range: Range<u64>, if_match: Option<String>) -> GetOptions {
    GetOptions { range: Some(range.into()), if_match, ..GetOptions::default() }
}

/// A store without `ETag`s has the time of the last change.
pub(crate) fn version(meta: &ObjectMeta) -> FileVersion {
    let mark = meta.e_tag.clone().unwrap_or_else(|| meta.last_modified.to_rfc3339());
    FileVersion { size: meta.size, mark }
}
