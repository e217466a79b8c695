//! A regular file that is read from start to end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cache::Cache;
use crate::checkpoint::{Checkpoint, FileVersion};
use crate::directory::Place;
use crate::error::MediaError;

use crate::source::{Begun, Read, Source};

/// What tells that a file changed: a write to it moves its modification time, or else
/// its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) len: u64,
    modified: SystemTime,
}

impl Snapshot {
    pub(crate) fn of(metadata: &std::fs::Metadata) -> io::Result<Self> {
        Ok(Self { len: metadata.len(), modified: metadata.modified()? })
    }

    pub(crate) fn of_named(metadata: &cap_std::fs::Metadata) -> io::Result<Self> {
        Ok(Self { len: metadata.len(), modified: metadata.modified()?.into_std() })
    }

    fn nanoseconds(&self) -> i128 {
        let nanoseconds = |duration: std::time::Duration| duration.as_nanos().cast_signed();
        match self.modified.duration_since(UNIX_EPOCH) {
            Ok(after) => nanoseconds(after),
            Err(before) => -nanoseconds(before.duration()),
        }
    }
}

/// An open regular file.
pub(crate) struct LocalFile {
    file: File,
    file_path: String,
    /// Its name in the media root; none for a file that was named by hand, whose name is
    /// not looked up again.
    place: Option<Place>,
    before: Snapshot,
    offset: u64,
    cache: Cache,
}

impl LocalFile {
    /// `before` is what the open file looked like.
    pub(crate) fn new(
        file: File,
        file_path: String,
        place: Option<Place>,
        before: Snapshot,
    ) -> Self {
        let cache = Cache::of(&file, before.len);
        Self { file, file_path, place, before, offset: 0, cache }
    }

    fn changed(&self, how: impl Into<String>) -> MediaError {
        MediaError::Changed { path: self.file_path.clone(), how: how.into() }
    }
}

impl Source for LocalFile {
    fn begin(&mut self, resume: Option<&Checkpoint>) -> Result<Option<Begun>, MediaError> {
        let mark = self.before.nanoseconds().to_string();
        let version = FileVersion { size: self.before.len, mark };
        self.offset = Checkpoint::offset_in(resume, &version);
        self.cache.skip_to(self.offset);
        Ok(Some(Begun { version, offset: self.offset }))
    }

    /// Never reads beyond the size that the file had when it was opened, so that one that
    /// keeps growing does not keep its reader: `settle` sees that it grew.
    fn read(&mut self, buffer: &mut [u8]) -> Result<Read, MediaError> {
        let left = self.before.len - self.offset;
        if left == 0 {
            return Ok(Read::End);
        }
        self.cache.before_read(&self.file, self.offset);
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        loop {
            return match self.file.read_at(&mut buffer[..most], self.offset) {
                Ok(0) => Err(self.changed(format!(
                    "it ended after {} of {} bytes",
                    self.offset, self.before.len
                ))),
                Ok(count) => {
                    self.offset += count as u64;
                    Ok(Read::Bytes(count))
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(MediaError::from_io(&self.file_path, error)),
            };
        }
    }

    fn settle(&mut self) -> Result<(), MediaError> {
        self.cache.at_end(&self.file);
        let failed = |source| MediaError::from_io(&self.file_path, source);
        let after = self.file.metadata().and_then(|found| Snapshot::of(&found)).map_err(failed)?;
        if after.len > self.before.len {
            let before = self.before.len;
            return Err(self.changed(format!("it grew beyond the {before} bytes it had")));
        }
        if after != self.before {
            return Err(self.changed("it was written to"));
        }
        // Both the file that was read and the one that has its name now: a new version is
        // often renamed over the old one.
        match self.place.as_ref().map(Place::snapshot) {
            None => Ok(()),
            Some(Ok(named)) if named == self.before => Ok(()),
            Some(Ok(_)) => Err(self.changed("another file took its name")),
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                Err(self.changed("it was removed or renamed"))
            }
            Some(Err(error)) => Err(failed(error)),
        }
    }
}
