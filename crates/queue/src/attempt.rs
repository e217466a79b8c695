//! How an attempt at a batch ends when it does not simply succeed.

use std::time::Duration;

use reelshift_store::ErrorRecord;

/// Why a handler stopped before the batch was complete. The variant *is* what happens to
/// the batch next.
#[derive(Debug, thiserror::Error)]
pub enum AttemptEnd {
    /// Somebody else has the batch: drop it, write nothing.
    #[error("the lease was lost")]
    LeaseLost,
    /// The worker drains, the run or the fleet is paused, or less is to be done at once:
    /// what is committed stays, the rest goes back and no attempt counts.
    #[error("the batch is given back")]
    Drained,
    /// The attempt failed. With `retry`, another follows after `delay` while attempts are
    /// left.
    #[error("{}", error.error_message)]
    Failed { retry: bool, delay: Duration, error: Box<ErrorRecord> },
}
