//! What came of a pass's files, and how it is written: many in one transaction, those whose
//! rows refuse apart.

use std::slice;
use std::time::Duration;

use futures::FutureExt as _;
use reelshift_media::{FileHash, HashOrigin};
use reelshift_plan::JobKind;
use reelshift_queue::AttemptEnd;
use reelshift_store::ledger::Claimed;
use reelshift_store::videos::{FailedItem, FileResults, FileToHash, PathNotUtf8};
use reelshift_store::{ErrorRecord, StoreError};
use reelshift_telemetry::metrics;
use tokio::time::Instant;

use super::Hash;
use super::root_trust::Tally;
use crate::bisect::{self, Halves, failed_item};
use crate::classify;
use crate::ending::blames_an_item;
use crate::give_way;

/// Results are written when this many are in, or after [`MOST_WAIT`]: as many as a batch of
/// small files has, since a write costs as much as hashing some of these.
const MOST_RESULTS: usize = 64;
/// What a crash costs at most beside the files being read.
const MOST_WAIT: Duration = Duration::from_millis(500);

/// What came of the files of one pass, until it is written.
#[derive(Default)]
pub(super) struct Outcomes {
    pub(super) results: FileResults,
    /// Missing or unreadable files: set aside once it is known that it is not the root.
    pub(super) refused: Vec<FailedItem>,
    pub(super) tally: Tally,
    write_at: WriteAt,
}

/// When what there is is written, whatever else the batch waits for.
struct WriteAt(Instant);

impl Default for WriteAt {
    fn default() -> Self {
        Self(Instant::now() + MOST_WAIT)
    }
}

impl Outcomes {
    /// When there is something to be written by time.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.results_len() > 0).then_some(self.write_at.0)
    }

    pub(super) fn is_due(&self) -> bool {
        self.results_len() >= MOST_RESULTS || self.due().is_some_and(|due| due <= Instant::now())
    }

    fn results_len(&self) -> usize {
        let FileResults { hashed, failed, noticed } = &self.results;
        hashed.len() + failed.len() + noticed.len()
    }

    /// Files that are missing are missing.
    pub(super) fn accept_refusals(&mut self) {
        self.refused.iter().for_each(bisect::record_on_span);
        self.results.failed.append(&mut self.refused);
    }
}

impl Hash {
    /// Sets aside what has no path that could be opened.
    pub(super) async fn not_utf8(
        &self,
        batch: &Claimed,
        paths: Vec<PathNotUtf8>,
    ) -> Result<(), AttemptEnd> {
        let mut outcomes = Outcomes::default();
        for PathNotUtf8 { id, shown } in paths {
            let message = format!("the file_path {shown:?} of this video is not UTF-8");
            let recorder = &self.endings.recorder;
            let error = recorder.message(batch, Some(&id), classify::PATH_NOT_UTF8, message);
            let item = FailedItem { video_id: id, error };
            bisect::record_on_span(&item);
            outcomes.results.failed.push(item);
        }
        self.write(batch, &mut outcomes).await
    }

    /// Counts a hash that comes from a stored checksum, or agrees with one. A file that was
    /// not read counts for the pace all the same.
    pub(super) fn count_checksum(&self, hash: &FileHash) {
        match hash.origin {
            HashOrigin::Read => {}
            HashOrigin::Verified => metrics::stored_checksum("verified"),
            HashOrigin::StoredChecksum => {
                metrics::stored_checksum("trusted");
                self.endings.session.activity().add_bytes(JobKind::Hash, hash.bytes);
            }
        }
    }

    /// The size that the row says, where the file has another. A 32-bit column cannot hold
    /// the size of a file of 2 GiB or more; that is said as well.
    pub(super) fn size_mismatch(
        &self,
        batch: &Claimed,
        file: &FileToHash,
        bytes: u64,
    ) -> Option<ErrorRecord> {
        let said = file.file_size?;
        if u64::try_from(said) == Ok(bytes) {
            return None;
        }
        let path = &file.file_path;
        let message = format!("the file {path:?} has {bytes} bytes, its row says {said}");
        Some(self.endings.recorder.message(batch, Some(&file.id), classify::SIZE_MISMATCH, message))
    }

    pub(super) fn empty(&self, batch: &Claimed, file: &FileToHash) -> ErrorRecord {
        let message = format!("the file {:?} has no bytes", file.file_path);
        self.endings.recorder.message(batch, Some(&file.id), classify::FILE_EMPTY, message)
    }

    /// Writes what came of the files so far.
    pub(super) async fn write(
        &self,
        batch: &Claimed,
        outcomes: &mut Outcomes,
    ) -> Result<(), AttemptEnd> {
        outcomes.write_at = WriteAt::default();
        if outcomes.results_len() == 0 {
            return Ok(());
        }
        let results = std::mem::take(&mut outcomes.results);
        match self.record(batch, &results, give_way::briefly()).await {
            Err(error) if needs_parting(batch, &error) => self.write_apart(batch, results).await,
            written => written.map_err(|error| self.endings.database(batch, &error)),
        }
    }

    async fn record(
        &self,
        batch: &Claimed,
        results: &FileResults,
        end: Instant,
    ) -> Result<(), StoreError> {
        let attempt = || {
            let turn = self.turns.acquire();
            async move {
                let _turn = turn.await;
                self.endings.session.store().record_files(batch.lease, results).await
            }
            .boxed()
        };
        let written = give_way::until_free(end, attempt).await?;
        self.endings.session.activity().add_rows(JobKind::Hash, written);
        results.failed.iter().for_each(|item| bisect::count_quarantined(batch, item));
        Ok(())
    }

    /// The same where the row of some video refuses its hash, which sets that video aside, or is
    /// held by the application: that one is written when the others are.
    async fn write_apart(&self, batch: &Claimed, results: FileResults) -> Result<(), AttemptEnd> {
        let FileResults { hashed, failed, noticed } = results;
        let ended = |error| self.endings.database(batch, &error);
        let (mut halves, mut held) = (Halves::of(&hashed), Vec::new());
        while let Some(files) = halves.next() {
            let some = FileResults { hashed: files.to_vec(), ..FileResults::default() };
            let error = match self.record(batch, &some, Instant::now()).await {
                Ok(()) => continue,
                Err(error) if needs_parting(batch, &error) => error,
                Err(error) => return Err(ended(error)),
            };
            if let Some(file) = halves.split(files) {
                if !blames_an_item(batch, &error) {
                    held.push(some);
                    continue;
                }
                let item = failed_item(&self.endings, batch, &file.id, &error);
                bisect::record_on_span(&item);
                let store = self.endings.session.store();
                let items = slice::from_ref(&item);
                give_way::until_free(give_way::patiently(), || store.set_aside(batch.lease, items))
                    .await
                    .map_err(ended)?;
                bisect::count_quarantined(batch, &item);
            }
        }
        let rest = FileResults { hashed: Vec::new(), failed, noticed };
        self.record(batch, &rest, give_way::patiently()).await.map_err(ended)?;
        let end = give_way::patiently();
        for one in &held {
            self.record(batch, one, end).await.map_err(ended)?;
        }
        Ok(())
    }
}

/// Whether some rows of a write keep the others from being written.
fn needs_parting(batch: &Claimed, error: &StoreError) -> bool {
    blames_an_item(batch, error) || matches!(error, StoreError::Locked { .. })
}
