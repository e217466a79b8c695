//! Where video files are: a directory, or a bucket.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::bucket::Bucket;
use crate::checkpoint::Checkpoint;
use crate::checksum::VerifySample;
use crate::directory::Directory;
use crate::error::MediaError;
use crate::gang::{Gang, Step};
use crate::hung::HungRead;
use crate::job::Job;
use crate::observer::{FileHash, Observer};
use crate::provider::BucketUrl;
use crate::sha256::Backend;
use crate::source::Source;

/// A directory that does not open for so long is that of a dead mount.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);

/// How a root is read.
#[derive(Debug, Clone, Copy)]
pub struct RootOptions {
    /// With it, the SHA-256 that S3 keeps with a whole object is taken for its hash, and the
    /// object is not read unless it is of this sample.
    pub verify: Option<VerifySample>,
    /// An object about which the store has been silent for this long is given up.
    pub stall_timeout: Duration,
}

impl Default for RootOptions {
    fn default() -> Self {
        Self { verify: None, stall_timeout: Duration::from_secs(30) }
    }
}

/// Where video files are. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MediaRoot(Place);

#[derive(Debug, Clone)]
enum Place {
    Directory(Arc<Directory>),
    Bucket(Arc<Bucket>),
}

impl MediaRoot {
    /// Opens a directory as media root.
    ///
    /// # Errors
    /// [`MediaError::BadRoot`] if it does not exist, is not a directory, or cannot be
    /// opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, MediaError> {
        Ok(Self(Place::Directory(Arc::new(Directory::open(path.as_ref(), None)?))))
    }

    /// Opens a directory, or `s3://BUCKET/PREFIX` and the like (`gs`, `az`), as media root.
    /// `prefix` is what absolute paths of the database begin with where the platform sees
    /// the root under another name. Objects are fetched by the runtime that this is called
    /// in.
    ///
    /// # Errors
    /// [`MediaError::BadRoot`] as by [`Self::open`], or if the URL is of no known kind, or
    /// the bucket cannot be listed or has no object below the prefix.
    pub async fn at(
        location: &Path,
        prefix: Option<&Path>,
        options: RootOptions,
    ) -> Result<Self, MediaError> {
        match BucketUrl::parse(location.to_str().unwrap_or_default()) {
            Some(url) => {
                let bad = |source| MediaError::BadRoot { path: location.to_owned(), source };
                let prefix = prefix.and_then(Path::to_str);
                let bucket = Bucket::connect(url.map_err(bad)?, prefix, options).await?;
                Ok(Self(Place::Bucket(Arc::new(bucket))))
            }
            None => {
                let directory = open_in_time(location, prefix).await?;
                Ok(Self(Place::Directory(Arc::new(directory))))
            }
        }
    }

    /// The objects about which the store has been silent for at least `least`. A directory has
    /// none: its reads are the engine's.
    #[must_use]
    pub fn silent_reads(&self, least: Duration) -> Vec<HungRead> {
        match &self.0 {
            Place::Directory(_) => Vec::new(),
            Place::Bucket(bucket) => bucket.silences.reads(least),
        }
    }

    /// Its name, for messages.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.0 {
            Place::Directory(directory) => directory.name().to_string(),
            Place::Bucket(bucket) => bucket.url.clone(),
        }
    }

    /// Whether stored checksums are asked for: of S3 only.
    #[must_use]
    pub fn trusts_checksums(&self) -> bool {
        matches!(&self.0, Place::Bucket(bucket) if bucket.checksums.is_some())
    }

    #[cfg(test)]
    pub(crate) fn of(bucket: Bucket) -> Self {
        Self(Place::Bucket(Arc::new(bucket)))
    }

    /// The file that `file_path` names, to be hashed: relative to the root, or absolute
    /// and below it. Goes on from `resume` if that is of the file's present content.
    pub fn job<O: Observer>(
        &self,
        file_path: &str,
        resume: Option<Checkpoint>,
        observer: O,
    ) -> Job<O> {
        let (place, path) = (self.0.clone(), file_path.to_owned());
        Job::new(file_path, resume, observer, move |resume| {
            let path = path.clone();
            Ok(match &place {
                Place::Directory(directory) => {
                    Box::new(Arc::clone(directory).source(path)?) as Box<dyn Source>
                }
                Place::Bucket(bucket) => Box::new(Arc::clone(bucket).source(path, resume)?),
            })
        })
    }

    /// Hashes one file on this thread. `progress` is told how many bytes more were hashed
    /// and can stop the work.
    ///
    /// # Errors
    /// Every variant of [`MediaError`]. A file that changes while it is read has no hash.
    pub fn hash(
        &self,
        file_path: &str,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<FileHash, MediaError> {
        let mut result = None;
        let mut gang = Gang::new(Backend::fastest(), Duration::MAX);
        gang.add(self.job(file_path, None, Alone { progress, result: &mut result }));
        loop {
            match gang.step() {
                Step::Worked => {}
                Step::Waiting => std::thread::park(),
                Step::Resting(rest) => std::thread::park_timeout(rest),
                Step::Idle => break,
            }
        }
        drop(gang);
        result.expect("an idle gang has told what came of its files")
    }
}

/// Opens a directory on a thread of its own: that of a dead mount never returns.
async fn open_in_time(path: &Path, prefix: Option<&Path>) -> Result<Directory, MediaError> {
    let (tell, opened) = tokio::sync::oneshot::channel();
    let bad = |source| MediaError::BadRoot { path: path.to_owned(), source };
    let (location, prefix) = (path.to_owned(), prefix.map(Path::to_owned));
    let thread = std::thread::Builder::new().name("media-root".to_owned());
    // Nobody waits for the answer any more where it comes too late.
    let open = move || drop(tell.send(Directory::open(&location, prefix.as_deref())));
    thread.spawn(open).map_err(bad)?;
    match tokio::time::timeout(OPEN_TIMEOUT, opened).await {
        Ok(Ok(directory)) => directory,
        _ => Err(bad(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            "its storage does not answer, as where a network mount is dead",
        ))),
    }
}

struct Alone<'a> {
    progress: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
    result: &'a mut Option<Result<FileHash, MediaError>>,
}

impl Observer for Alone<'_> {
    fn progress(&mut self, bytes: u64) -> ControlFlow<()> {
        (self.progress)(bytes)
    }

    fn checkpoint(&mut self, _: Checkpoint) {}

    fn done(&mut self, result: Result<FileHash, MediaError>) {
        *self.result = Some(result);
    }
}
