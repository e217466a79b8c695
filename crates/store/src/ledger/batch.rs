//! Batches: what they cover, who leases them, and how they ended.

use reelshift_plan::JobKind;
use serde::Serialize;
use uuid::Uuid;

use super::VideoFilter;

/// The priority of batches that a planner adds.
pub const PRIORITY_PLANNED: i8 = 1;
/// The priority of failed work that is enqueued again: it goes first.
pub const PRIORITY_RERUN: i8 = 0;
/// All priorities, in the order of claims. A claim asks for each with equality, so that the
/// index yields the batches in order and finished ones cost nothing.
pub const PRIORITIES: [i8; 2] = [PRIORITY_RERUN, PRIORITY_PLANNED];

/// What a batch covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Bounds {
    /// Videos with `after < id <= upto` (from the first video where `after` is `None`).
    Range { after: Option<String>, upto: String },
    /// These videos, by id, in key order; of a validation the name of another table, all of
    /// whose rows are compared.
    Items(Vec<String>),
}

/// A batch to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBatch {
    pub id: Uuid,
    pub bounds: Bounds,
    /// Videos that need work, and their `file_size` in sum (hash only).
    pub rows_total: u64,
    pub bytes_total: u64,
    pub traceparent: Option<String>,
}

/// The token of a new lease, unique to it: 61 random bits, positive.
#[must_use]
pub fn new_token() -> i64 {
    let (high, _) = Uuid::new_v4().as_u64_pair();
    i64::try_from(high >> 1).unwrap_or(i64::MAX)
}

/// A worker's right to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    pub seq: i64,
    pub token: i64,
}

/// A batch that this worker has just leased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    pub lease: Lease,
    pub id: Uuid,
    pub run_id: Uuid,
    pub kind: JobKind,
    pub filter: VideoFilter,
    pub bounds: Bounds,
    /// Backfill and validation: the last key that is committed; go on after it.
    pub checkpoint: Option<String>,
    pub rows_total: u64,
    pub bytes_total: u64,
    /// Items that were set aside once and enqueued again.
    pub of_items: bool,
    /// What earlier attempts wrote and set aside.
    pub rows_done: u64,
    pub rows_quarantined: u64,
    /// Failed attempts so far.
    pub attempts: u32,
    pub max_attempts: u32,
    /// Leases that were lost with their workers so far.
    pub lost_leases: u32,
    /// Files that were being read alone, the first of those that are left, when the last
    /// lease was lost.
    pub alone_files: Option<u32>,
    /// The error log row of the last failed attempt.
    pub last_error_id: Option<String>,
    /// W3C `traceparent` of the span that enqueued it: every attempt is its child.
    pub traceparent: Option<String>,
    /// That of its run's span.
    pub run_traceparent: Option<String>,
}

/// What the ledger knows of a batch most of whose files a worker does not find.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RootSuspicion {
    /// Another worker gave the batch back for it.
    pub of_batch: bool,
    /// Another worker gave some batch of its run back for it.
    pub of_run: bool,
    /// How many times the batch was given back for it, by whichever worker.
    pub times: u32,
    /// Some file of the run was hashed, by whichever worker.
    pub run_has_hashes: bool,
    /// The videos of a batch of which some were hashed: of this run, or else of another.
    pub hashed_items: Vec<String>,
}

/// A batch whose work is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    pub lease: Lease,
    /// As claimed: the attempts of this chain are marked as recovered.
    pub last_error_id: Option<String>,
}

/// A batch that failed for good, and how far its attempts had come.
#[derive(Debug, Clone)]
pub struct FailedBatch {
    pub id: Uuid,
    pub bounds: Bounds,
    pub rows_total: u64,
    pub rows_done: u64,
    pub rows_quarantined: u64,
    pub bytes_total: u64,
    pub bytes_done: u64,
    pub max_attempts: u32,
    pub last_error_id: Option<String>,
    pub traceparent: Option<String>,
}

impl FailedBatch {
    /// The rows that its rerun has: what was written or set aside is not done again.
    #[must_use]
    pub const fn rows_left(&self) -> u64 {
        self.rows_total.saturating_sub(self.rows_done.saturating_add(self.rows_quarantined))
    }

    /// The bytes that its rerun reads, those of files that were set aside included, whose
    /// sizes nobody adds up.
    #[must_use]
    pub const fn bytes_left(&self) -> u64 {
        self.bytes_total.saturating_sub(self.bytes_done)
    }
}

/// A quarantined item.
#[derive(Debug, Clone)]
pub struct Quarantined {
    pub video_id: String,
    /// The batch that had set it aside, and its trace.
    pub batch: Uuid,
    pub traceparent: Option<String>,
    /// `file_size` of the video.
    pub bytes: u64,
    /// Whether the video is there.
    pub is_present: bool,
}

/// The batch of a lease that is held.
#[derive(Debug, Clone)]
pub struct LeasedBatch {
    /// Failed attempts so far.
    pub attempts: u32,
    pub max_attempts: u32,
    /// The error log row of the last of them.
    pub last_error_id: Option<String>,
}

/// A batch as it is added to the ledger.
#[derive(Debug, Clone)]
pub struct BatchRow {
    pub batch: NewBatch,
    /// The batch that it comes from.
    pub parent_id: Option<Uuid>,
    /// Items that the parent had set aside, not the parent itself once more.
    pub of_items: bool,
    pub priority: i8,
    pub max_attempts: u32,
    /// The last error of the batch that it repeats: the parent of its own first error.
    pub last_error_id: Option<String>,
}

impl BatchRow {
    /// A batch that a planner adds.
    #[must_use]
    pub const fn planned(batch: NewBatch, max_attempts: u32) -> Self {
        Self {
            batch,
            parent_id: None,
            of_items: false,
            priority: PRIORITY_PLANNED,
            max_attempts,
            last_error_id: None,
        }
    }

    /// A failed batch once more, with what is left of its rows.
    #[must_use]
    pub fn rerun(failed: FailedBatch) -> Self {
        Self {
            batch: NewBatch {
                id: Uuid::now_v7(),
                rows_total: failed.rows_left(),
                bytes_total: failed.bytes_left(),
                traceparent: failed.traceparent,
                bounds: failed.bounds,
            },
            parent_id: Some(failed.id),
            of_items: false,
            priority: PRIORITY_RERUN,
            max_attempts: failed.max_attempts,
            last_error_id: failed.last_error_id,
        }
    }

    /// Items that the batch `parent` had set aside.
    #[must_use]
    pub const fn of_items(batch: NewBatch, parent: Uuid, max_attempts: u32) -> Self {
        Self {
            batch,
            parent_id: Some(parent),
            of_items: true,
            priority: PRIORITY_RERUN,
            max_attempts,
            last_error_id: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::new_token;

    #[test]
    fn tokens_are_positive_and_differ() {
        let tokens: std::collections::HashSet<i64> = (0..1_000).map(|_| new_token()).collect();
        assert_eq!(tokens.len(), 1_000);
        assert!(tokens.iter().all(|token| *token > 0));
    }
}
