//! What people page through: runs, batches, workers, what is in quarantine.
//!
//! Every list is read by keyset: a page begins after the last row of the one before, so
//! that its cost does not grow with how far one has paged, and rows that come and go
//! meanwhile shift nothing. No method counts.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reelshift_plan::{BatchState, JobKind, RunState, WorkerState};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Result;
use crate::ids::{IdKind, IdPart};
use crate::ledger::{Bounds, Run, VideoFilter};
use crate::report::WorkerReport;

/// Which runs. Every condition that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunSelection {
    pub kind: Option<JobKind>,
    pub state: Option<RunState>,
}

/// Which batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchSelection {
    /// All, newest first.
    All,
    /// Those that a worker has leased, newest first.
    LeasedBy(Uuid),
    /// Those that have this video and are not done, in runs that are neither done nor cancelled:
    /// they wait, are worked on or have failed; newest first.
    OpenWith(String),
    /// Those of one run, in the order in which they are claimed, state after state.
    OfRun { run: Uuid, state: Option<BatchState> },
}

/// Where a page of batches ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchCursor {
    pub state: BatchState,
    pub priority: i8,
    pub run_at: DateTime<Utc>,
    pub seq: i64,
}

/// A batch as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchReport {
    pub seq: i64,
    pub id: Uuid,
    pub run_id: Uuid,
    /// The batch that it does again, or whose items it does again.
    pub parent_id: Option<Uuid>,
    pub state: BatchState,
    /// 0 for what was enqueued again, which goes first.
    pub priority: i8,
    /// Not before this.
    pub run_at: DateTime<Utc>,
    /// Failed so far.
    pub attempts: u32,
    pub max_attempts: u32,
    pub bounds: Bounds,
    pub rows_total: u64,
    pub rows_done: u64,
    pub rows_quarantined: u64,
    pub bytes_total: u64,
    pub bytes_done: u64,
    /// The last video that is done.
    pub checkpoint: Option<String>,
    /// The worker that has it.
    pub leased_by: Option<Uuid>,
    /// When its attempt began, or its last one where it has ended; `None` while it waits.
    pub leased_at: Option<DateTime<Utc>>,
    pub traceparent: Option<String>,
    pub last_error_id: Option<String>,
    pub last_error_type: Option<String>,
    pub created_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
}

impl BatchReport {
    /// Where a page ends that ends with this batch.
    #[must_use]
    pub fn cursor(&self) -> BatchCursor {
        let Self { state, priority, run_at, seq, .. } = *self;
        BatchCursor { state, priority, run_at, seq }
    }
}

/// Which items of the quarantine. Every condition that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuarantineSelection {
    pub kind: Option<JobKind>,
    pub run: Option<Uuid>,
    pub error_type: Option<String>,
    pub video: Option<String>,
}

/// Where a page of the quarantine ended: its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuarantineCursor {
    pub kind: JobKind,
    pub video_id: String,
}

/// A row or file that was set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Quarantined {
    pub kind: JobKind,
    pub video_id: String,
    pub run_id: Uuid,
    pub batch_id: Uuid,
    /// The row of `processing_error_log`.
    pub error_id: String,
    pub error_type: String,
    pub created_at: DateTime<Utc>,
    /// `None` while nobody has accepted it.
    pub accepted: Option<Acceptance>,
}

/// Who has accepted that an item stays in quarantine, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Acceptance {
    pub at: DateTime<Utc>,
    pub by: String,
    pub reason: String,
}

impl Quarantined {
    /// Where a page ends that ends with this item.
    #[must_use]
    pub fn cursor(&self) -> QuarantineCursor {
        QuarantineCursor { kind: self.kind, video_id: self.video_id.clone() }
    }
}

/// Lists, page by page.
#[async_trait]
pub trait Listings {
    /// Up to `limit` runs, newest first (their ids sort by time); those before `before`.
    async fn runs(
        &self,
        selection: &RunSelection,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<Run>>;

    /// Up to `limit` batches, those after `after`.
    async fn batches(
        &self,
        selection: &BatchSelection,
        after: Option<&BatchCursor>,
        limit: u32,
    ) -> Result<Vec<BatchReport>>;

    /// The batch with this id.
    async fn batch(&self, id: Uuid) -> Result<Option<BatchReport>>;

    /// Up to `limit` workers in that state, newest first; those before `before`.
    async fn workers(
        &self,
        state: Option<WorkerState>,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<WorkerReport>>;

    /// Up to `limit` items, by kind and video; those after `after`.
    async fn quarantine(
        &self,
        selection: &QuarantineSelection,
        after: Option<&QuarantineCursor>,
        limit: u32,
    ) -> Result<Vec<Quarantined>>;

    /// Whether any video matches `filter`, whatever it needs.
    async fn any_video(&self, filter: &VideoFilter) -> Result<bool>;

    /// Up to `limit` ids that begin or end with `part`.
    async fn ids_like(&self, kind: IdKind, part: &IdPart, limit: u32) -> Result<Vec<Uuid>>;
}
