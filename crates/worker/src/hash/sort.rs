//! What a file's end means: its hash, a failure that sets it aside, or work that is left.

use reelshift_media::{FileHash, HashOrigin, MediaError};
use reelshift_store::ErrorRecord;
use reelshift_store::ledger::Claimed;
use reelshift_store::videos::{FailedItem, FileToHash, HashedFile};

use super::Hash;
use super::results::Outcomes;
use crate::bisect;
use crate::classify::{self, Remedy};

/// A file that was read, or was not.
pub(super) struct Outcome {
    pub(super) file: FileToHash,
    pub(super) result: Result<FileHash, MediaError>,
}

/// Why a file of this pass is not done.
pub(super) enum Unfinished {
    Interrupted,
    Retry(Box<ErrorRecord>),
    /// No file can be read until a person has acted.
    CannotRead(Box<ErrorRecord>, Box<MediaError>),
}

impl Hash {
    /// Puts what came of a file where it belongs.
    pub(super) fn sort(
        &self,
        batch: &Claimed,
        outcome: Outcome,
        last_attempt: bool,
        outcomes: &mut Outcomes,
    ) -> Result<(), Unfinished> {
        let Outcome { file, result } = outcome;
        let results = &mut outcomes.results;
        let error = match result {
            Ok(hash) => {
                outcomes.tally.read += 1;
                if hash.resumed_at > 0 {
                    tracing::info!(
                        video = file.id,
                        from = hash.resumed_at,
                        bytes = hash.bytes,
                        "went on from a checkpoint of another attempt"
                    );
                }
                results.noticed.extend(self.size_mismatch(batch, &file, hash.bytes));
                results.noticed.extend((hash.bytes == 0).then(|| self.empty(batch, &file)));
                results.hashed.push(HashedFile {
                    id: file.id,
                    file_path: file.file_path,
                    file_size: file.file_size,
                    sha256: hash.to_hex(),
                    bytes: hash.bytes,
                    from_checksum: hash.origin == HashOrigin::StoredChecksum,
                });
                return Ok(());
            }
            Err(MediaError::Interrupted { .. }) => return Err(Unfinished::Interrupted),
            Err(error) => error,
        };
        let meaning = classify::media(&error);
        let code = error.code();
        let record = self.endings.recorder.failure(batch, Some(&file.id), meaning, &error, code);
        let set_aside = match meaning.remedy {
            Remedy::EndWorker => {
                return Err(Unfinished::CannotRead(Box::new(record), Box::new(error)));
            }
            Remedy::Quarantine => true,
            Remedy::RetryOnce => batch.attempts > 0 || last_attempt,
            _ => last_attempt && !classify::is_of_the_storage(meaning),
        };
        if set_aside {
            let item = FailedItem { video_id: file.id, error: record };
            if classify::tells_of_the_root(meaning) {
                outcomes.tally.refused += 1;
                outcomes.refused.push(item);
            } else {
                bisect::record_on_span(&item);
                results.failed.push(item);
            }
            Ok(())
        } else {
            Err(Unfinished::Retry(Box::new(record)))
        }
    }
}
