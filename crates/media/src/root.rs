//! The media root: a directory handle that no path can leave, and how files below it
//! are opened.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, FileType, FileTypeExt, Metadata, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;

use crate::error::MediaError;
use crate::location::RootNames;
use crate::read::{self, FileHash, Snapshot};

/// A directory below which video files lie.
///
/// Holds the directory itself, not its name: a root that is renamed stays usable, and
/// one that is mounted anew has to be opened again.
#[derive(Debug)]
pub struct MediaRoot {
    dir: Dir,
    names: RootNames,
}

impl MediaRoot {
    /// Opens a directory as media root.
    ///
    /// # Errors
    /// [`MediaError::BadRoot`] if it does not exist, is not a directory, or cannot be
    /// opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, MediaError> {
        let path = path.as_ref();
        let open = || {
            let names = RootNames::of(path)?;
            let dir = Dir::open_ambient_dir(path, ambient_authority())?;
            // Every file of an unmounted volume would count as missing, for good.
            if dir.entries()?.next().is_none() {
                return Err(io::Error::other("it is empty, as when its volume is not mounted"));
            }
            Ok(Self { dir, names })
        };
        open().map_err(|source| MediaError::BadRoot { path: path.to_owned(), source })
    }

    /// Hashes the file that `file_path` names: relative to the root, or absolute and
    /// below it. `progress` is told how many bytes each read returned and can stop the
    /// work.
    ///
    /// # Errors
    /// Every variant of [`MediaError`] but `BadRoot`. A file that changes while it is
    /// read has no hash.
    pub fn hash(
        &self,
        file_path: &str,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<FileHash, MediaError> {
        let location = self.locate(file_path)?;
        let failed = |source| MediaError::from_io(file_path, source);

        let file = open_without_waiting(&self.dir, &location).map_err(failed)?;
        let opened = file.metadata().map_err(failed)?;
        refuse_unless_regular(file_path, &opened)?;
        let before = Snapshot::of(&opened).map_err(failed)?;

        let hash = read::hash(&file, before.len, file_path, progress)?;

        // Both the file that was read and the one that has its name now: a new version
        // is often renamed over the old one.
        let after = file.metadata().and_then(|metadata| Snapshot::of(&metadata)).map_err(failed)?;
        let named = self.dir.metadata(&location).and_then(|metadata| Snapshot::of(&metadata));
        let changed = |how: &str| MediaError::Changed { path: file_path.into(), how: how.into() };
        if after != before {
            return Err(changed("it was written to"));
        }
        match named {
            Ok(named) if named == before => Ok(hash),
            Ok(_) => Err(changed("another file took its name")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(changed("it was removed or renamed"))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Where `file_path` lies in the root, once it is known to be a regular file there:
    /// opening a device can already have an effect.
    fn locate(&self, file_path: &str) -> Result<PathBuf, MediaError> {
        let failed = |source| MediaError::from_io(file_path, source);
        if file_path.is_empty() || file_path.contains('\0') {
            let reason = if file_path.is_empty() { "the path is empty" } else { "a NUL byte" };
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, reason)));
        }
        let relative = self
            .names
            .relative(Path::new(file_path))
            .ok_or_else(|| MediaError::OutsideRoot { path: file_path.into() })?;
        let (location, metadata) = match self.dir.metadata(relative) {
            Ok(metadata) => (relative.to_owned(), metadata),
            Err(error) => match MediaError::from_io(file_path, error) {
                // The directory handle refuses every absolute symlink, those that lead
                // back into the root included.
                outside @ MediaError::OutsideRoot { .. } => {
                    let location = self.names.behind_symlinks(relative).ok_or(outside)?;
                    let metadata = self.dir.metadata(&location).map_err(failed)?;
                    (location, metadata)
                }
                other => return Err(other),
            },
        };
        refuse_unless_regular(file_path, &metadata)?;
        Ok(location)
    }
}

/// Opens for reading without ever waiting: `O_NONBLOCK` means nothing to a regular file,
/// but if a pipe has taken the file's place meanwhile, opening it would wait for a writer.
fn open_without_waiting(dir: &Dir, location: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    dir.open_with(location, &options)
}

fn refuse_unless_regular(file_path: &str, metadata: &Metadata) -> Result<(), MediaError> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(MediaError::NotRegular { path: file_path.into(), kind: kind_of(metadata.file_type()) })
}

fn kind_of(file_type: FileType) -> &'static str {
    if file_type.is_dir() {
        "a directory"
    } else if file_type.is_fifo() {
        "a pipe"
    } else if file_type.is_socket() {
        "a socket"
    } else if file_type.is_block_device() || file_type.is_char_device() {
        "a device"
    } else {
        "something else"
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn opening_a_pipe_without_a_writer_returns() {
        let temp = tempfile::tempdir().unwrap();
        mknodat(CWD, temp.path().join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let dir = Dir::open_ambient_dir(temp.path(), ambient_authority()).unwrap();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let opened = open_without_waiting(&dir, Path::new("pipe"));
            sender.send(opened.map(|file| file.metadata().unwrap().is_file())).unwrap();
        });
        let is_file = receiver.recv_timeout(Duration::from_secs(10)).expect("the open waited");
        assert!(!is_file.unwrap());
    }
}
