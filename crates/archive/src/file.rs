//! One file of rows: gzip over lines of JSON, with its SHA-256.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use reelshift_store::archive::Row;
use ring::digest::{Context, SHA256};

use crate::error::{ArchiveError, Result, at};
use crate::manifest::ArchivedFile;

/// Far above any row: a line that is longer is no row.
const LONGEST_LINE: u64 = 256 * 1024 * 1024;

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
    pub(crate) fn create(directory: &Path, name: String) -> Result<Self> {
        let path = directory.join(&name);
        let file = File::options().write(true).create_new(true).open(&path).map_err(at(&path))?;
        let inner = BufWriter::new(file);
        let hashing = Hashing { inner, digest: Context::new(&SHA256), bytes: 0 };
        Ok(Self { path, name, encoder: GzEncoder::new(hashing, Compression::default()), rows: 0 })
    }

    pub(crate) fn push(&mut self, row: &Row) -> Result<()> {
        let mut line =
            serde_json::to_vec(row).map_err(|error| ArchiveError::damaged(&self.path, error))?;
        line.push(b'\n');
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

/// Checks a file's length and checksum.
pub(crate) fn check(path: &Path, expected: &ArchivedFile) -> Result<()> {
    let mut file = File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => ArchiveError::damaged(path, "it is missing"),
        _ => at(path)(error),
    })?;
    let mut digest = Context::new(&SHA256);
    let mut buffer = vec![0; 1024 * 1024];
    loop {
        match file.read(&mut buffer).map_err(at(path))? {
            0 => break,
            read => digest.update(&buffer[..read]),
        }
    }
    if hex::encode(digest.finish()) == expected.sha256 {
        Ok(())
    } else {
        Err(ArchiveError::damaged(
            path,
            "its SHA-256 is not the manifest's: it was changed or cut off",
        ))
    }
}

/// The rows of a file, in order.
pub(crate) struct RowReader {
    path: PathBuf,
    columns: usize,
    lines: BufReader<GzDecoder<BufReader<File>>>,
}

impl RowReader {
    pub(crate) fn open(path: &Path, columns: usize) -> Result<Self> {
        let file = File::open(path).map_err(at(path))?;
        let lines = BufReader::new(GzDecoder::new(BufReader::new(file)));
        Ok(Self { path: path.to_owned(), columns, lines })
    }

    /// Up to `limit` rows; none at the end.
    pub(crate) fn page(&mut self, limit: usize) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        let mut line = Vec::new();
        while rows.len() < limit {
            line.clear();
            let mut bounded = (&mut self.lines).take(LONGEST_LINE);
            let read = bounded.read_until(b'\n', &mut line);
            if read.map_err(|error| ArchiveError::damaged(&self.path, error))? == 0 {
                break;
            }
            let row: Row = serde_json::from_slice(&line)
                .map_err(|error| ArchiveError::damaged(&self.path, error))?;
            if row.len() != self.columns {
                return Err(ArchiveError::damaged(
                    &self.path,
                    "a row has another number of values than columns",
                ));
            }
            rows.push(row);
        }
        Ok(rows)
    }
}
