//! Failed work that is enqueued again.

use reelshift_plan::JobKind;
use serde::Serialize;
use uuid::Uuid;

use super::Since;
use crate::failures::ErrorSelection;

/// Which failed work to enqueue again. Every condition that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RerunSelection {
    pub run: Option<Uuid>,
    pub batch: Option<Uuid>,
    /// `processing_error_log.error_type` of the batch's last error or the item's error.
    pub error_type: Option<String>,
    /// What else holds for that error.
    pub error: Option<ErrorSelection>,
    /// Runs of this kind, which is the error log's `processing_stage`.
    pub stage: Option<JobKind>,
    /// Work that failed since then.
    pub since: Option<Since>,
    /// Only quarantined items; otherwise failed batches and quarantined items.
    pub quarantined_only: bool,
    /// Count only, change nothing.
    pub dry_run: bool,
}

impl RerunSelection {
    /// Whether items are meant that somebody has accepted.
    #[must_use]
    pub fn of_accepted(&self) -> bool {
        self.error.as_ref().is_some_and(|error| error.accepted == Some(true))
    }
}

/// What was enqueued again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rerun {
    /// New batches made for failed ones.
    pub batches: u64,
    /// Items taken out of quarantine, and the new batches that hold them.
    pub items: u64,
    pub item_batches: u64,
}
