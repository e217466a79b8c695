//! The archive of a rollback: what expand's columns and tables held, in files that need
//! nothing of reelshift's to be read, and bringing it back after a new expand.
//!
//! A directory holds `manifest.json` and, for each table, files of up to
//! [`FILE_ROWS`] rows in key order: gzip, one row a line, a JSON array of values in the
//! order of the manifest's columns. The manifest names every file with its rows and its
//! SHA-256, and is complete only when everything else is on disk.

mod directory;
mod error;
mod file;
mod manifest;
mod pace;
mod platform;
mod restore;
mod retry;
mod write;

pub use directory::Directory;
pub use error::{ArchiveError, Result};
pub use manifest::{Archive, ArchivedFile, Manifest, TableManifest};
pub use pace::Pace;
pub use platform::Platform;
pub use restore::{Checked, RestoreReport, restore};
pub use write::{Prepared, prepare, write};

use reelshift_store::archive::ArchivedTable;

/// Rows in a file: some megabytes, compressed.
pub const FILE_ROWS: u64 = 50_000;

/// The values of a page, in memory at once: some milliseconds of a disk or a network.
const PAGE_BYTES: u64 = 4 * 1024 * 1024;

/// How far an archive or a restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub table: ArchivedTable,
    /// Rows of this table that are behind.
    pub rows: u64,
    /// Rows of this table, exactly or about.
    pub of: u64,
}
