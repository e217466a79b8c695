//! Writing how attempts ended. A flusher of its own gathers whatever ended while the last
//! write was under way, so that short batches cost one statement for many, and an end is
//! kept and written again while the database is away.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use apalis_core::error::BoxDynError;
use apalis_core::task::ExecutionContext;
use apalis_core::worker::ext::ack::Acknowledge;
use reelshift_store::ledger::{Claimed, Finished, Lease};
use reelshift_store::{ErrorRecord, SharedStore, StoreError};
use tokio::sync::mpsc;

use crate::backend::Slots;
use crate::in_hand::InHand;
use crate::{AttemptEnd, Fatal, Outbox};

/// Builds the error row for a handler that panicked: `(batch, what it said)`.
pub type DescribePanic = Arc<dyn Fn(&Claimed, &str) -> ErrorRecord + Send + Sync>;

/// How long to wait before an end is written again.
const RETRY: Duration = Duration::from_millis(500);
/// The same where the database refuses it: until somebody mends that.
const REFUSED: Duration = Duration::from_secs(5);
/// Ends written in one transaction.
const MAX_ENDS_PER_TRANSACTION: usize = 512;

/// An attempt that ended, on its way to the ledger.
#[derive(Debug)]
pub(crate) enum Ended {
    Done(Finished),
    Failed {
        lease: Lease,
        retry: bool,
        delay: Duration,
        error: Box<ErrorRecord>,
    },
    Returned(Lease),
    /// Nothing to write: the lease is somebody else's.
    Lost(Lease),
}

impl Ended {
    const fn lease(&self) -> Lease {
        match self {
            Self::Done(Finished { lease, .. })
            | Self::Failed { lease, .. }
            | Self::Returned(lease)
            | Self::Lost(lease) => *lease,
        }
    }
}

/// What apalis calls after each attempt.
#[derive(Clone)]
pub struct LedgerAck {
    pub(crate) ended: mpsc::UnboundedSender<Ended>,
    pub(crate) describe_panic: DescribePanic,
    pub(crate) outbox: Arc<Outbox>,
}

impl std::fmt::Debug for LedgerAck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LedgerAck").finish_non_exhaustive()
    }
}

/// The flusher is gone: the backend was closed before its last task ended.
#[derive(Debug, thiserror::Error)]
#[error("the acknowledger is closed")]
pub struct Closed;

impl Acknowledge<()> for LedgerAck {
    type Error = Closed;
    type Future = Ready<Result<(), Closed>>;

    fn ack(
        &mut self,
        result: &Result<(), BoxDynError>,
        context: &ExecutionContext,
    ) -> Self::Future {
        let Some(batch) = context.data().get::<Arc<Claimed>>() else {
            return ready(Err(Closed));
        };
        let lease = batch.lease;
        let ended = match result {
            Ok(()) => Ended::Done(Finished { lease, last_error_id: batch.last_error_id.clone() }),
            Err(error) => match error.downcast_ref::<AttemptEnd>() {
                Some(AttemptEnd::LeaseLost) => Ended::Lost(lease),
                Some(AttemptEnd::Drained) => Ended::Returned(lease),
                Some(AttemptEnd::Failed { retry, delay, error }) => {
                    Ended::Failed { lease, retry: *retry, delay: *delay, error: error.clone() }
                }
                None => Ended::Failed {
                    lease,
                    // A fault that shows twice will show again.
                    retry: batch.attempts == 0,
                    delay: Duration::ZERO,
                    error: Box::new((self.describe_panic)(batch, &error.to_string())),
                },
            },
        };
        if matches!(ended, Ended::Failed { .. }) {
            self.outbox.end_begun();
        }
        ready(self.ended.send(ended).map_err(|_| Closed))
    }
}

/// Writes ends.
pub(crate) struct Flusher {
    pub(crate) store: SharedStore,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) fatal: Arc<Fatal>,
    pub(crate) in_hand: Arc<InHand>,
}

impl Flusher {
    /// Writes ends until the channel is closed and empty.
    pub(crate) async fn run(self, mut ended: mpsc::UnboundedReceiver<Ended>, slots: Arc<Slots>) {
        let mut gathered = Vec::with_capacity(MAX_ENDS_PER_TRANSACTION);
        while ended.recv_many(&mut gathered, MAX_ENDS_PER_TRANSACTION).await > 0 {
            let count = gathered.len();
            let leases: Vec<Lease> = gathered.iter().map(Ended::lease).collect();
            let mut finished = Vec::new();
            let mut returned = Vec::new();
            for end in gathered.drain(..) {
                match end {
                    Ended::Done(done) => finished.push(done),
                    Ended::Returned(lease) => returned.push(lease),
                    Ended::Failed { lease, retry, delay, error } => {
                        self.fail(lease, retry, delay, *error).await;
                    }
                    Ended::Lost(_) => {}
                }
            }
            if !finished.is_empty() {
                let finish = || async { self.store.finish(&finished).await.map(drop) };
                self.retry_until_written("finished batches", finish).await;
            }
            if !returned.is_empty() {
                let release = || async { self.store.release(&returned).await.map(drop) };
                self.retry_until_written("returned batches", release).await;
            }
            self.in_hand.end(&leases);
            slots.free(count);
        }
    }

    /// Ends a failed attempt. Where the lease was lost meanwhile, its batch goes on
    /// elsewhere; that it failed here is written all the same, by itself.
    async fn fail(&self, lease: Lease, retry: bool, delay: Duration, error: ErrorRecord) {
        let by_itself = AtomicBool::new(false);
        let fail = || async {
            match self.store.fail_attempt(lease, retry, delay, &error).await {
                Err(StoreError::LeaseLost) => {
                    by_itself.store(true, Ordering::Relaxed);
                    Ok(())
                }
                other => other.map(drop),
            }
        };
        let written = self.retry_until_written("failed attempt", fail).await;
        if !written || by_itself.load(Ordering::Relaxed) {
            self.outbox.put(error);
        }
        self.outbox.end_written();
    }

    /// Writes, and again until it is written; `false` where this worker has to end first.
    async fn retry_until_written<Fut>(&self, what: &str, mut write: impl FnMut() -> Fut) -> bool
    where
        Fut: Future<Output = reelshift_store::Result<()>>,
    {
        loop {
            match write().await {
                Ok(()) => return true,
                Err(error) if error.is_transient() => {
                    tracing::warn!(what, %error, "could not be written yet, trying again");
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) if self.fatal.stop_if_fatal(&error) => return false,
                // Something in the database forbids it, a trigger of somebody else's perhaps.
                // How an attempt ended is not thrown away: it is said until it is mended.
                Err(error) => {
                    tracing::error!(what, %error, "the database refuses it, trying again");
                    tokio::time::sleep(REFUSED).await;
                }
            }
        }
    }
}
