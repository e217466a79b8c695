//! Who is told about a file, and what of it.

use std::ops::ControlFlow;
use std::time::Duration;

use crate::checkpoint::Checkpoint;
use crate::error::MediaError;

/// A file's content, identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileHash {
    pub sha256: [u8; 32],
    /// The file's size.
    pub bytes: u64,
    /// Bytes at its start that an earlier attempt had hashed.
    pub resumed_at: u64,
    pub origin: HashOrigin,
}

/// Where a hash comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashOrigin {
    /// The file was read.
    Read,
    /// The file was read, and its storage keeps the same checksum.
    Verified,
    /// It is the checksum that the storage keeps; the file was not read.
    StoredChecksum,
}

impl FileHash {
    /// The hash as 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.sha256)
    }
}

/// Who is told about a file while and after it is hashed. All of it happens on the hashing
/// thread: what waits here makes all its files wait.
pub trait Observer {
    /// So many bytes more were read and hashed, 0 while the file is left out. Can stop the
    /// work.
    fn progress(&mut self, bytes: u64) -> ControlFlow<()>;

    /// How long the file is to be left out for the bytes that were read, where there is a
    /// limit to their rate; asked before each read. Progress is told after each read then.
    fn debt(&mut self) -> Option<Duration> {
        None
    }

    /// The file's storage is about to be asked, or has answered.
    fn waits_for_storage(&mut self, _waits: bool) {}

    /// Where to go on from after a crash.
    fn checkpoint(&mut self, checkpoint: Checkpoint);

    /// The end, told once. A file that changed while it was read has no hash.
    fn done(&mut self, result: Result<FileHash, MediaError>);
}

impl<O: Observer + ?Sized> Observer for Box<O> {
    fn progress(&mut self, bytes: u64) -> ControlFlow<()> {
        (**self).progress(bytes)
    }

    fn debt(&mut self) -> Option<Duration> {
        (**self).debt()
    }

    fn waits_for_storage(&mut self, waits: bool) {
        (**self).waits_for_storage(waits);
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint) {
        (**self).checkpoint(checkpoint);
    }

    fn done(&mut self, result: Result<FileHash, MediaError>) {
        (**self).done(result);
    }
}
