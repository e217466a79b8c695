//! `manifest.json`: what an archive holds, and the checks before anything is believed.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use reelshift_store::archive::ArchivedTable;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{ArchiveError, Result, at};
use crate::file;

const NAME: &str = "manifest.json";

/// Written while it is not whole yet.
const UNFINISHED: &str = "manifest.json.new";

/// The layout that this version writes and reads.
const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    /// The rollback's, as in `reelshift_rollbacks`.
    pub id: Uuid,
    /// The version that wrote it.
    pub reelshift: String,
    /// Product and version of the server.
    pub server: String,
    /// When it was begun, by the database's clock.
    pub created_at: DateTime<Utc>,
    /// `false` while files are being written.
    pub complete: bool,
    pub tables: Vec<TableManifest>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableManifest {
    pub table: ArchivedTable,
    pub columns: Vec<String>,
    pub rows: u64,
    pub files: Vec<ArchivedFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchivedFile {
    pub name: String,
    pub rows: u64,
    /// Compressed.
    pub bytes: u64,
    /// Of the compressed bytes.
    pub sha256: String,
}

impl Manifest {
    #[must_use]
    pub fn new(id: Uuid, server: String, created_at: DateTime<Utc>) -> Self {
        let reelshift = env!("CARGO_PKG_VERSION").to_owned();
        Self {
            format: FORMAT,
            id,
            reelshift,
            server,
            created_at,
            complete: false,
            tables: Vec::new(),
        }
    }

    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }

    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.tables.iter().flat_map(|table| &table.files).map(|file| file.bytes).sum()
    }

    /// The manifest in `directory`; `None` when there is none.
    pub(crate) fn find(directory: &Path) -> Result<Option<Self>> {
        let path = directory.join(NAME);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(&path)(error)),
        };
        let manifest: Self =
            serde_json::from_slice(&text).map_err(|error| ArchiveError::damaged(&path, error))?;
        Ok(Some(manifest))
    }

    /// Writes it beside the old one and then in its place: it is never half there.
    pub(crate) fn save(&self, directory: &Path) -> Result<()> {
        let (new, path) = (directory.join(UNFINISHED), directory.join(NAME));
        let mut text =
            serde_json::to_vec_pretty(self).map_err(|error| ArchiveError::damaged(&path, error))?;
        text.push(b'\n');
        let mut file = File::create(&new).map_err(at(&new))?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(at(&new))?;
        std::fs::rename(&new, &path).map_err(at(&path))?;
        sync_directory(directory)
    }
}

/// Sees new names of `directory` onto the disk.
fn sync_directory(directory: &Path) -> Result<()> {
    // Windows has no such thing.
    if cfg!(unix) {
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(at(directory))?;
    }
    Ok(())
}

/// Whether nothing is in `directory`, but perhaps a manifest that was never whole.
pub(crate) fn is_empty(directory: &Path) -> Result<bool> {
    for entry in std::fs::read_dir(directory).map_err(at(directory))? {
        if entry.map_err(at(directory))?.file_name() != UNFINISHED {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes what an earlier, unfinished attempt left in `directory`: only names that an
/// archive has.
pub(crate) fn clear(directory: &Path) -> Result<()> {
    for entry in std::fs::read_dir(directory).map_err(at(directory))? {
        let path = entry.map_err(at(directory))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if is_file_name(name) || name == UNFINISHED {
            std::fs::remove_file(&path).map_err(at(&path))?;
        }
    }
    Ok(())
}

pub(crate) fn file_name(table: ArchivedTable, number: usize) -> String {
    format!("{}.{number:05}.jsonl.gz", table.as_str())
}

fn is_file_name(name: &str) -> bool {
    let of_table = |table: ArchivedTable| {
        let number =
            name.strip_prefix(table.as_str())?.strip_prefix('.')?.strip_suffix(".jsonl.gz")?;
        (number.len() >= 5 && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(())
    };
    ArchivedTable::ALL.into_iter().any(|table| of_table(table).is_some())
}

/// An archive that can be restored from: complete, and every file as the manifest says.
#[derive(Debug, Clone)]
pub struct Archive {
    pub directory: PathBuf,
    pub manifest: Manifest,
}

impl Archive {
    /// Opens the archive in `directory` and checks every file.
    ///
    /// # Errors
    /// `Refused` when there is none or an incomplete or unknown one, `Damaged` naming the
    /// first file that is not as the manifest says.
    pub fn open(directory: &Path) -> Result<Self> {
        let shown = directory.display();
        let refused = |why: String| Err(ArchiveError::Refused(why));
        let Some(manifest) = Manifest::find(directory)? else {
            return refused(format!("{shown} holds no archive: there is no manifest.json in it"));
        };
        if manifest.format != FORMAT {
            return refused(format!(
                "the archive in {shown} was written by reelshift {} in a layout that this version does not \
                 know: use that version",
                manifest.reelshift
            ));
        }
        if !manifest.complete {
            return refused(format!(
                "the archive in {shown} is not complete: its rollback was interrupted before anything was \
                 undone, so the database still holds everything"
            ));
        }
        for table in &manifest.tables {
            let rows: u64 = table.files.iter().map(|file| file.rows).sum();
            let key = table.columns.first().map(String::as_str);
            if rows != table.rows || key != Some("id") {
                return Err(ArchiveError::damaged(&directory.join(NAME), "it contradicts itself"));
            }
            for listed in &table.files {
                let path = directory.join(&listed.name);
                if !is_file_name(&listed.name) {
                    return Err(ArchiveError::damaged(
                        &path,
                        "an archive has no file of such a name",
                    ));
                }
                file::check(&path, listed)?;
            }
        }
        Ok(Self { directory: directory.to_owned(), manifest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_an_archive_are_touched() {
        assert!(is_file_name(&file_name(ArchivedTable::Videos, 1)));
        assert!(is_file_name("processing_error_log.123456.jsonl.gz"));
        for other in [
            "videos.jsonl.gz",
            "videos.0000a.jsonl.gz",
            "../videos.00001.jsonl.gz",
            "notes.txt",
            "",
        ] {
            assert!(!is_file_name(other), "{other}");
        }
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let said = Archive::open(directory.path()).expect_err("it is empty").to_string();
        assert!(said.contains("no manifest.json"), "{said}");
        let time = DateTime::from_timestamp(0, 0).expect("a time");
        let mut manifest = Manifest::new(Uuid::nil(), "SQLite 3".to_owned(), time);
        manifest.save(directory.path()).expect("saved");
        let said = Archive::open(directory.path()).expect_err("incomplete").to_string();
        assert!(said.contains("not complete"), "{said}");
        manifest.complete = true;
        manifest.tables.push(TableManifest {
            table: ArchivedTable::Videos,
            columns: vec!["id".to_owned()],
            rows: 0,
            files: vec![ArchivedFile {
                name: "../x".to_owned(),
                rows: 0,
                bytes: 0,
                sha256: String::new(),
            }],
        });
        manifest.save(directory.path()).expect("saved");
        let said = Archive::open(directory.path()).expect_err("a file elsewhere").to_string();
        assert!(said.contains("no file of such a name"), "{said}");
    }
}
