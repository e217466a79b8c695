//! The apalis backend: a claimer in a task of its own fills a channel that apalis polls.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::task::Task;
use apalis_core::task::builder::TaskBuilder;
use apalis_core::task::task_id::TaskId;
use apalis_core::worker::context::WorkerContext;
use apalis_core::worker::ext::ack::AcknowledgeLayer;
use futures::FutureExt;
use futures::future::BoxFuture;
use rand::RngExt;
use reelshift_plan::JobKind;
use reelshift_store::SharedStore;
use reelshift_store::ledger::Claimed;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::ack::{DescribePanic, Flusher, LedgerAck};
use crate::in_hand::InHand;
use crate::{Fatal, Gate, Job, Session};

/// Batches are claimed ahead of a free handler only for this long a time of work: enough
/// to keep short batches flowing, too little to hoard long ones that others could take.
const CLAIM_AHEAD: Duration = Duration::from_millis(100);
/// However short batches are, no more than this many are claimed at once.
const MAX_CLAIMED_AHEAD: usize = 256;

/// How many batches this backend holds, and how many it may hold.
#[derive(Debug)]
pub(crate) struct Slots {
    gate: Arc<Gate>,
    claims_ahead: bool,
    held: AtomicUsize,
    freed: Notify,
    /// Seconds that recent batches took, averaged.
    batch_seconds: Mutex<Option<f64>>,
    /// Doubles with every claim that found batches: a worker that has just started leaves
    /// some to those that start with it.
    most_ahead: AtomicUsize,
}

impl Slots {
    fn new(gate: Arc<Gate>, claims_ahead: bool) -> Self {
        Self {
            gate,
            claims_ahead,
            held: AtomicUsize::new(0),
            freed: Notify::new(),
            batch_seconds: Mutex::new(None),
            most_ahead: AtomicUsize::new(1),
        }
    }

    fn wanted(&self) -> usize {
        let concurrency = self.gate.limit();
        let seconds = *self.batch_seconds.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "capped at MOST_AHEAD"
        )]
        let ahead = seconds.filter(|_| self.claims_ahead).map_or(0, |seconds| {
            let batches = CLAIM_AHEAD.as_secs_f64() * concurrency as f64 / seconds.max(1e-6);
            batches.min(self.most_ahead.load(Ordering::Relaxed) as f64) as usize
        });
        (concurrency + ahead).saturating_sub(self.held.load(Ordering::Acquire))
    }

    /// Learns how a claim went.
    fn claimed(&self, batches: usize) {
        self.held.fetch_add(batches, Ordering::AcqRel);
        let most = self.most_ahead.load(Ordering::Relaxed);
        self.most_ahead.store(
            if batches == 0 { 1 } else { (most * 2).min(MAX_CLAIMED_AHEAD) },
            Ordering::Relaxed,
        );
    }

    pub(crate) fn free(&self, count: usize) {
        self.held.fetch_sub(count, Ordering::AcqRel);
        self.freed.notify_one();
    }

    /// Learns how long a batch took in a handler.
    pub(crate) fn observe(&self, took: Duration) {
        let mut seconds =
            self.batch_seconds.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *seconds =
            Some(seconds.map_or(took.as_secs_f64(), |old| old * 0.8 + took.as_secs_f64() * 0.2));
    }
}

/// Batches of one kind, claimed for one worker process.
pub struct FleetBackend {
    claimed: mpsc::UnboundedReceiver<Claimed>,
    ack: LedgerAck,
    stop: CancellationToken,
    slots: Arc<Slots>,
    closing: Option<BoxFuture<'static, ()>>,
    tasks: Option<(JoinHandle<()>, JoinHandle<()>)>,
}

impl std::fmt::Debug for FleetBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FleetBackend").field("slots", &self.slots).finish_non_exhaustive()
    }
}

impl FleetBackend {
    /// Starts claiming batches of the job's kind, as many as `gate` lets in at once, until the
    /// backend is closed or `draining` is cancelled.
    pub(crate) fn start<J: Job>(
        session: &Session,
        gate: &Arc<Gate>,
        draining: &CancellationToken,
        describe_panic: DescribePanic,
    ) -> Self {
        let slots = Arc::new(Slots::new(Arc::clone(gate), J::CLAIMS_AHEAD));
        let (claimed_in, claimed) = mpsc::unbounded_channel();
        let (ended, ended_out) = mpsc::unbounded_channel();
        let stop = draining.child_token();
        let claimer = Claimer {
            store: Arc::clone(session.store()),
            worker: session.worker(),
            kind: J::KIND,
            poll: session.times().poll,
            slots: Arc::clone(&slots),
            out: claimed_in,
            fatal: Arc::clone(session.fatal()),
            in_hand: Arc::clone(session.in_hand()),
        };
        let claiming = tokio::spawn(claimer.run(stop.clone()));
        let outbox = Arc::clone(session.outbox());
        let flusher = Flusher {
            store: Arc::clone(session.store()),
            outbox: Arc::clone(&outbox),
            fatal: Arc::clone(session.fatal()),
            in_hand: Arc::clone(session.in_hand()),
        };
        let flushing = tokio::spawn(flusher.run(ended_out, Arc::clone(&slots)));
        Self {
            claimed,
            ack: LedgerAck { ended, describe_panic, outbox },
            stop,
            slots,
            closing: None,
            tasks: Some((claiming, flushing)),
        }
    }

    pub(crate) fn slots(&self) -> Arc<Slots> {
        Arc::clone(&self.slots)
    }

    /// What closing does: no more claims, what was claimed and not started goes back, and
    /// every end is written.
    fn close(&mut self) -> BoxFuture<'static, ()> {
        self.stop.cancel();
        let (_, unstarted) = mpsc::unbounded_channel();
        let mut unstarted = std::mem::replace(&mut self.claimed, unstarted);
        let ended = self.ack.ended.clone();
        let tasks = self.tasks.take();
        let slots = Arc::clone(&self.slots);
        async move {
            let Some((claiming, flushing)) = tasks else { return };
            if let Err(error) = claiming.await {
                tracing::error!(%error, "the claimer did not end well");
            }
            unstarted.close();
            while let Some(batch) = unstarted.recv().await {
                if ended.send(crate::ack::Ended::Returned(batch.lease)).is_err() {
                    break;
                }
            }
            drop(ended);
            // apalis still holds senders, so the flusher cannot see the channel close; but
            // whatever was claimed is held until its end is written.
            loop {
                let freed = slots.freed.notified();
                if slots.held.load(Ordering::Acquire) == 0 {
                    break;
                }
                freed.await;
            }
            flushing.abort();
        }
        .boxed()
    }
}

impl Backend for FleetBackend {
    type Task = Task<Arc<Claimed>>;
    type Error = std::convert::Infallible;

    fn poll_ready(
        &mut self,
        _: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Self::Task, Self::Error>>> {
        self.claimed.poll_recv(cx).map(|claimed| {
            claimed.map(|batch| {
                let batch = Arc::new(batch);
                Ok(TaskBuilder::new(Arc::clone(&batch))
                    .task_id(TaskId::from_string(batch.id.to_string()))
                    .data(batch)
                    .build())
            })
        })
    }

    fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Result<(), Self::Error>> {
        if self.closing.is_none() {
            self.closing = Some(self.close());
        }
        match self.closing.as_mut().map(|closing| Pin::new(closing).poll(cx)) {
            Some(Poll::Pending) => Poll::Pending,
            Some(Poll::Ready(())) | None => Poll::Ready(Ok(())),
        }
    }
}

impl BackendConfig for FleetBackend {
    type Args = Arc<Claimed>;
    type Id = String;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = AcknowledgeLayer<LedgerAck>;

    fn config(&self) -> &Self::Config {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Self::Layer {
        AcknowledgeLayer::new(self.ack.clone())
    }
}

struct Claimer {
    store: SharedStore,
    worker: Uuid,
    kind: JobKind,
    poll: Duration,
    slots: Arc<Slots>,
    out: mpsc::UnboundedSender<Claimed>,
    fatal: Arc<Fatal>,
    in_hand: Arc<InHand>,
}

impl Claimer {
    async fn run(self, stop: CancellationToken) {
        let mut changes = self.slots.gate.changes();
        while !stop.is_cancelled() {
            let wanted = self.slots.wanted();
            if wanted == 0 {
                tokio::select! {
                    () = self.slots.freed.notified() => {}
                    // The gate is held by the slots: its changes never end.
                    _ = changes.changed() => {}
                    () = stop.cancelled() => {}
                }
                continue;
            }
            // Never cut short: a claim that was made must be handed on or given back.
            let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
            let claim = self.in_hand.claim();
            match self.store.claim(self.worker, self.kind, wanted).await {
                Ok(batches) if !batches.is_empty() => {
                    claim.bring(&batches);
                    self.slots.claimed(batches.len());
                    for batch in batches {
                        if let Err(unsent) = self.out.send(batch) {
                            // The backend was dropped unclosed; deregistering returns it.
                            tracing::debug!(batch = %unsent.0.id, "claimed while closing");
                        }
                    }
                    continue;
                }
                Ok(batches) => {
                    claim.bring(&batches);
                    self.slots.claimed(0);
                }
                Err(error) if self.fatal.stop_if_fatal(&error) => return,
                Err(error) => {
                    tracing::warn!(%error, kind = %self.kind, "could not claim batches, trying again");
                }
            }
            // Jittered, so that a fleet does not knock in step.
            let pause = self.poll.mul_f64(rand::rng().random_range(0.5..1.5));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }
}
