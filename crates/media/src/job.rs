//! A file to be hashed, not opened yet.

use std::fs::{File, Metadata};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;

use crate::checkpoint::Checkpoint;
use crate::error::MediaError;
use crate::local::{LocalFile, Snapshot};
use crate::observer::Observer;
use crate::source::Source;

pub(crate) type Open =
    Arc<dyn Fn(Option<&Checkpoint>) -> Result<Box<dyn Source>, MediaError> + Send + Sync>;

/// A file to be hashed. It is opened by the thread that hashes it.
pub struct Job<O> {
    pub(crate) file_path: String,
    /// Called again where there were no descriptors left, or its thread was given up.
    pub(crate) open: Open,
    pub(crate) resume: Option<Checkpoint>,
    pub(crate) observer: O,
}

impl<O: Observer> Job<O> {
    pub(crate) fn new(
        file_path: &str,
        resume: Option<Checkpoint>,
        observer: O,
        open: impl Fn(Option<&Checkpoint>) -> Result<Box<dyn Source>, MediaError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self { file_path: file_path.to_owned(), open: Arc::new(open), resume, observer }
    }

    /// A regular file that was named by hand, anywhere. Symlinks are followed. What is no
    /// regular file is [`MediaError::NotRegular`].
    pub fn plain(path: &Path, observer: O) -> Self {
        let file_path = path.to_string_lossy().into_owned();
        let path: Arc<Path> = path.into();
        Self::new(&file_path.clone(), None, observer, move |_| {
            let failed = |source| MediaError::from_io(&file_path, source);
            // Opening never waits for the other end of a pipe.
            let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
            let regular = |found: Metadata| match found.is_file() {
                true => Ok(found),
                false => {
                    Err(MediaError::NotRegular { path: file_path.clone(), kind: "no regular file" })
                }
            };
            // A pipe that is opened and closed has lost what its writer had written.
            regular(std::fs::metadata(&path).map_err(failed)?)?;
            let file = File::options().read(true).custom_flags(nonblocking).open(&path);
            let file = file.map_err(failed)?;
            let found = regular(file.metadata().map_err(failed)?)?;
            let before = Snapshot::of(&found).map_err(failed)?;
            Ok(Box::new(LocalFile::new(file, file_path.clone(), None, before)))
        })
    }
}

impl<O: Observer> Job<O> {
    /// Tells the observer that the file could not be opened.
    pub(crate) fn refuse(mut self, error: MediaError) {
        self.observer.done(Err(error));
    }
}

impl<O> std::fmt::Debug for Job<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("file_path", &self.file_path)
            .field("resume", &self.resume)
            .finish_non_exhaustive()
    }
}
