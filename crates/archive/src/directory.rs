//! The directory of an archive: opened once, private to its owner, and every file in it
//! opened by its name in that directory, never through a link.

use std::ffi::CStr;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::error::{ArchiveError, Result, at};

/// Write permission of the group and of everybody.
const WRITABLE_BY_OTHERS: u32 = 0o022;

const PRIVATE_DIRECTORY: Mode = Mode::RWXU;
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

/// An open directory that nobody else can change.
#[derive(Debug)]
pub struct Directory {
    handle: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens the directory; `None` where there is nothing at `path`.
    ///
    /// # Errors
    /// `Refused` where it is no directory, is a symbolic link, or can be written by others.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>> {
        // A slash at the end would follow a link.
        let path: PathBuf = path.components().collect();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(handle) => handle,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return Err(ArchiveError::Refused(format!(
                    "{} is no directory or a symbolic link: name the directory itself",
                    path.display()
                )));
            }
            Err(error) => return Err(at(&path)(error.into())),
        };
        let directory = Self { handle, path };
        let status = rustix::fs::fstat(&directory.handle)
            .map_err(|error| at(&directory.path)(error.into()))?;
        if let Some(why) = changed_by_others(&status) {
            return Err(ArchiveError::Refused(format!(
                "{} {why}: name a directory that is yours alone (chown, chmod go-w)",
                directory.path.display()
            )));
        }
        Ok(Some(directory))
    }

    /// Opens the directory, made first where it is not there.
    pub(crate) fn open_or_create(path: &Path) -> Result<Self> {
        if let Some(directory) = Self::open(path)? {
            return Ok(directory);
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(at(parent))?;
        }
        match rustix::fs::mkdir(path, PRIVATE_DIRECTORY) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(at(path)(error.into())),
        }
        Self::open(path)?.ok_or_else(|| at(path)(ErrorKind::NotFound.into()))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The directory itself, for messages.
    pub(crate) fn shown(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    /// The names in it; a name that is not UTF-8 with its bytes replaced, as no file of an
    /// archive has.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let entries = Dir::read_from(&self.handle).map_err(|error| at(&self.path)(error.into()))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| at(&self.path)(error.into()))?;
            let name: &CStr = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(name.to_string_lossy().into_owned());
            }
        }
        Ok(names)
    }

    /// Opens a file for reading; `None` where it is not there.
    ///
    /// # Errors
    /// `Refused` where it is no regular file, has a second name, or can be written by others.
    pub(crate) fn read(&self, name: &str) -> Result<Option<File>> {
        // Looked at first: opening a device or a pipe can have an effect of its own.
        if !self.check(name)? {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.handle, name, flags, Mode::empty())
            .map_err(|error| at(&self.path(name))(error.into()))?;
        let status =
            rustix::fs::fstat(&opened).map_err(|error| at(&self.path(name))(error.into()))?;
        self.refuse(name, &status)?;
        Ok(Some(opened.into()))
    }

    /// Whether there is a file of this name.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn check(&self, name: &str) -> Result<bool> {
        match rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(status) => self.refuse(name, &status).map(|()| true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(at(&self.path(name))(error.into())),
        }
    }

    fn refuse(&self, name: &str, status: &Stat) -> Result<()> {
        let why = match FileType::from_raw_mode(status.st_mode) {
            FileType::RegularFile if status.st_nlink > 1 => {
                "has a second name (a hard link), by which it can be changed: copy the archive"
                    .to_owned()
            }
            FileType::RegularFile => match changed_by_others(status) {
                Some(why) => format!("{why}: check it, then chown it or chmod go-w"),
                None => return Ok(()),
            },
            kind => format!("is no regular file but {}", word(kind)),
        };
        Err(ArchiveError::Refused(format!("{} {why}", self.path(name).display())))
    }

    /// Makes a file that is not there yet.
    pub(crate) fn create(&self, name: &str) -> Result<File> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.handle, name, flags, PRIVATE_FILE)
            .map_err(|error| at(&self.path(name))(error.into()))?;
        Ok(file.into())
    }

    /// Removes a file, if it is there.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        match rustix::fs::unlinkat(&self.handle, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(at(&self.path(name))(error.into())),
        }
    }

    /// Gives a file another name, in place of what has it, and sees that onto the disk.
    pub(crate) fn replace(&self, from: &str, to: &str) -> Result<()> {
        rustix::fs::renameat(&self.handle, from, &self.handle, to)
            .and_then(|()| rustix::fs::fsync(&self.handle))
            .map_err(|error| at(&self.path(to))(error.into()))
    }
}

/// Why somebody else can change a file or directory of this status.
fn changed_by_others(status: &Stat) -> Option<String> {
    let (owner, mode) = (status.st_uid, status.st_mode);
    if owner != 0 && owner != geteuid().as_raw() {
        return Some(format!("belongs to another user (uid {owner})"));
    }
    (mode & WRITABLE_BY_OTHERS != 0)
        .then(|| format!("can be written by others (mode {:04o})", mode & 0o7777))
}

const fn word(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "something else",
    }
}
