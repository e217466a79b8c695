//! Videos whose files have the same content.

use std::collections::HashSet;

use async_trait::async_trait;
use serde::Serialize;

use crate::Result;

/// Videos that have one hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Duplicate {
    /// SHA-256, 64 hex digits.
    pub sha256: String,
    pub videos: u64,
    /// Different paths among them, however they are written: videos that share a path share
    /// a file.
    pub files: u64,
    /// Bytes of one file, as the rows say it (the largest, where they differ).
    pub file_size: u64,
    /// Bytes that are there more than once.
    pub bytes_to_save: u64,
    /// Some row does not say a size, says another than the rest, or one as large as its
    /// column can hold: the files may be larger.
    pub at_least: bool,
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

/// As SQL: whether `file_path` may be written in another way than the shortest.
pub const ODD_PATH: &str = "(file_path LIKE './%' OR file_path LIKE '../%' OR \
    file_path LIKE '%/./%' OR file_path LIKE '%/../%' OR file_path LIKE '%//%')";

/// Finds equal files.
#[async_trait]
pub trait Duplicates {
    /// The next up to `limit` hashes after the hash `after`, in order, that more than one
    /// video has. Reads the index on `file_hash` once that is there, the table before.
    async fn duplicates(&self, after: Option<&str>, limit: u32) -> Result<Vec<Duplicate>>;
}

/// What a database counts of the videos of one hash.
#[derive(Debug, Clone, Default)]
pub struct Counted {
    pub sha256: String,
    pub videos: i64,
    /// Different texts of `file_path`.
    pub paths: i64,
    /// The smallest and the largest `file_size`.
    pub sizes: (Option<i64>, Option<i64>),
    /// Rows that say a size.
    pub sized: i64,
}

/// Sizes from here on may be larger than they say: a 32-bit column cuts them there.
const COLUMN_LIMIT: i64 = i32::MAX as i64;

impl From<Counted> for Duplicate {
    /// A negative or missing size counts as 0.
    fn from(counted: Counted) -> Self {
        let count = |value: i64| u64::try_from(value).unwrap_or(0);
        let (least, most) = counted.sizes;
        let known = counted.sized == counted.videos && least == most;
        let at_least = !known || most.is_some_and(|most| !(0..COLUMN_LIMIT).contains(&most));
        let mut duplicate = Self {
            sha256: counted.sha256,
            videos: count(counted.videos),
            files: 0,
            file_size: count(most.unwrap_or(0)),
            bytes_to_save: 0,
            at_least,
            first: Vec::new(),
        };
        duplicate.set_files(count(counted.paths));
        duplicate
    }
}

impl Duplicate {
    fn set_files(&mut self, files: u64) {
        self.files = files;
        self.bytes_to_save = self.file_size.saturating_mul(files.saturating_sub(1));
    }

    /// Counts the files again where some path is written in another way than the shortest:
    /// `paths` are all that the hash has.
    pub fn count_files<'a>(&mut self, paths: impl IntoIterator<Item = &'a str>) {
        let files: HashSet<String> = paths.into_iter().map(shortest).collect();
        self.set_files(files.len() as u64);
    }
}

/// A path without `.`, `..` and repeated slashes, as far as its text says where it leads.
fn shortest(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match (part, parts.last()) {
            ("" | ".", _) => {}
            ("..", Some(&last)) if last != ".." => {
                parts.pop();
            }
            (part, _) => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_to_one_file_are_one() {
        for (path, expected) in [
            ("a/b.mp4", "a/b.mp4"),
            ("./a//b.mp4", "a/b.mp4"),
            ("x/../a/./b.mp4", "a/b.mp4"),
            ("../a", "../a"),
            ("../../a/../b", "../../b"),
            ("/media//x/../a", "/media/a"),
            ("...", "..."),
        ] {
            assert_eq!(shortest(path), expected);
        }
    }

    #[test]
    fn what_is_not_known_is_at_least_so_much() {
        let counted =
            |sizes, sized| Counted { videos: 2, paths: 2, sizes, sized, ..Counted::default() };
        let large = COLUMN_LIMIT;
        for (counted, at_least) in [
            (counted((Some(7), Some(7)), 2), false),
            (counted((Some(7), Some(7)), 1), true),
            (counted((None, None), 0), true),
            (counted((Some(6), Some(7)), 2), true),
            (counted((Some(large), Some(large)), 2), true),
            (counted((Some(-5), Some(-5)), 2), true),
        ] {
            let duplicate = Duplicate::from(counted.clone());
            assert_eq!(duplicate.at_least, at_least, "{counted:?}");
        }
    }
}
