//! Videos whose files have the same content.

use async_trait::async_trait;
use serde::Serialize;

use crate::Result;

/// Videos that have one hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Duplicate {
    /// SHA-256, 64 hex digits.
    pub sha256: String,
    pub videos: u64,
    /// Different paths among them: videos that share a path share a file.
    pub files: u64,
    /// Bytes of one file, as the rows say it (the largest, where they differ).
    pub file_size: u64,
    /// Bytes that are there more than once.
    pub bytes_to_save: u64,
    /// The first of them in key order, at most [`FIRST_VIDEOS`].
    pub first: Vec<DuplicateVideo>,
}

/// One of several videos with the same hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DuplicateVideo {
    pub id: String,
    pub file_path: Option<String>,
}

/// How many videos of a hash are named: of some contents, nothing at all for example,
/// there may be very many.
pub const FIRST_VIDEOS: u32 = 10;

/// Finds equal files.
#[async_trait]
pub trait Duplicates {
    /// The next up to `limit` hashes after the hash `after`, in order, that more than one
    /// video has. Reads the index on `file_hash` once that is there, the table before.
    async fn duplicates(&self, after: Option<&str>, limit: u32) -> Result<Vec<Duplicate>>;
}

impl Duplicate {
    /// From what a database counts; a negative or missing size counts as 0.
    #[must_use]
    pub fn new(sha256: String, videos: i64, files: i64, file_size: Option<i64>) -> Self {
        let count = |value: i64| u64::try_from(value).unwrap_or(0);
        let (files, file_size) = (count(files), count(file_size.unwrap_or(0)));
        Self {
            sha256,
            videos: count(videos),
            files,
            file_size,
            bytes_to_save: file_size.saturating_mul(files.saturating_sub(1)),
            first: Vec::new(),
        }
    }
}
