//! What can go wrong with an archive, by what the caller can do.

use std::path::{Path, PathBuf};

use reelshift_store::StoreError;
use reelshift_store::archive::ArchivedTable;

pub type Result<T, E = ArchiveError> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The directory or what is in it is not what this needs; nothing was changed.
    #[error("{0}")]
    Refused(String),

    /// A file is damaged, missing, or not of the manifest; nothing was changed.
    #[error("archive file {path}: {why}")]
    Damaged { path: PathBuf, why: String },

    /// The disk, or a right to it.
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: std::io::Error },

    /// The database cannot hold an archived value as it is.
    #[error(
        "{} cannot be restored: {error}. Where a column was changed since, give it the type that the archive's \
         manifest.json names, then restore again", .table.into_str()
    )]
    Value { table: ArchivedTable, error: StoreError },

    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),

    /// The operator asked to stop; the same command goes on.
    #[error("stopped: run the same command again to go on")]
    Stopped,
}

impl ArchiveError {
    pub(crate) fn damaged(path: &Path, why: impl std::fmt::Display) -> Self {
        Self::Damaged { path: path.to_owned(), why: why.to_string() }
    }
}

/// Names the file in an error of the disk.
pub(crate) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> ArchiveError {
    |error| ArchiveError::Io { path: path.to_owned(), error }
}
