//! Where video files are.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::Checkpoint;
use crate::directory::Directory;
use crate::error::MediaError;
use crate::gang::{FileHash, Gang, Observer, Step};
use crate::job::Job;
use crate::sha256::Backend;

/// Where video files are. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MediaRoot(Arc<Directory>);

impl MediaRoot {
    /// Opens a directory as media root.
    ///
    /// # Errors
    /// [`MediaError::BadRoot`] if it does not exist, is not a directory, or cannot be
    /// opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, MediaError> {
        Ok(Self(Arc::new(Directory::open(path.as_ref(), None)?)))
    }

    /// The file that `file_path` names, to be hashed: relative to the root, or absolute
    /// and below it. Goes on from `resume` if that is of the file's present content.
    pub fn job<O: Observer>(
        &self,
        file_path: &str,
        resume: Option<Checkpoint>,
        observer: O,
    ) -> Job<O> {
        let directory = Arc::clone(&self.0);
        let path = file_path.to_owned();
        Job::new(file_path, resume, observer, move || Ok(Box::new(directory.source(path)?)))
    }

    /// Hashes one file on this thread. `progress` is told how many bytes more were hashed
    /// and can stop the work.
    ///
    /// # Errors
    /// Every variant of [`MediaError`] but `BadRoot`. A file that changes while it is
    /// read has no hash.
    pub fn hash(
        &self,
        file_path: &str,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<FileHash, MediaError> {
        let mut result = None;
        let job = self.job(file_path, None, Alone { progress, result: &mut result });
        let mut gang = Gang::new(Backend::fastest(), Duration::MAX);
        gang.add(job.file_path, job.open, job.resume, job.observer);
        loop {
            match gang.step() {
                Step::Worked => {}
                Step::Waiting => std::thread::park(),
                Step::Idle => break,
            }
        }
        drop(gang);
        result.expect("an idle gang has told what came of its files")
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
