//! Small files that somebody else wrote: settings, secrets.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{OFlags, fcntl_setfl};

/// What such a file may hold.
const MAX_BYTES: u64 = 1 << 20;

/// The text of a file, after `check` has seen what it is. A pipe is read if somebody writes into
/// it (`<(…)`): without a writer it is empty, and not waited for.
///
/// # Errors
/// As opening and reading it and as `check`; also where it is no text, or a longer one.
pub fn read(path: &Path, check: impl FnOnce(&Metadata) -> io::Result<()>) -> io::Result<String> {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let mut file = File::options().read(true).custom_flags(nonblocking).open(path)?;
    check(&file.metadata()?)?;
    // Only the opening must not wait.
    fcntl_setfl(&file, OFlags::empty())?;
    let mut text = String::new();
    (&mut file).take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it is longer than {MAX_BYTES} bytes")));
    }
    Ok(text)
}
