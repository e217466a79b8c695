//! One file of rows: gzip over lines of JSON, with its SHA-256.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::PathBuf;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use reelshift_store::archive::{PageLimit, Row, RowOf, size};
use ring::digest::{Context, SHA256};
use serde::de::DeserializeSeed;

use crate::directory::Directory;
use crate::error::{ArchiveError, Result, at};
use crate::manifest::{ArchivedFile, TableManifest};

/// A line that is longer is neither written nor read: 64 MiB of bytes, MySQL's default
/// `max_allowed_packet`, are 128 MiB of hex digits.
const MAX_LINE_BYTES: u64 = 144 * 1024 * 1024;

/// Counts and hashes what passes.
struct Hashing<W> {
    inner: W,
    digest: Context,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.digest.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// A file that is being written.
pub(crate) struct RowWriter {
    path: PathBuf,
    name: String,
    encoder: GzEncoder<Hashing<BufWriter<File>>>,
    pub(crate) rows: u64,
}

impl RowWriter {
    pub(crate) fn create(directory: &Directory, name: String) -> Result<Self> {
        let inner = BufWriter::new(directory.create(&name)?);
        let hashing = Hashing { inner, digest: Context::new(&SHA256), bytes: 0 };
        let encoder = GzEncoder::new(hashing, Compression::default());
        Ok(Self { path: directory.path(&name), name, encoder, rows: 0 })
    }

    pub(crate) fn push(&mut self, row: &Row) -> Result<()> {
        let mut line =
            serde_json::to_vec(row).map_err(|error| ArchiveError::damaged(&self.path, error))?;
        line.push(b'\n');
        if line.len() as u64 > MAX_LINE_BYTES {
            return Err(ArchiveError::Refused(format!(
                "the row with id {} takes more than {} MiB in the archive, which no archive holds: shorten or \
                 remove it, nothing has been undone",
                row[0].text().unwrap_or_default(),
                MAX_LINE_BYTES >> 20
            )));
        }
        self.encoder.write_all(&line).map_err(at(&self.path))?;
        self.rows += 1;
        Ok(())
    }

    /// Ends the file and sees it onto the disk.
    pub(crate) fn finish(self) -> Result<ArchivedFile> {
        let Self { path, name, encoder, rows } = self;
        let hashing = encoder.finish().map_err(at(&path))?;
        let file = hashing.inner.into_inner().map_err(|error| at(&path)(error.into_error()))?;
        file.sync_all().map_err(at(&path))?;
        Ok(ArchivedFile {
            name,
            rows,
            bytes: hashing.bytes,
            sha256: hex::encode(hashing.digest.finish()),
        })
    }
}

/// Checks a file's length and checksum, and that its rows are what the manifest says of the
/// table: once restoring has begun it is too late.
pub(crate) fn check(
    directory: &Directory,
    table: &TableManifest,
    listed: &ArchivedFile,
) -> Result<()> {
    let path = directory.path(&listed.name);
    let mut file = open(directory, listed)?;
    let length = file.metadata().map_err(at(&path))?.len();
    let mut digest = Context::new(&SHA256);
    // Of a file of another length nothing is read.
    if length == listed.bytes {
        let mut buffer = vec![0; 1024 * 1024];
        loop {
            match file.read(&mut buffer).map_err(at(&path))? {
                0 => break,
                read => digest.update(&buffer[..read]),
            }
        }
    }
    if length != listed.bytes || hex::encode(digest.finish()) != listed.sha256 {
        return Err(ArchiveError::damaged(
            &path,
            "its length or SHA-256 is not the manifest's: it was changed or cut off",
        ));
    }
    let mut reader = RowReader::open(directory, listed, table.columns.len())?;
    while let Some(row) = reader.read()? {
        if row[0].text().is_none() || size(&row) > table.largest_row {
            return Err(ArchiveError::damaged(
                &path,
                "a row has no id, or is larger than the manifest says",
            ));
        }
    }
    Ok(())
}

fn open(directory: &Directory, listed: &ArchivedFile) -> Result<File> {
    let missing = || ArchiveError::damaged(&directory.path(&listed.name), "it is missing");
    directory.read(&listed.name)?.ok_or_else(missing)
}

/// The rows of a file, in order.
pub(crate) struct RowReader {
    path: PathBuf,
    columns: usize,
    /// That are still to come, by the manifest.
    left: u64,
    lines: BufReader<GzDecoder<BufReader<File>>>,
    /// Read, but beyond the last page.
    next: Option<Row>,
}

impl RowReader {
    pub(crate) fn open(
        directory: &Directory,
        listed: &ArchivedFile,
        columns: usize,
    ) -> Result<Self> {
        let file = open(directory, listed)?;
        Ok(Self {
            path: directory.path(&listed.name),
            columns,
            left: listed.rows,
            lines: BufReader::new(GzDecoder::new(BufReader::new(file))),
            next: None,
        })
    }

    /// As many rows as `limit` allows, and at least one; none at the end.
    pub(crate) fn page(&mut self, limit: PageLimit) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        while rows.len() < limit.rows as usize {
            let next = match self.next.take() {
                Some(row) => Some(row),
                None => self.read()?,
            };
            let Some(row) = next else { break };
            bytes += size(&row);
            if bytes > limit.bytes && !rows.is_empty() {
                self.next = Some(row);
                break;
            }
            rows.push(row);
        }
        Ok(rows)
    }

    fn read(&mut self) -> Result<Option<Row>> {
        let damaged = |why: &dyn std::fmt::Display| Err(ArchiveError::damaged(&self.path, why));
        let mut line = Vec::new();
        let mut bounded = (&mut self.lines).take(MAX_LINE_BYTES);
        if let Err(error) = bounded.read_until(b'\n', &mut line) {
            return damaged(&error);
        }
        match (line.last(), self.left) {
            (None, 0) => return Ok(None),
            (None, _) => return damaged(&"it holds fewer rows than the manifest says"),
            (Some(_), 0) => return damaged(&"it holds more rows than the manifest says"),
            (Some(b'\n'), _) => {}
            (Some(_), _) => return damaged(&"a line is cut off, or longer than that of any row"),
        }
        self.left -= 1;
        let mut json = serde_json::Deserializer::from_slice(&line);
        let row = RowOf(self.columns).deserialize(&mut json);
        match row.and_then(|row| json.end().map(|()| row)) {
            Ok(row) => Ok(Some(row)),
            Err(error) => damaged(&error),
        }
    }
}
