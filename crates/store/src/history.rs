//! What has ended and is kept until somebody prunes it. The claim's cost does not depend
//! on it; space does.

use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;

use crate::Result;

/// What can be removed, or was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    pub runs: u64,
    pub batches: u64,
    /// Entries of the quarantine that are resolved: the video is gone, or its file was
    /// hashed after all.
    pub quarantined: u64,
    /// Workers that left or were lost.
    pub workers: u64,
    /// Differences that validations found.
    pub differences: u64,
}

impl Pruned {
    /// Adds what another step removed.
    pub const fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.batches += other.batches;
        self.quarantined += other.quarantined;
        self.workers += other.workers;
        self.differences += other.differences;
    }

    /// Whether there was nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a pruning would remove.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Prunable {
    #[serde(flatten)]
    pub removable: Pruned,
    /// Runs that ended as long ago and are kept: items of theirs are still in quarantine,
    /// where `rerun` finds them by their run.
    pub kept_for_quarantine: u64,
}

/// Removing what has ended. A run goes when it is `done`, `failed` or `cancelled`, ended
/// longer ago than `older_than`, and no unresolved entry of the quarantine refers to it.
/// A batch goes with its run only, and what reruns it is in the same run, so that nothing
/// that stays refers to what went. The history of flags and controls and
/// `processing_error_log` are kept.
#[async_trait]
pub trait History {
    /// What [`Self::prune`] would remove; changes nothing.
    async fn prunable(&self, older_than: Duration) -> Result<Prunable>;

    /// Removes up to `limit` rows of what can be removed, oldest first, in one short
    /// transaction that looks again whether it still can be. Nothing removed means that
    /// nothing is left to remove.
    async fn prune(&self, older_than: Duration, limit: u32) -> Result<Pruned>;
}
