//! A regular file that is read from start to end.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::cache::{Cache, Early};
use crate::checkpoint::{Checkpoint, FileVersion};
use crate::directory::Place;
use crate::error::{MediaError, is_exhausted};

use crate::source::{Begun, Read, Source};

/// What tells that a file changed: a write to it moves its modification time, or else its
/// size; where somebody set that time back, the time of its last change of status moved. A
/// file that took its name is another inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) len: u64,
    modified: SystemTime,
    /// Device and inode.
    inode: (u64, u64),
    /// Seconds and nanoseconds; nobody can set it.
    status_changed: (i64, i64),
}

impl Snapshot {
    pub(crate) fn of(metadata: &std::fs::Metadata) -> io::Result<Self> {
        Ok(Self {
            len: metadata.len(),
            modified: metadata.modified()?,
            inode: (metadata.dev(), metadata.ino()),
            status_changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    pub(crate) fn of_named(metadata: &cap_std::fs::Metadata) -> io::Result<Self> {
        use cap_std::fs::MetadataExt;

        Ok(Self {
            len: metadata.len(),
            modified: metadata.modified()?.into_std(),
            inode: (metadata.dev(), metadata.ino()),
            status_changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    fn nanoseconds(&self) -> i128 {
        let nanoseconds = |duration: Duration| duration.as_nanos().cast_signed();
        match self.modified.duration_since(UNIX_EPOCH) {
            Ok(after) => nanoseconds(after),
            Err(before) => -nanoseconds(before.duration()),
        }
    }
}

/// Looking up a name takes a descriptor for a moment. Where there is none, another file is
/// closed by the next look.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Looks at a name, at most: a second.
const LOOKS: u32 = 100;

/// An open regular file.
pub(crate) struct LocalFile {
    /// None once it was read and looked at.
    file: Option<File>,
    file_path: String,
    /// Its name in the media root; none for a file that was named by hand, whose name is
    /// not looked up again.
    place: Option<Place>,
    before: Snapshot,
    offset: u64,
    cache: Cache,
    /// All of a small file, until the first read.
    early: Option<Early>,
    at_end: bool,
}

impl LocalFile {
    /// `before` is what the open file looked like.
    pub(crate) fn new(
        file: File,
        file_path: String,
        place: Option<Place>,
        before: Snapshot,
    ) -> Self {
        let (cache, early) = Cache::of(&file, before.len);
        Self { file: Some(file), file_path, place, before, offset: 0, cache, early, at_end: false }
    }

    fn grew(&self) -> MediaError {
        self.changed(format!("it grew beyond the {} bytes it had", self.before.len))
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
        self.early = self.early.take().filter(|_| self.offset == 0);
        Ok(Some(Begun { version, offset: self.offset, checksum: None }))
    }

    /// Reads to the end and not to the size that the file says, which is 0 or 4096 for
    /// those of `/proc` and `/sys`. A file of a media root has changed where the two differ,
    /// so that one that keeps growing does not keep its reader. Where that size was read and
    /// there was room for more, the end is reached: [`Self::settle`] looks whether it grew.
    fn read(&mut self, buffer: &mut [u8]) -> Result<Read, MediaError> {
        let Some(file) = &self.file else { return Ok(Read::End) };
        if let Some(early) = self.early.take()
            && let Some(room) = buffer.get_mut(..early.len())
        {
            room.copy_from_slice(&early);
            (self.offset, self.at_end) = (self.before.len, true);
            return Ok(Read::Bytes(early.len()));
        }
        if self.at_end {
            return Ok(Read::End);
        }
        self.cache.before_read(file, self.offset);
        let left = self.before.len.saturating_sub(self.offset);
        let most = match usize::try_from(left) {
            Ok(left) if left > 0 => left.saturating_add(1).min(buffer.len()),
            _ => buffer.len(),
        };
        loop {
            return match file.read_at(&mut buffer[..most], self.offset) {
                Ok(0) if left == 0 || self.place.is_none() => Ok(Read::End),
                Ok(0) => Err(self.changed(format!(
                    "it ended after {} of {} bytes",
                    self.offset, self.before.len
                ))),
                Ok(count) if count as u64 > left && self.place.is_some() => Err(self.grew()),
                Ok(count) => {
                    self.offset += count as u64;
                    self.at_end = count as u64 == left && count < most;
                    Ok(Read::Bytes(count))
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(MediaError::from_io(&self.file_path, error)),
            };
        }
    }

    fn settle(&mut self) -> Result<(), MediaError> {
        let Some(file) = self.file.take() else { return Ok(()) };
        self.cache.at_end(&file);
        let failed = |source| MediaError::from_io(&self.file_path, source);
        let after = file.metadata().and_then(|found| Snapshot::of(&found)).map_err(failed)?;
        drop(file);
        if after.len > self.before.len {
            return Err(self.grew());
        }
        if (after.len, after.modified) != (self.before.len, self.before.modified) {
            return Err(self.changed("it was written to"));
        }
        // Both the file that was read and the one that has its name now: a new version is
        // often renamed over the old one.
        let written = after.status_changed != self.before.status_changed;
        let Some(place) = &self.place else { return Ok(()) };
        let mut looks = 1;
        loop {
            return match place.snapshot() {
                Ok(named) if named.inode != self.before.inode => {
                    Err(self.changed("another file took its name"))
                }
                // Losing its name to another changes a file's status too.
                Ok(named) if written || named != self.before => {
                    Err(self.changed("it was written to"))
                }
                Ok(_) => Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    Err(self.changed("it was removed or renamed"))
                }
                Err(error) if is_exhausted(&error) && looks < LOOKS => {
                    looks += 1;
                    std::thread::sleep(LOOK_AGAIN);
                    continue;
                }
                Err(error) => Err(failed(error)),
            };
        }
    }
}
