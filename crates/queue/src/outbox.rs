//! Error rows on their way to the log. While the database is away they are kept, in the
//! order in which they came, and written when it is back; what cannot be kept is counted.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reelshift_store::{ErrorRecord, SharedStore};
use tokio::sync::Notify;
use uuid::Uuid;

/// Rows kept at most: some 2 KiB each, so 8 MiB of the 64 MiB that a worker may take.
const MAX_QUEUED_ROWS: usize = 4_096;
/// Rows written in one transaction.
const ROWS_PER_TRANSACTION: usize = 64;
/// How long to wait before rows are written again.
const RETRY: Duration = Duration::from_secs(1);

/// Rows that wait, and the counts of those that will not come.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: Mutex<VecDeque<ErrorRecord>>,
    /// Failed attempts whose end, with its row, the acknowledger has not written yet.
    ends: AtomicU64,
    dropped: AtomicU64,
    arrived: Notify,
}

impl Outbox {
    /// Keeps `record` until it is written. Where there is no room for it, it is counted.
    pub fn put(&self, record: ErrorRecord) {
        let mut waiting = self.waiting();
        if waiting.len() < MAX_QUEUED_ROWS {
            waiting.push_back(record);
            self.arrived.notify_one();
            return;
        }
        drop(waiting);
        if self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::error!(
                kept = MAX_QUEUED_ROWS,
                "the database has been away for so long that failures are counted and no longer kept"
            );
        }
    }

    /// Failures whose row is not in the log: those that wait, and those that were dropped.
    #[must_use]
    pub fn unwritten(&self) -> u64 {
        let waiting = self.waiting().len() as u64;
        waiting + self.ends.load(Ordering::Acquire) + self.dropped.load(Ordering::Acquire)
    }

    pub(crate) fn end_begun(&self) {
        self.ends.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn end_written(&self) {
        self.ends.fetch_sub(1, Ordering::AcqRel);
    }

    /// Writes rows as they come, for ever.
    pub(crate) async fn run(&self, store: &SharedStore) {
        loop {
            self.arrived.notified().await;
            self.flush(store).await;
        }
    }

    /// Writes until nothing waits.
    pub(crate) async fn flush(&self, store: &SharedStore) {
        let mut said = false;
        loop {
            let next: Vec<ErrorRecord> =
                self.waiting().iter().take(ROWS_PER_TRANSACTION).cloned().collect();
            if next.is_empty() {
                return;
            }
            match store.record_errors(&next).await {
                Ok(()) => {
                    let written: HashSet<Uuid> = next.iter().map(|record| record.id).collect();
                    self.waiting().retain(|record| !written.contains(&record.id));
                }
                Err(error) => {
                    if !said {
                        tracing::warn!(
                            %error, waiting = self.waiting().len(),
                            "failures could not be recorded yet, trying again"
                        );
                        said = true;
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<ErrorRecord>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use reelshift_store::{Severity, UserImpact};

    use super::*;

    fn record() -> ErrorRecord {
        ErrorRecord {
            id: Uuid::now_v7(),
            video_id: None,
            processing_stage: "hash".to_owned(),
            error_type: "t".to_owned(),
            error_message: "m".to_owned(),
            error_code: None,
            stack_trace: None,
            system_state: serde_json::Value::Null,
            recovery_strategy: "retry".to_owned(),
            correlation_id: None,
            severity: Severity::Low,
            user_impact: UserImpact::None,
        }
    }

    #[test]
    fn what_cannot_be_kept_is_counted() {
        let outbox = Outbox::default();
        for _ in 0..MAX_QUEUED_ROWS + 3 {
            outbox.put(record());
        }
        assert_eq!(outbox.waiting().len(), MAX_QUEUED_ROWS);
        assert_eq!(outbox.unwritten(), MAX_QUEUED_ROWS as u64 + 3);
        outbox.end_begun();
        assert_eq!(outbox.unwritten(), MAX_QUEUED_ROWS as u64 + 4);
        outbox.end_written();
        assert_eq!(outbox.unwritten(), MAX_QUEUED_ROWS as u64 + 3);
    }
}
