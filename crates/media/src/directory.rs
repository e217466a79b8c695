//! A media root on disk: a directory handle that no path can leave, and how files below
//! it are opened.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, FileType, FileTypeExt, Metadata, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;

use crate::error::MediaError;
use crate::local::{LocalFile, Snapshot};
use crate::location::RootNames;

/// A directory below which video files lie.
///
/// Holds the directory itself, not its name: a root that is renamed stays usable, and
/// one that is mounted anew has to be opened again.
#[derive(Debug)]
pub(crate) struct Directory {
    dir: Dir,
    names: RootNames,
}

/// Where a file was found.
#[derive(Debug)]
pub(crate) struct Place {
    directory: Arc<Directory>,
    /// Relative to the directory.
    location: PathBuf,
}

impl Place {
    /// What the file looks like that has the name now.
    pub(crate) fn snapshot(&self) -> io::Result<Snapshot> {
        Snapshot::of_named(&self.directory.dir.metadata(&self.location)?)
    }
}

impl Directory {
    /// `prefix` is what absolute paths of the database begin with in place of `path`.
    pub(crate) fn open(path: &Path, prefix: Option<&Path>) -> Result<Self, MediaError> {
        let open = || {
            let names = RootNames::of(path, prefix)?;
            let dir = Dir::open_ambient_dir(path, ambient_authority())?;
            // Every file of an unmounted volume would count as missing, for good. A volume that
            // was just made, mounted by mistake, has a `lost+found`.
            for entry in dir.entries()? {
                if entry?.file_name() != "lost+found" {
                    return Ok(Self { dir, names });
                }
            }
            Err(io::Error::other("it is empty, as when its volume is not mounted"))
        };
        open().map_err(|source| MediaError::BadRoot { path: path.to_owned(), source })
    }

    /// Its name, for messages.
    pub(crate) fn name(&self) -> std::path::Display<'_> {
        self.names.given().display()
    }

    /// Opens the regular file that `file_path` names: relative to the directory, or
    /// absolute and below it.
    pub(crate) fn source(self: Arc<Self>, file_path: String) -> Result<LocalFile, MediaError> {
        let location = self.locate(&file_path)?;
        let failed = |source| MediaError::from_io(&file_path, source);
        let file = open_without_waiting(&self.dir, &location).map_err(failed)?;
        let opened = file.metadata().map_err(failed)?;
        refuse_unless_regular(&file_path, &opened)?;
        let before = Snapshot::of_named(&opened).map_err(failed)?;
        let place = Place { directory: self, location };
        Ok(LocalFile::new(file.into_std(), file_path, Some(place), before))
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
