//! What can go wrong with a file, told apart by what the caller can do about it.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;

use crate::remote::RemoteError;

/// Whether the same call can succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Trying again can help.
    Transient,
    /// Nobody knows; `EIO` is a bad sector or a cable.
    Unknown,
    /// This file will fail again; the rest of the batch is not affected.
    PermanentForItem,
}

/// A text in which errors are worded as the system words them, without their numbers.
#[must_use]
pub fn plain(text: impl Display) -> String {
    let text = text.to_string();
    let mut parts = text.split(" (os error ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once(')').map_or(part, |(_, rest)| rest))
}

/// Why a file has no hash. `path` is always the `file_path` that the caller gave, shown
/// escaped, as it may hold anything.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The media root itself cannot be used. Says nothing about any file.
    #[error(
        "the media root {path:?} cannot be used ({}): \
         name an existing directory, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or \
         az://CONTAINER/PREFIX that this user can read",
        plain(source)
    )]
    BadRoot { path: PathBuf, source: io::Error },

    /// No file can be reached by this name, or none can have it.
    #[error("there is no file {path:?} in the media root ({})", plain(source))]
    Missing { path: String, source: io::Error },

    /// The file or a directory on the way to it may not be read by this user.
    #[error("the file {path:?} may not be read by this user ({})", plain(source))]
    NotReadable { path: String, source: io::Error },

    /// The name leads out of the media root, by `..`, by a symlink or as an absolute path.
    #[error("the path {path:?} leads out of the media root")]
    OutsideRoot { path: String },

    /// An object's key that cannot be asked for as it is.
    #[error("the object key {path:?} cannot be used: {why}")]
    KeyUnusable { path: String, why: &'static str },

    /// The name is that of a directory, pipe, socket or device.
    #[error("{path:?} is {kind}, not a regular file")]
    NotRegular { path: String, kind: &'static str },

    /// The file was written to, cut, or replaced while it was read.
    #[error("the file {path:?} changed while it was read: {how}")]
    Changed { path: String, how: String },

    /// This process, or its machine, is short of something. Says nothing about the file.
    #[error(
        "this worker has run out of what the system gives it ({}): the file {path:?} could \
         not be read; raise its limits (open files: `ulimit -n`; memory), or lower `--concurrency`",
        plain(source)
    )]
    Exhausted { path: String, source: io::Error },

    /// The bytes of an object are not those of the checksum that its store keeps.
    #[error(
        "the object {path:?} has the SHA-256 {computed}, and the checksum that its store keeps is \
         {stored}: find out which is wrong, and trust no stored checksum meanwhile"
    )]
    ChecksumDiffers { path: String, stored: String, computed: String },

    /// The object is in an archive, out of which it has to be ordered first.
    #[error(
        "the object {path:?} is archived ({source}): restore it in the object store, then run \
         `reelshift rerun`"
    )]
    Archived { path: String, source: RemoteError },

    /// The storage failed.
    #[error("reading the file {path:?} failed: {}", plain(source))]
    Io { path: String, source: io::Error },

    /// The object store did not answer, or that it cannot now.
    #[error("the object store failed on the file {path:?}: {source}")]
    Remote { path: String, source: RemoteError },

    /// A read has not returned.
    #[error(
        "no byte of the file {path:?} came within {} s: its storage does not answer",
        .waited.as_secs()
    )]
    Stalled { path: String, waited: Duration },

    /// So many reads of this process have not returned that it can read no more.
    #[error(
        "the storage of the media root does not answer: {reads} reads have not returned; mend the \
         mount, then start this worker again"
    )]
    StorageHung { reads: usize },

    /// The caller's progress function asked to stop.
    #[error("hashing the file {path:?} was stopped")]
    Interrupted { path: String },
}

impl MediaError {
    /// Tells the errors of opening and reading a file apart.
    ///
    /// `cap-std` reports an attempt to leave the directory as a permission error of its
    /// own, without an errno; the kernel's have one.
    pub(crate) fn from_io(path: &str, source: io::Error) -> Self {
        let path = path.to_owned();
        match errno(&source) {
            Some(Errno::ACCESS | Errno::PERM) => Self::NotReadable { path, source },
            Some(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP) => {
                Self::Missing { path, source }
            }
            Some(Errno::ISDIR) => Self::NotRegular { path, kind: "a directory" },
            Some(Errno::NXIO | Errno::NODEV) => Self::NotRegular { path, kind: "a device" },
            Some(errno) if EXHAUSTED.contains(&errno) => Self::Exhausted { path, source },
            Some(_) => Self::Io { path, source },
            None if source.kind() == io::ErrorKind::PermissionDenied => Self::OutsideRoot { path },
            None if source.kind() == io::ErrorKind::InvalidInput => Self::Missing { path, source },
            None => Self::Io { path, source },
        }
    }

    /// A stable name of the kind of error, for `processing_error_log.error_type`.
    #[must_use]
    pub const fn error_type(&self) -> &'static str {
        match self {
            Self::BadRoot { .. } | Self::StorageHung { .. } => "media_root_unusable",
            Self::Missing { .. } => "file_missing",
            Self::NotReadable { .. } => "file_unreadable",
            Self::OutsideRoot { .. } => "file_outside_root",
            Self::KeyUnusable { .. } => "object_key_unusable",
            Self::NotRegular { .. } => "file_not_regular",
            Self::Changed { .. } => "file_changed",
            Self::ChecksumDiffers { .. } => "stored_checksum_differs",
            Self::Archived { .. } => "object_archived",
            Self::Exhausted { .. } => "worker_exhausted",
            Self::Io { .. } => "file_io_error",
            Self::Remote { .. } | Self::Stalled { .. } => "storage_unavailable",
            Self::Interrupted { .. } => "interrupted",
        }
    }

    /// The errno's name (`ENOENT`), or `errno 123` for a rare one; the object store's code
    /// (`NoSuchKey`) or HTTP status; none where neither was the one to refuse.
    #[must_use]
    pub fn code(&self) -> Option<String> {
        match self {
            Self::BadRoot { source, .. }
            | Self::Missing { source, .. }
            | Self::NotReadable { source, .. }
            | Self::Exhausted { source, .. }
            | Self::Io { source, .. } => {
                if let Some(remote) = source.get_ref().and_then(|source| source.downcast_ref()) {
                    return RemoteError::code(remote);
                }
                let errno = errno(source)?;
                Some(match errno_name(errno) {
                    Some(name) => name.to_owned(),
                    None => format!("errno {}", errno.raw_os_error()),
                })
            }
            Self::Remote { source, .. } | Self::Archived { source, .. } => source.code(),
            Self::OutsideRoot { .. }
            | Self::KeyUnusable { .. }
            | Self::NotRegular { .. }
            | Self::Changed { .. }
            | Self::ChecksumDiffers { .. }
            | Self::Stalled { .. }
            | Self::StorageHung { .. }
            | Self::Interrupted { .. } => None,
        }
    }

    /// Whether trying again can help.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::BadRoot { .. }
            | Self::Exhausted { .. }
            | Self::Changed { .. }
            | Self::Archived { .. }
            | Self::Remote { .. }
            | Self::Stalled { .. }
            | Self::StorageHung { .. }
            | Self::Interrupted { .. } => Class::Transient,
            Self::Io { source, .. } if errno(source).is_some_and(passes) => Class::Transient,
            Self::Io { .. } => Class::Unknown,
            Self::Missing { .. }
            | Self::NotReadable { .. }
            | Self::OutsideRoot { .. }
            | Self::KeyUnusable { .. }
            | Self::ChecksumDiffers { .. }
            | Self::NotRegular { .. } => Class::PermanentForItem,
        }
    }
}

/// What this process, or its machine, is short of: open files, or memory.
const EXHAUSTED: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];

/// Whether this process, or its machine, is short of something.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    errno(error).is_some_and(|errno| EXHAUSTED.contains(&errno))
}

/// Whether an errno is that of a storage that is away.
fn passes(errno: Errno) -> bool {
    [
        Errno::AGAIN,
        Errno::CONNRESET,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::INTR,
        Errno::NOTCONN,
        Errno::STALE,
        Errno::TIMEDOUT,
    ]
    .contains(&errno)
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}

/// Names of the errnos that opening and reading a file produce in practice.
fn errno_name(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::ACCESS => "EACCES",
        Errno::AGAIN => "EAGAIN",
        Errno::BADF => "EBADF",
        Errno::CONNRESET => "ECONNRESET",
        Errno::DQUOT => "EDQUOT",
        Errno::HOSTDOWN => "EHOSTDOWN",
        Errno::HOSTUNREACH => "EHOSTUNREACH",
        Errno::INTR => "EINTR",
        Errno::INVAL => "EINVAL",
        Errno::IO => "EIO",
        Errno::LOOP => "ELOOP",
        Errno::MFILE => "EMFILE",
        Errno::NAMETOOLONG => "ENAMETOOLONG",
        Errno::NFILE => "ENFILE",
        Errno::NOBUFS => "ENOBUFS",
        Errno::NOENT => "ENOENT",
        Errno::NOMEM => "ENOMEM",
        Errno::NOSPC => "ENOSPC",
        Errno::NOTCONN => "ENOTCONN",
        Errno::NOTDIR => "ENOTDIR",
        Errno::OPNOTSUPP => "EOPNOTSUPP",
        Errno::OVERFLOW => "EOVERFLOW",
        Errno::PERM => "EPERM",
        Errno::STALE => "ESTALE",
        Errno::TIMEDOUT => "ETIMEDOUT",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_system_are_left_out() {
        let text = "x (No such file (os error 2)): y (os error 13), z";
        assert_eq!(plain(text), "x (No such file): y, z");
        assert_eq!(plain("nothing"), "nothing");
    }

    #[test]
    fn every_errno_has_its_kind_code_and_class() {
        use Class::{PermanentForItem, Transient, Unknown};
        let cases = [
            (Errno::NOENT, "file_missing", "ENOENT", PermanentForItem),
            (Errno::NOTDIR, "file_missing", "ENOTDIR", PermanentForItem),
            (Errno::NAMETOOLONG, "file_missing", "ENAMETOOLONG", PermanentForItem),
            (Errno::LOOP, "file_missing", "ELOOP", PermanentForItem),
            (Errno::ACCESS, "file_unreadable", "EACCES", PermanentForItem),
            (Errno::PERM, "file_unreadable", "EPERM", PermanentForItem),
            (Errno::IO, "file_io_error", "EIO", Unknown),
            (Errno::OVERFLOW, "file_io_error", "EOVERFLOW", Unknown),
            (Errno::TIMEDOUT, "file_io_error", "ETIMEDOUT", Transient),
            (Errno::NOTCONN, "file_io_error", "ENOTCONN", Transient),
            (Errno::NOMEM, "worker_exhausted", "ENOMEM", Transient),
            (Errno::NFILE, "worker_exhausted", "ENFILE", Transient),
            (Errno::NOBUFS, "worker_exhausted", "ENOBUFS", Transient),
            (Errno::STALE, "file_io_error", "ESTALE", Transient),
            (Errno::MFILE, "worker_exhausted", "EMFILE", Transient),
        ];
        for (errno, error_type, code, class) in cases {
            let error = MediaError::from_io("a.mp4", errno.into());
            assert_eq!(error.error_type(), error_type, "{error:?}");
            assert_eq!(error.code().as_deref(), Some(code), "{error:?}");
            assert_eq!(error.class(), class, "{error:?}");
        }
    }

    #[test]
    fn an_errno_without_a_name_keeps_its_number() {
        let error = MediaError::from_io("a.mp4", Errno::XDEV.into());
        let code = format!("errno {}", Errno::XDEV.raw_os_error());
        assert_eq!(error.code(), Some(code));
    }

    #[test]
    fn a_message_never_carries_control_characters_of_a_path() {
        let error = MediaError::from_io("a\n\u{1b}[31m.mp4", Errno::NOENT.into());
        assert!(!error.to_string().contains(['\n', '\u{1b}']), "{error}");
    }
}
