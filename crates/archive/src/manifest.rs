//! `manifest.json`: what an archive holds, and the checks before anything is believed.

use std::io::{Read, Write};
use std::path::Path;

use chrono::{DateTime, Utc};
use reelshift_store::archive::{ArchivedTable, Column};
use reelshift_store::vitals::System;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::directory::Directory;
use crate::error::{ArchiveError, Result, at};
use crate::file;
use crate::platform::Platform;

const NAME: &str = "manifest.json";

/// Written while it is not whole yet.
const UNFINISHED: &str = "manifest.json.new";

/// A manifest of five thousand million rows is not longer.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

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
    pub system: System,
    /// Product and version of the server, for people.
    pub server: String,
    /// Whose rows these are.
    pub platform: Platform,
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
    pub columns: Vec<Column>,
    pub rows: u64,
    /// The bytes of the largest row in a statement ([`reelshift_store::archive::size`]).
    pub largest_row: u64,
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
    pub fn new(
        id: Uuid,
        (system, server): (System, String),
        platform: Platform,
        created_at: DateTime<Utc>,
    ) -> Self {
        let reelshift = env!("CARGO_PKG_VERSION").to_owned();
        Self {
            format: FORMAT,
            id,
            reelshift,
            system,
            server,
            platform,
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
    pub(crate) fn find(directory: &Directory) -> Result<Option<Self>> {
        let Some(file) = directory.read(NAME)? else { return Ok(None) };
        let path = directory.path(NAME);
        let mut text = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(at(&path))?;
        if text.len() as u64 > MAX_BYTES {
            return Err(ArchiveError::damaged(&path, "it is longer than any manifest"));
        }
        let manifest =
            serde_json::from_slice(&text).map_err(|error| ArchiveError::damaged(&path, error))?;
        Ok(Some(manifest))
    }

    /// Writes it beside the old one and then in its place: it is never half there.
    pub(crate) fn save(&self, directory: &Directory) -> Result<()> {
        let path = directory.path(UNFINISHED);
        let mut text =
            serde_json::to_vec_pretty(self).map_err(|error| ArchiveError::damaged(&path, error))?;
        text.push(b'\n');
        directory.remove(UNFINISHED)?;
        let mut file = directory.create(UNFINISHED)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(at(&path))?;
        directory.replace(UNFINISHED, NAME)
    }

    /// Whether the parts fit together, whoever wrote them.
    fn is_consistent(&self) -> bool {
        let mut tables: Vec<_> = self.tables.iter().map(|table| table.table).collect();
        tables.sort_unstable();
        tables.is_sorted_by(|a, b| a < b)
            && self.tables.iter().all(|table| {
                let rows =
                    table.files.iter().try_fold(0_u64, |sum, file| sum.checked_add(file.rows));
                let mut names: Vec<_> = table.columns.iter().map(|column| &column.name).collect();
                let key_is_first = names.first().is_some_and(|name| *name == "id");
                names.sort_unstable();
                key_is_first && names.is_sorted_by(|a, b| a < b) && rows == Some(table.rows)
            })
    }
}

/// Sees that `directory` holds nothing but regular files of an archive that nobody else can
/// change; without a manifest, none but one that was never whole.
///
/// # Errors
/// `Refused` where it holds anything else.
pub(crate) fn check_names(directory: &Directory, has_manifest: bool) -> Result<()> {
    for name in directory.names()? {
        let belongs = name == UNFINISHED || has_manifest && (name == NAME || is_file_name(&name));
        if !belongs {
            return Err(ArchiveError::Refused(format!(
                "{} is not empty: name an empty directory, or one that is still to be made",
                directory.shown()
            )));
        }
        directory.check(&name)?;
    }
    Ok(())
}

/// Removes the files of rows that an earlier, unfinished attempt left in `directory`.
pub(crate) fn clear(directory: &Directory) -> Result<()> {
    let names = directory.names()?;
    names.iter().filter(|name| is_file_name(name)).try_for_each(|name| directory.remove(name))
}

pub(crate) fn file_name(table: ArchivedTable, number: usize) -> String {
    format!("{}.{number:05}.jsonl.gz", table.into_str())
}

fn is_file_name(name: &str) -> bool {
    let of_table = |table: ArchivedTable| {
        let number =
            name.strip_prefix(table.into_str())?.strip_prefix('.')?.strip_suffix(".jsonl.gz")?;
        (number.len() >= 5 && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(())
    };
    ArchivedTable::ALL.iter().copied().any(|table| of_table(table).is_some())
}

/// An archive that can be restored from: complete, and every row as the manifest says.
#[derive(Debug)]
pub struct Archive {
    pub(crate) directory: Directory,
    pub manifest: Manifest,
}

impl Archive {
    /// Opens the archive in the directory at `path` and checks every file.
    ///
    /// # Errors
    /// `Refused` when there is none, an incomplete or unknown one, or one that others can
    /// change; `Damaged` naming the first file that is not as the manifest says.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let refused = |why: String| Err(ArchiveError::Refused(why));
        let none = || refused(format!("{shown} holds no archive: there is no manifest.json in it"));
        let Some(directory) = Directory::open(path)? else { return none() };
        let Some(manifest) = Manifest::find(&directory)? else { return none() };
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
        if !manifest.is_consistent() {
            return Err(ArchiveError::damaged(&directory.path(NAME), "it contradicts itself"));
        }
        for table in &manifest.tables {
            for listed in &table.files {
                if !is_file_name(&listed.name) {
                    let why = format!(
                        "it names {:?}, and an archive has no file of such a name",
                        listed.name
                    );
                    return Err(ArchiveError::damaged(&directory.path(NAME), why));
                }
                file::check(&directory, table, listed)?;
            }
        }
        Ok(Self { directory, manifest })
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
        let platform = Platform { since: time, place: "x.db".to_owned() };
        let mut manifest =
            Manifest::new(Uuid::nil(), (System::Sqlite, "SQLite 3".to_owned()), platform, time);
        let opened = Directory::open(directory.path()).expect("private").expect("there");
        manifest.save(&opened).expect("saved");
        let said = Archive::open(directory.path()).expect_err("incomplete").to_string();
        assert!(said.contains("not complete"), "{said}");
        manifest.complete = true;
        manifest.tables.push(TableManifest {
            table: ArchivedTable::Videos,
            columns: vec![Column { name: "id".to_owned(), declared: String::new() }],
            rows: 0,
            largest_row: 0,
            files: vec![ArchivedFile {
                name: "../x".to_owned(),
                rows: 0,
                bytes: 0,
                sha256: String::new(),
            }],
        });
        manifest.save(&opened).expect("saved");
        let said = Archive::open(directory.path()).expect_err("a file elsewhere").to_string();
        assert!(said.contains("no file of such a name"), "{said}");
    }
}
