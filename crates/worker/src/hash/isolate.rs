//! A batch that keeps losing its workers: it is read with nothing beside it and some files at
//! a time, each time half as many, until the file that kills its reader stands alone.
//!
//! What the next worker knows of a lost one is how many files it was reading, which is written
//! down before they are read. They are the first in key order of those that are left, since
//! the hashes of all before them were written.

use reelshift_queue::AttemptEnd;
use reelshift_store::StoreError;
use reelshift_store::ledger::Claimed;
use reelshift_store::videos::{FailedItem, FileToHash};

use super::intake::InHand;
use super::reader::ResumePoints;
use super::results::Outcomes;
use super::{Attempt, Hash};
use crate::{bisect, classify};

/// Workers are lost for many reasons, a rollout of machines that are taken away among them:
/// three times the same batch is no chance.
pub(super) const LEAST_LOST_LEASES: u32 = 3;

/// What is left of the batch.
pub(super) struct Work {
    /// In key order.
    pub files: Vec<FileToHash>,
    pub left: ResumePoints,
    /// How many of the first were being read when the last worker was lost.
    pub alone_files: Option<u32>,
}

impl Hash {
    /// Reads a batch's files with nothing beside them.
    pub(super) async fn isolated(
        &self,
        attempt: &Attempt<'_>,
        in_hand: &mut InHand<'_>,
        work: Work,
    ) -> Result<(), AttemptEnd> {
        let batch = attempt.batch;
        let _alone = attempt.turn(self.reading.write()).await?;
        let Work { mut files, mut left, alone_files } = work;
        let at_once = match alone_files {
            Some(1) => {
                self.killed_its_reader(batch, files.remove(0)).await?;
                files.len()
            }
            Some(before) => before as usize,
            None => files.len(),
        };
        let at_once = at_once.div_ceil(2).max(1);
        tracing::warn!(
            batch = %batch.id, lost_leases = batch.lost_leases, at_once,
            "this batch has lost its workers: its files are read alone"
        );
        while !files.is_empty() {
            let rest = files.split_off(at_once.min(files.len()));
            self.record_alone(batch, u32::try_from(at_once).ok()).await?;
            self.pass(attempt, in_hand, files, &mut left).await?;
            files = rest;
        }
        Ok(())
    }

    async fn record_alone(&self, batch: &Claimed, files: Option<u32>) -> Result<(), AttemptEnd> {
        let failed = |error: StoreError| self.endings.database(batch, &error);
        self.endings.session.store().record_alone(batch.lease, files).await.map_err(failed)
    }

    /// Sets a file aside that was alone when its worker was lost.
    async fn killed_its_reader(&self, batch: &Claimed, file: FileToHash) -> Result<(), AttemptEnd> {
        let message = format!(
            "{} workers were lost while they read this batch, the last one while it read only \
             {:?}: look for processes that were killed or ran out of memory",
            batch.lost_leases, file.file_path
        );
        let meaning = classify::WORKER_LOST;
        let error = self.endings.recorder.message(batch, Some(&file.id), meaning, message);
        let item = FailedItem { video_id: file.id, error };
        bisect::record_on_span(&item);
        let mut outcomes = Outcomes::default();
        outcomes.results.failed.push(item);
        // First: whoever dies here must not put it on the file that comes next.
        self.record_alone(batch, None).await?;
        self.write(batch, &mut outcomes).await
    }
}
