//! Reading an open file from start to end into its hash.

use std::io::{self, Read};
use std::ops::ControlFlow;
use std::time::SystemTime;

use cap_std::fs::{File, Metadata};

use crate::digest::Sha256;
use crate::error::MediaError;

/// Bytes asked for in one read: large enough that a read costs nothing beside hashing
/// it (3 ms), small enough that many files at a time need little memory.
const READ_SIZE: usize = 1 << 20;

/// A file's content, identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileHash {
    pub sha256: [u8; 32],
    /// The file's size, all of which was read.
    pub bytes: u64,
}

impl FileHash {
    /// The hash as 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.sha256)
    }
}

/// What tells that a file changed: a write to it moves its modification time, or else
/// its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) len: u64,
    modified: SystemTime,
}

impl Snapshot {
    pub(crate) fn of(metadata: &Metadata) -> io::Result<Self> {
        Ok(Self { len: metadata.len(), modified: metadata.modified()?.into_std() })
    }
}

/// Hashes `file`, which has `len` bytes: more or fewer are a change. Stops at the first
/// byte too many, so that a file that keeps growing does not keep its reader.
pub(crate) fn hash(
    mut file: &File,
    len: u64,
    file_path: &str,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<FileHash, MediaError> {
    expect_sequential_reads(file);
    let mut sha256 = Sha256::new();
    let mut buffer = vec![0; READ_SIZE];
    let mut bytes = 0;
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(MediaError::from_io(file_path, error)),
        };
        bytes += count as u64;
        if bytes > len {
            break;
        }
        sha256.update(&buffer[..count]);
        if progress(count as u64).is_break() {
            return Err(MediaError::Interrupted { path: file_path.into() });
        }
    }
    if bytes == len {
        return Ok(FileHash { sha256: sha256.finish(), bytes });
    }
    let how = if bytes > len {
        format!("it grew beyond the {len} bytes it had")
    } else {
        format!("it ended after {bytes} of {len} bytes")
    };
    Err(MediaError::Changed { path: file_path.into(), how })
}

/// Doubles the kernel's read-ahead where it can be asked to. A filesystem that cannot is
/// read all the same.
fn expect_sequential_reads(file: &File) {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential).ok();
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    let _: &File = file;
}
