//! Whether this worker's media root is to be believed where files are missing: a volume that
//! is not mounted, or credentials that may list and not read, make every file look lost.
//!
//! A worker that does not find most files of a batch gives the batch back and ends. The files
//! are set aside once another worker, with a root of its own, does not find them either. A worker
//! that is in doubt, or has not read a file yet, looks for files that were hashed: where its root
//! has none of them it has gone, for several workers of a machine at once, and it takes more of
//! them that say so.

use std::sync::{Mutex, MutexGuard, PoisonError};

use reelshift_queue::{AttemptEnd, FatalError};
use reelshift_store::StoreError;
use reelshift_store::ledger::{Claimed, RootSuspicion};

use super::Hash;
use super::results::Outcomes;
use crate::classify;

/// Files that have to be missing before the root is doubted: of one batch, or one after
/// another where batches are smaller. Fewer may be a directory that somebody removed.
const LEAST_FILES: u64 = 20;

/// So many workers give a batch back before one that sees no other file takes its files as
/// missing. A batch that is given back is the next to be claimed: while there are workers
/// that find the files, they have it long before.
const ENOUGH_SUSPICIONS: u32 = 3;

/// As [`ENOUGH_SUSPICIONS`], of workers below whose root nothing is that was hashed: more than one
/// machine has, which all lose a share at once.
const ENOUGH_BELOW_NOTHING: u32 = 20;

/// Files that others have hashed, of which one must be there.
const WITNESSES: usize = 8;

/// What became of a batch's files, as far as it tells about the root.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub read: u64,
    /// Missing or not readable.
    pub refused: u64,
}

impl Tally {
    /// Whether most files of a batch of `files` were read: nothing more is to be doubted.
    pub(super) const fn clears(self, files: u64) -> bool {
        self.read * 2 >= files
    }
}

/// What this worker has found below its root since it started.
#[derive(Debug, Default)]
pub(super) struct RootTrust(Mutex<Found>);

#[derive(Debug, Default)]
struct Found {
    read_any: bool,
    /// Files refused since the last that was read.
    refused_in_a_row: u64,
    /// Another worker has found the same.
    confirmed: bool,
}

impl RootTrust {
    /// Whether this worker has no evidence yet that the root is the right one.
    fn is_untried(&self) -> bool {
        let found = self.found();
        !found.read_any && !found.confirmed
    }

    /// A file of the run is where it should be.
    fn found_one(&self) {
        self.found().read_any = true;
    }

    /// Counts a batch's files; whether the root is in doubt because of them.
    pub(super) fn doubts(&self, tally: Tally) -> bool {
        let mut found = self.found();
        if tally.read > 0 {
            found.read_any = true;
            found.refused_in_a_row = 0;
        } else {
            found.refused_in_a_row += tally.refused;
        }
        let files = tally.read + tally.refused;
        let mostly = tally.refused > tally.read && files >= LEAST_FILES;
        mostly || found.refused_in_a_row >= LEAST_FILES
    }

    /// Whether missing files are taken as missing, by what others found, and by whether this root
    /// has files that were hashed (`None`: none is known). Where files do get hashed, that takes a
    /// worker whose root has some, or several whose root has none: of a directory that is gone
    /// nobody finds any.
    pub(super) fn agrees(&self, others: &RootSuspicion, has_some: Option<bool>) -> bool {
        let mut found = self.found();
        if has_some == Some(false) {
            // Of this batch only: the share may come back.
            return others.of_batch && others.times >= ENOUGH_BELOW_NOTHING;
        }
        let enough = others.of_batch && others.times >= ENOUGH_SUSPICIONS;
        let sees = has_some == Some(true) || found.read_any;
        found.confirmed |= match others.run_has_hashes {
            true => enough || others.of_batch && sees,
            false => others.of_run,
        };
        found.confirmed
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hash {
    /// Whether most of the batch's files are missing here and no other worker has said so:
    /// then this worker ends, and the batch goes back.
    pub(super) async fn root_is_suspect(
        &self,
        batch: &Claimed,
        outcomes: &Outcomes,
    ) -> Result<bool, AttemptEnd> {
        let Outcomes { refused, tally, .. } = outcomes;
        let doubts = self.trust.doubts(*tally);
        let untried = self.trust.is_untried();
        // What was set aside once was known to be missing: setting it aside again does no harm.
        let asks = (doubts || untried) && !batch.of_items;
        let Some(first) = refused.first().filter(|_| asks) else { return Ok(false) };
        let (store, worker) = (self.endings.session.store(), self.endings.session.worker());
        let failed = |error: StoreError| self.endings.database(batch, &error);
        let suspicion = store.root_suspicion(batch.lease, worker).await.map_err(failed)?;
        let has_some = self.has_some_of(&suspicion.hashed_items).await.map_err(failed)?;
        if has_some == Some(true) {
            self.trust.found_one();
        }
        if !doubts && has_some != Some(false) {
            return Ok(false);
        }
        if self.trust.agrees(&suspicion, has_some) {
            tracing::warn!(batch = %batch.id, missing = tally.refused, "another worker misses them too");
            return Ok(false);
        }
        store.suspect_root(batch.lease, worker).await.map_err(failed)?;
        let message = format!(
            "{} of {} files of batch {} are missing or unreadable below the media root {:?}, as \
             where its volume is not mounted: mend the root and start this worker again; where \
             another worker finds the same, the files are set aside (first: {})",
            tally.refused,
            tally.refused + tally.read,
            batch.id,
            self.reader.root(),
            first.error.error_message
        );
        let meaning = classify::ROOT_SUSPECT;
        let record = self.endings.recorder.message(batch, None, meaning, message.clone());
        self.endings.cannot_read(record, FatalError::RootSuspect(message));
        Ok(true)
    }

    /// Whether a file of those of `items` that were hashed is below this root; `None` where
    /// none was hashed, or none gives an answer.
    async fn has_some_of(&self, items: &[String]) -> Result<Option<bool>, StoreError> {
        let files = self.endings.session.store().hashed_files(items).await?;
        let mut has_some = None;
        for file in files.iter().take(WITNESSES) {
            match self.reader.has(file).await {
                Some(true) => return Ok(Some(true)),
                Some(false) => has_some = Some(false),
                None => {}
            }
        }
        Ok(has_some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(read: u64, refused: u64) -> Tally {
        Tally { read, refused }
    }

    #[test]
    fn most_of_many_files_is_what_raises_doubt() {
        for (read, refused, doubts) in [
            (0, 20, true),
            (9, 11, true),
            (10, 10, false),
            (0, 19, false),
            (30, 31, true),
            (64, 0, false),
        ] {
            assert_eq!(
                RootTrust::default().doubts(tally(read, refused)),
                doubts,
                "{read} {refused}"
            );
        }
    }

    #[test]
    fn small_batches_add_up_until_a_file_is_read() {
        let trust = RootTrust::default();
        for _ in 0..19 {
            assert!(!trust.doubts(tally(0, 1)));
        }
        assert!(trust.doubts(tally(0, 1)));
        assert!(!trust.doubts(tally(1, 1)));
        assert!(!trust.doubts(tally(0, 1)));
    }

    #[test]
    fn a_root_is_tried_once_a_file_was_read() {
        let trust = RootTrust::default();
        assert!(trust.is_untried());
        assert!(!trust.doubts(tally(0, 1)) && trust.is_untried());
        trust.found_one();
        assert!(!trust.is_untried());
        assert!(!trust.doubts(tally(1, 0)) && !trust.is_untried());
    }

    #[test]
    fn another_worker_that_finds_the_same_confirms_it() {
        let others = |of_batch, of_run, times, run_has_hashes| RootSuspicion {
            of_batch,
            of_run,
            times,
            run_has_hashes,
            hashed_items: Vec::new(),
        };
        let trust = RootTrust::default();
        assert!(!trust.agrees(&others(false, false, 0, false), None));
        assert!(!trust.agrees(&others(true, true, 2, true), None), "the others do find files");
        assert!(trust.agrees(&others(false, true, 1, false), None));
        let nobody = others(false, false, 0, false);
        assert!(trust.agrees(&nobody, None), "from now on missing is missing");
        assert!(!trust.agrees(&nobody, Some(false)), "unless the root has gone since");

        let reader = RootTrust::default();
        assert!(!reader.doubts(tally(5, 0)));
        assert!(!reader.agrees(&others(false, true, 0, true), None), "that was another batch");
        assert!(reader.agrees(&others(true, true, 1, true), None), "its own root has files");

        assert!(
            RootTrust::default().agrees(&others(true, true, 3, true), None),
            "nobody finds them"
        );

        // Files that a worker has read before do not prove a root on which they are missing now.
        let gone = RootTrust::default();
        assert!(!gone.doubts(tally(5, 0)));
        for run_has_hashes in [false, true] {
            let others = |times| others(true, true, times, run_has_hashes);
            assert!(!gone.agrees(&others(8), Some(false)), "all of one machine say so");
            assert!(gone.agrees(&others(ENOUGH_BELOW_NOTHING), Some(false)));
            assert!(!gone.agrees(&others(0), Some(false)), "of the next batch nobody has");
            assert!(RootTrust::default().agrees(&others(1), Some(true)), "its own root has files");
        }
    }
}
