//! Where a stream's bytes come from.

use crate::checkpoint::{Checkpoint, FileVersion};
use crate::checksum::Checksum;
use crate::error::MediaError;

/// An open file, read from start to end.
pub(crate) trait Source: Send {
    /// Which content this is, and where reading begins: after what a checkpoint of the same
    /// content covers, or at 0. None as long as that is not known; asked again then. A
    /// source that waits for the network does not wait here: it unparks the thread that
    /// opened it once there is more.
    fn begin(&mut self, resume: Option<&Checkpoint>) -> Result<Option<Begun>, MediaError>;

    /// Puts bytes at the start of `buffer`, after it has begun. Waits no more than `begin`.
    fn read(&mut self, buffer: &mut [u8]) -> Result<Read, MediaError>;

    /// After the end: whether what was read is what the name stands for.
    fn settle(&mut self) -> Result<(), MediaError>;
}

/// Where reading begins, and in what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Begun {
    pub(crate) version: FileVersion,
    pub(crate) offset: u64,
    /// What the storage keeps with the content, where that is asked for.
    pub(crate) checksum: Option<Checksum>,
}

/// What a read came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing there yet.
    Waiting,
    End,
}
