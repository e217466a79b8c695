//! One worker process: a lane of handlers for each job kind, run by apalis' monitor.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apalis::layers::WorkerBuilderExt;
use apalis::prelude::{Monitor, WorkerBuilder};
use futures::future::BoxFuture;
use reelshift_plan::JobKind;
use reelshift_store::ledger::Claimed;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::ack::DescribePanic;
use crate::backend::FleetBackend;
use crate::{AttemptEnd, Gate, Pass, Session};

/// Executes one attempt at a batch. Safe to run twice: whatever it writes is fenced. It
/// ends as drained when [`Pass::must_leave`] says so.
pub type Handler =
    Arc<dyn Fn(Arc<Claimed>, Pass) -> BoxFuture<'static, Result<(), AttemptEnd>> + Send + Sync>;

/// What apalis may have in hand at once: above any limit of a gate, which is what counts.
const MAX_TASKS_IN_HAND: usize = 2_048;

/// A batch that was claimed ahead and has not been started for this long goes back: those
/// before it take longer than was expected.
const MAX_UNSTARTED: Duration = Duration::from_secs(1);

/// The handlers of one job kind.
#[derive(Clone)]
pub struct Lane {
    pub kind: JobKind,
    /// How many batches are executed at once; with 0, none is claimed.
    pub gate: Arc<Gate>,
    /// Claim short batches before a handler is free. Not where the next batch may take far
    /// longer than the last ones.
    pub claims_ahead: bool,
    pub handler: Handler,
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane")
            .field("kind", &self.kind)
            .field("gate", &self.gate)
            .finish_non_exhaustive()
    }
}

/// Runs lanes until told to drain.
pub struct Fleet {
    session: Arc<Session>,
    describe_panic: DescribePanic,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet").field("session", &self.session).finish_non_exhaustive()
    }
}

impl Fleet {
    #[must_use]
    pub fn new(session: Arc<Session>, describe_panic: DescribePanic) -> Self {
        Self { session, describe_panic }
    }

    /// Runs `lanes` until `draining` is cancelled, every running attempt has ended and
    /// every end is written.
    ///
    /// # Errors
    /// When apalis' monitor reports a worker that could not go on.
    pub async fn run(
        &self,
        lanes: Vec<Lane>,
        draining: CancellationToken,
    ) -> Result<(), apalis_core::monitor::MonitorError> {
        let mut monitor = Monitor::new();
        for lane in lanes {
            let session = Arc::clone(&self.session);
            let describe_panic = Arc::clone(&self.describe_panic);
            let draining = draining.clone();
            monitor = monitor.register(move |restarts| {
                let gate = Arc::clone(&lane.gate);
                let backend =
                    FleetBackend::start(&session, &lane, &draining, Arc::clone(&describe_panic));
                let slots = backend.slots();
                let handler = Arc::clone(&lane.handler);
                WorkerBuilder::new(format!("{}-{}-{restarts}", session.worker(), lane.kind))
                    .backend(backend)
                    .catch_panic()
                    .concurrency(MAX_TASKS_IN_HAND)
                    .build(move |batch: Arc<Claimed>| {
                        let (gate, slots) = (Arc::clone(&gate), Arc::clone(&slots));
                        let handler = Arc::clone(&handler);
                        async move {
                            let entered = timeout(MAX_UNSTARTED, gate.enter()).await;
                            let pass = entered.unwrap_or_else(|_| {
                                slots.observe(MAX_UNSTARTED);
                                None
                            });
                            let pass = pass.ok_or(AttemptEnd::Drained)?;
                            timed(handler(batch, pass), move |took| slots.observe(took)).await
                        }
                    })
            });
        }
        monitor
            .run_with_signal(async move {
                draining.cancelled().await;
                Ok(())
            })
            .await
    }
}

async fn timed<T>(work: impl Future<Output = T>, observe: impl FnOnce(Duration)) -> T {
    let started = Instant::now();
    let outcome = work.await;
    observe(started.elapsed());
    outcome
}
