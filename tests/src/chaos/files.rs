//! Media files that are worth reading, and what may be said of each afterwards.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use sqlx::Row;

use crate::Legacy;

/// The files of a database's videos, and every content that each has had as a whole.
#[derive(Debug)]
pub struct Files {
    root: PathBuf,
    contents: HashMap<String, HashSet<String>>,
}

impl Files {
    /// Gives `count` of the videos that the application touches a file of `bytes`
    /// bytes each: mostly a hole, so that it costs no space, but with a head of its own.
    pub async fn make(legacy: &Legacy, root: &Path, count: usize, bytes: u64) -> Self {
        let videos = legacy
            .rows(&format!(
                "SELECT id FROM videos WHERE project_id = 'touched' AND file_path = '' LIMIT {count}"
            ))
            .await;
        let mut files = Self { root: root.to_owned(), contents: HashMap::new() };
        for video in videos {
            let id: String = video.get("id");
            let path = format!("{id}.mp4");
            let mut file = File::create(root.join(&path)).expect("a media file");
            file.write_all(id.as_bytes()).expect("a media file is written");
            file.set_len(bytes).expect("a media file has its length");
            files.contents.insert(path.clone(), HashSet::new());
            files.note(&path);
            let set = format!("file_path = '{path}', file_size = {bytes}");
            legacy.execute(&format!("UPDATE videos SET {set} WHERE id = '{id}'")).await;
        }
        files
    }

    /// Where each file is, by its name, in an order that is always the same.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.contents.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Remembers a file's content as it is now.
    pub fn note(&mut self, name: &str) {
        let hash = sha256(&self.path(name));
        self.contents.entry(name.to_owned()).or_default().insert(hash);
    }

    /// Every hash is that of what its file holds now: for files that nobody changed after
    /// they were read.
    ///
    /// # Panics
    /// At the first that is not.
    pub async fn check_present(&self, legacy: &Legacy) {
        let rows = legacy
            .rows("SELECT file_path, file_hash FROM videos WHERE file_hash IS NOT NULL")
            .await;
        assert!(!rows.is_empty(), "nothing was hashed");
        for row in rows {
            let (name, hash): (String, String) = (row.get(0), row.get(1));
            assert_eq!(sha256(&self.path(&name)), hash, "{name} holds something else now");
        }
    }

    /// Every file that has a hash has one of a content that it had as a whole, and the
    /// number of those without one.
    ///
    /// # Panics
    /// At the first hash that was never a file's.
    pub async fn check(&self, legacy: &Legacy) -> usize {
        let rows =
            legacy.rows("SELECT file_path, file_hash FROM videos WHERE file_path <> ''").await;
        let mut without = 0;
        for row in rows {
            let (name, hash): (String, Option<String>) = (row.get(0), row.get(1));
            let Some(hash) = hash else {
                without += 1;
                continue;
            };
            let known = self.contents.get(&name).is_some_and(|known| known.contains(&hash));
            assert!(known, "{name} never had the content with hash {hash}");
        }
        without
    }
}

/// Overwrites the byte at `at`.
///
/// # Panics
/// When the file cannot be written.
pub fn poke(path: &Path, at: u64, value: u8) {
    let mut file = OpenOptions::new().write(true).open(path).expect("a media file opens");
    file.seek(SeekFrom::Start(at)).expect("a place in it");
    file.write_all(&[value]).expect("a byte is written");
}

fn sha256(path: &Path) -> String {
    let mut file = File::open(path).expect("a media file opens");
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut buffer).expect("a media file is read");
        if count == 0 {
            return hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        }
        hasher.update(&buffer[..count]);
    }
}
