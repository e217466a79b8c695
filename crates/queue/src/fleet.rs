//! One worker process: its jobs, run by apalis' monitor.

use std::sync::Arc;
use std::time::{Duration, Instant};

use apalis::layers::WorkerBuilderExt;
use apalis::prelude::{Monitor, WorkerBuilder};
use reelshift_store::ledger::Claimed;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::ack::DescribePanic;
use crate::backend::{FleetBackend, Slots};
use crate::{AttemptEnd, Gate, Job, Session};

/// What apalis may have in hand at once: above any limit of a gate, which is what counts.
const MAX_TASKS_IN_HAND: usize = 2_048;

/// A batch that was claimed ahead and has not been started for this long goes back: those
/// before it take longer than was expected.
const MAX_UNSTARTED: Duration = Duration::from_secs(1);

/// Runs jobs until `draining` is cancelled.
pub struct Fleet {
    session: Arc<Session>,
    describe_panic: DescribePanic,
    draining: CancellationToken,
    monitor: Monitor,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet").field("session", &self.session).finish_non_exhaustive()
    }
}

impl Fleet {
    #[must_use]
    pub fn new(
        session: Arc<Session>,
        describe_panic: DescribePanic,
        draining: CancellationToken,
    ) -> Self {
        Self { session, describe_panic, draining, monitor: Monitor::new() }
    }

    /// Adds a kind of job: as many of its batches are executed at once as `gate` lets in; with
    /// 0, none is claimed.
    #[must_use]
    pub fn register<J: Job>(self, job: J, gate: Arc<Gate>) -> Self {
        let Self { session, describe_panic, draining, monitor } = self;
        let (job, name) = (Arc::new(job), format!("{}-{}", session.worker(), J::KIND));
        let start = {
            let (session, draining) = (Arc::clone(&session), draining.clone());
            let (gate, describe_panic) = (Arc::clone(&gate), Arc::clone(&describe_panic));
            move || {
                FleetBackend::start::<J>(&session, &gate, &draining, Arc::clone(&describe_panic))
            }
        };
        let monitor = monitor.register(move |restarts| {
            let backend = start();
            let (job, gate, slots) = (Arc::clone(&job), Arc::clone(&gate), backend.slots());
            WorkerBuilder::new(format!("{name}-{restarts}"))
                .backend(backend)
                .catch_panic()
                .concurrency(MAX_TASKS_IN_HAND)
                .build(move |batch: Arc<Claimed>| {
                    let (job, gate, slots) =
                        (Arc::clone(&job), Arc::clone(&gate), Arc::clone(&slots));
                    async move { execute(&*job, &batch, &gate, &slots).await }
                })
        });
        Self { session, describe_panic, draining, monitor }
    }

    /// Runs until `draining` is cancelled, every running attempt has ended and every end is
    /// written.
    ///
    /// # Errors
    /// When apalis' monitor reports a worker that could not go on.
    pub async fn run(self) -> Result<(), apalis_core::monitor::MonitorError> {
        let draining = self.draining;
        self.monitor
            .run_with_signal(async move {
                draining.cancelled().await;
                Ok(())
            })
            .await
    }
}

/// Admits a claimed batch, and runs it. One that waits for too long goes back.
async fn execute<J: Job>(
    job: &J,
    batch: &Claimed,
    gate: &Arc<Gate>,
    slots: &Slots,
) -> Result<(), AttemptEnd> {
    let Ok(entered) = timeout(MAX_UNSTARTED, gate.enter()).await else {
        slots.observe(MAX_UNSTARTED);
        return Err(AttemptEnd::Drained);
    };
    let pass = entered.ok_or(AttemptEnd::Drained)?;
    let started = Instant::now();
    let ended = job.run(batch, &pass).await;
    slots.observe(started.elapsed());
    ended
}
