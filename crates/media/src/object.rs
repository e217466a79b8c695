//! An object that is fetched in ranges by a task of its own, ahead of the hashing.
//!
//! Every range after the first is asked for with `If-Match`, so that what is hashed is one
//! version of the object.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::thread::Thread;

use bytes::Bytes;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{GetOptions, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::bucket::Bucket;
use crate::checkpoint::{Checkpoint, FileVersion};
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
/// Pieces that wait to be hashed. A piece is what came out of the network at once, 8 to
/// 64 KiB, so that an object keeps less than 1 MiB.
const PIECES: usize = 16;

enum Piece {
    Begun(Begun),
    Bytes(Bytes),
    End,
}

/// An object that is being fetched.
pub(crate) struct Object {
    pieces: mpsc::Receiver<Result<Piece, MediaError>>,
    /// The piece of which some bytes were not taken yet.
    rest: Bytes,
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
        Self { pieces, rest: Bytes::new(), file_path, _fetch: fetch }
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
        if self.rest.is_empty() {
            match self.next()? {
                Some(Piece::Bytes(bytes)) => self.rest = bytes,
                Some(Piece::End) => return Ok(Read::End),
                Some(Piece::Begun(_)) | None => return Ok(Read::Waiting),
            }
        }
        let count = self.rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.rest.split_to(count));
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
        let (version, etag, offset, first) = self.first().await?;
        let size = version.size;
        self.send(Ok(Piece::Begun(Begun { version, offset }))).await?;
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
        while let Some(answer) = answers.next().await {
            let mut body = answer?.into_stream();
            while let Some(bytes) = body.next().await {
                let bytes = bytes.map_err(|error| self.error(&error))?;
                fetched += bytes.len() as u64;
                if !bytes.is_empty() {
                    self.send(Ok(Piece::Bytes(bytes))).await?;
                }
            }
        }
        if fetched != size {
            let how = format!("it ended after {fetched} of {size} bytes");
            return Err(MediaError::Changed { path: self.file_path.clone(), how }.into());
        }
        self.send(Ok(Piece::End)).await
    }

    /// What the object is, where to begin, and the first answer where that told it.
    async fn first(
        &self,
    ) -> Result<(FileVersion, Option<String>, u64, Option<GetResult>), MediaError> {
        if self.resume.is_none() {
            match self.bucket.store.get_opts(&self.key, ranged(0..RANGE, None)).await {
                Ok(first) => {
                    let version = version(&first.meta);
                    return Ok((version, first.meta.e_tag.clone(), 0, Some(first)));
                }
                Err(error) if of_nothing(&error) => {}
                Err(error) => return Err(self.error(&error)),
            }
        }
        let meta = self.bucket.store.head(&self.key).await.map_err(|error| self.error(&error))?;
        let version = version(&meta);
        let offset = Checkpoint::offset_in(self.resume.as_ref(), &version);
        Ok((version, meta.e_tag, offset, None))
    }

    async fn get(&self, range: Range<u64>, etag: Option<String>) -> Result<GetResult, MediaError> {
        let answer = self.bucket.store.get_opts(&self.key, ranged(range, etag)).await;
        answer.map_err(|error| self.error(&error))
    }

    fn error(&self, error: &object_store::Error) -> MediaError {
        remote::media_error(&self.bucket.url, &self.file_path, error)
    }
}

/// Whether a range was asked for of an empty object: most stores answer 416, some with no
/// bytes, which the client refuses. Neither has a variant of its own.
fn of_nothing(error: &object_store::Error) -> bool {
    let message = error.to_string();
    message.contains("status code: 416") || message.contains("object was only 0 bytes long")
}

fn ranged(range: Range<u64>, if_match: Option<String>) -> GetOptions {
    GetOptions { range: Some(range.into()), if_match, ..GetOptions::default() }
}

/// A store without `ETag`s has the time of the last change.
fn version(meta: &ObjectMeta) -> FileVersion {
    let mark = meta.e_tag.clone().unwrap_or_else(|| meta.last_modified.to_rfc3339());
    FileVersion { size: meta.size, mark }
}
