//! Files that a command is given by name, opened without waiting for the other end of a pipe.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;

/// What a file of settings or secrets may hold.
const MAX_BYTES: u64 = 1 << 20;

/// Opens a file to be read. A pipe without a writer is empty.
///
/// # Errors
/// As opening it.
pub fn open(path: &Path) -> io::Result<File> {
    without_waiting(File::options().read(true), path)
}

/// The text of a file of settings or secrets.
///
/// # Errors
/// As reading it; also where it is no text, or a longer one.
pub fn text(mut file: File) -> io::Result<String> {
    let mut text = String::new();
    (&mut file).take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it is longer than {MAX_BYTES} bytes")));
    }
    Ok(text)
}

/// Opens a file to be written, empty.
///
/// # Errors
/// As opening it; also where it is a pipe that nobody reads.
pub fn create(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    without_waiting(&mut options, path).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NXIO) => io::Error::other("nobody reads from the other end"),
        _ => error,
    })
}

fn without_waiting(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    // Only the opening must not wait.
    fcntl_setfl(&file, OFlags::empty())?;
    Ok(file)
}
