//! Where a stream's bytes come from.

use crate::checkpoint::FileVersion;
use crate::error::MediaError;

/// An open file, read from start to end.
pub(crate) trait Source: Send {
    /// Which content this is: what a checkpoint must match to be gone on from.
    fn version(&self) -> FileVersion;

    /// Goes on reading at `offset`. Only called before the first read.
    fn skip_to(&mut self, offset: u64);

    /// Puts bytes at the start of `buffer`. A source that waits for the network does not
    /// wait here: it unparks the thread that opened it once there is more.
    fn read(&mut self, buffer: &mut [u8]) -> Result<Read, MediaError>;

    /// After the end: whether what was read is what the name stands for.
    fn settle(&mut self) -> Result<(), MediaError>;
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
