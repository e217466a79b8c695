//! `hash`: prints what `sha256sum` prints, with the engine that the workers hash with.

mod objects;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use anyhow::Result;
use reelshift_media::sha256::Backend;
use reelshift_media::{
    Checkpoint, Engine, EngineOptions, FileHash, HashOrigin, Job, MediaError, Observer,
    hash_stream, plain,
};
use serde_json::json;

use self::objects::Buckets;

use crate::args::HashArgs;
use crate::context::Context;
use crate::exit::Outcome;
use crate::style::plural;

/// Threads for each processor at most, where the disk is what is waited for.
const THREADS_A_PROCESSOR: usize = 4;

pub async fn run(context: &Context, args: &HashArgs) -> Result<Outcome> {
    let backend = args.backend.choose()?;
    backend.self_test()?;
    let mut paths = args.paths.clone();
    if paths.is_empty() {
        paths.push("-".into());
    }
    let trusted = context.trusted_checksums(&args.checksums)?;
    let buckets = Buckets::open(&paths, trusted).await?;
    let out = Output { trusts: trusted.is_some(), ..Output::new(context.json) };
    tokio::task::spawn_blocking(move || hash(backend, &paths, &buckets, out)).await?
}

/// The place of a path on the command line, and what came of it.
type Hashed = (usize, Result<FileHash, MediaError>);

struct Place {
    number: usize,
    tell: Sender<Hashed>,
}

impl Observer for Place {
    fn progress(&mut self, _: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn checkpoint(&mut self, _: Checkpoint) {}

    fn done(&mut self, result: Result<FileHash, MediaError>) {
        // The printing end has gone only if standard output has.
        self.tell.send((self.number, result)).ok();
    }
}

fn told_plainly(error: MediaError) -> String {
    match error {
        MediaError::Missing { source, .. }
        | MediaError::NotReadable { source, .. }
        | MediaError::Io { source, .. } => plain(source),
        error => error.to_string(),
    }
}

fn hash(
    backend: Backend,
    paths: &[OsString],
    buckets: &Buckets,
    mut out: Output,
) -> Result<Outcome> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let engine = Engine::start(EngineOptions {
        backend,
        threads: processors.min(paths.len()),
        most_threads: (processors * THREADS_A_PROCESSOR).min(paths.len()),
        checkpoint_every: Duration::MAX,
        stall_timeout: Duration::MAX,
    })?;
    let (tell, told) = channel();
    let (input, files): (Vec<usize>, Vec<usize>) =
        largest_first(paths).into_iter().partition(|&number| paths[number] == "-");
    engine.submit(files.into_iter().map(|number| {
        let place = Place { number, tell: tell.clone() };
        match buckets.of(&paths[number]) {
            Some((root, url)) => root.job(url, None, place),
            None => Job::plain(Path::new(&paths[number]), place),
        }
    }));
    for number in input {
        let error = MediaError::NotRegular { path: "-".to_owned(), kind: "standard input" };
        tell.send((number, Err(error)))?;
    }
    drop(tell);
    // In the order of the command line, each as soon as those before it are there.
    let mut early = BTreeMap::new();
    let mut next = 0;
    let mut told = Told::new(told);
    while let Some((number, result)) = told.next(&mut out) {
        // Nothing but the output comes of this command.
        if !crate::output::is_open() {
            break;
        }
        early.insert(number, result);
        while let Some(result) = early.remove(&next) {
            let result = match result {
                Err(MediaError::NotRegular { .. }) => {
                    out.flush();
                    stream(&backend, &paths[next])
                }
                result => result.map_err(told_plainly),
            };
            out.print(&paths[next], result)?;
            next += 1;
        }
    }
    out.finish()
}

/// What came of files, as the hashing threads tell it. A receiver that sleeps is woken by a
/// system call for each small file; so this one looks, ever more rarely.
struct Told {
    files: Receiver<Hashed>,
    pause: Duration,
}

impl Told {
    const fn new(files: Receiver<Hashed>) -> Self {
        Self { files, pause: LEAST_PAUSE }
    }

    /// What came of another file; what can be printed is, where that takes a while.
    fn next(&mut self, out: &mut Output) -> Option<Hashed> {
        let began = Instant::now();
        loop {
            match self.files.try_recv() {
                Ok(hashed) => {
                    self.pause = LEAST_PAUSE;
                    return Some(hashed);
                }
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => {}
            }
            if began.elapsed() >= SOON {
                out.flush();
                return self.files.recv().ok();
            }
            std::thread::sleep(self.pause);
            self.pause = (self.pause * 2).min(MOST_PAUSE);
        }
    }
}

/// Files of which the sizes are looked at: of more, the last one is a small part of all.
const FILES_TO_SORT: usize = 4_096;

/// The order to hash in: a large file that comes last is read with nothing beside it.
fn largest_first(paths: &[OsString]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..paths.len()).collect();
    if paths.len() <= FILES_TO_SORT {
        let size = |&n: &usize| std::fs::metadata(&paths[n]).map_or(0, |found| found.len());
        order.sort_by_cached_key(|n| std::cmp::Reverse(size(n)));
    }
    order
}

/// Hashes what is no regular file, when its turn to be printed has come.
fn stream(backend: &Backend, path: &OsString) -> Result<FileHash, String> {
    if path == "-" {
        return hash_stream(backend, std::io::stdin().lock()).map_err(plain);
    }
    let opened = std::fs::File::open(path).and_then(|file| hash_stream(backend, file));
    opened.map_err(plain)
}

/// Lines are written when so many bytes of them are there, when no other file is done for
/// [`SOON`], and when nothing is left to print: many small files need few system calls, and
/// whoever watches sees each line as it comes.
const LINES: usize = 32 << 10;
const SOON: Duration = Duration::from_millis(50);
/// Between two looks at what came of files: short for a single small file, long enough that
/// many small files are printed together.
const LEAST_PAUSE: Duration = Duration::from_micros(100);
const MOST_PAUSE: Duration = Duration::from_millis(2);

#[derive(Default)]
struct Output {
    json: bool,
    lines: Vec<u8>,
    documents: Vec<serde_json::Value>,
    failed: bool,
    /// Whether stored checksums are trusted. If so, the last line counts them.
    trusts: bool,
    hashes: usize,
    from_checksums: usize,
    verified: usize,
}

impl Output {
    fn new(json: bool) -> Self {
        Self { json, ..Self::default() }
    }

    fn print(&mut self, path: &OsString, result: Result<FileHash, String>) -> Result<()> {
        let shown = path.to_string_lossy();
        if let Ok(hash) = &result {
            self.hashes += 1;
            self.from_checksums += usize::from(hash.origin == HashOrigin::StoredChecksum);
            self.verified += usize::from(hash.origin == HashOrigin::Verified);
        }
        if self.json {
            self.failed |= result.is_err();
            self.documents.push(match result {
                Ok(hash) => {
                    let mut document =
                        json!({ "path": shown, "sha256": hash.to_hex(), "bytes": hash.bytes });
                    if let Some(checksum) = checksum_word(hash.origin) {
                        document["stored_checksum"] = checksum.into();
                    }
                    document
                }
                Err(error) => json!({ "path": shown, "error": error }),
            });
            return Ok(());
        }
        match result {
            Ok(hash) => {
                self.lines.extend(line(&hash.to_hex(), path.as_bytes()));
                self.lines.push(b'\n');
                if self.lines.len() >= LINES {
                    self.flush();
                }
            }
            Err(error) => {
                self.failed = true;
                crate::output::say_error!("reelshift: {shown}: {error}");
            }
        }
        Ok(())
    }

    fn flush(&mut self) {
        crate::output::raw(&std::mem::take(&mut self.lines));
    }

    fn finish(mut self) -> Result<Outcome> {
        self.flush();
        if self.json {
            crate::output::json(&serde_json::to_string_pretty(&self.documents)?);
        }
        if self.trusts {
            crate::output::note!(
                "reelshift: {} of {} by stored checksums, {} verified",
                self.from_checksums,
                plural(self.hashes as u64, "hash", "hashes"),
                self.verified
            );
        }
        Ok(if self.failed { Outcome::Failed } else { Outcome::Done })
    }
}

/// How a stored checksum was used; `None` where there was none or it was not asked for.
const fn checksum_word(origin: HashOrigin) -> Option<&'static str> {
    match origin {
        HashOrigin::Read => None,
        HashOrigin::Verified => Some("verified"),
        HashOrigin::StoredChecksum => Some("trusted"),
    }
}

/// A line of `sha256sum`: a name with a backslash, line feed or carriage return is escaped,
/// and a backslash before the hash says so.
fn line(hash: &str, path: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(path.len());
    for &byte in path {
        match byte {
            b'\\' => name.extend(b"\\\\"),
            b'\n' => name.extend(b"\\n"),
            b'\r' => name.extend(b"\\r"),
            byte => name.push(byte),
        }
    }
    let mark: &[u8] = if name.len() > path.len() { b"\\" } else { b"" };
    [mark, hash.as_bytes(), b"  ", name.as_slice()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_are_escaped_as_by_sha256sum() {
        let cases: [(&[u8], &[u8]); 5] = [
            (b"a b", b"00  a b"),
            (b"a\\b", b"\\00  a\\\\b"),
            (b"a\nb", b"\\00  a\\nb"),
            (b"a\rb", b"\\00  a\\rb"),
            (b"\xff\xfe", b"00  \xff\xfe"),
        ];
        for (name, expected) in cases {
            assert_eq!(line("00", name), expected);
        }
    }
}
