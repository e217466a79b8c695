//! The throttle: one worker of the fleet samples the database's signals and publishes what
//! the brake came to; every worker reads that with its controls and goes by it.
//!
//! The controller itself is `reelshift_plan::throttle`. Here are the signals, one a file,
//! the duty of sampling them, and in [`brake`] what a worker makes of what is published.

mod allowance;
pub(crate) mod brake;
pub(crate) mod byte_rate;
mod canary;
mod chunk_time;
mod configured;
mod free_connections;
mod free_disk;
mod history_length;
mod lock_waits;
mod replica_lag;
mod samples;
mod sampling;
mod smooth;
mod threads_running;
mod work_window;

use std::time::{Duration, Instant};

use reelshift_plan::impact::Latency;
use reelshift_plan::throttle::{Reading, Signal, State};
use reelshift_plan::{Impact, Tuning};
use reelshift_store::duties::DutyLease;
use reelshift_store::report::throttle::{DUTY, fresh_state};
use reelshift_store::signals::{Figure, FleetSignals, Replica, ServerSignals};
use reelshift_store::vitals::QueueDepth;
use reelshift_store::{Result, SharedStore, StoreError};
use reelshift_telemetry::metrics;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use allowance::watch_allowance;
pub use configured::{ConfiguredSignal, SignalSource};

use crate::controls::Controls;
use canary::CanaryWatch;
use sampling::Sampling;

/// A sampler silent for this long is succeeded: three beats, and with a look at the
/// controls a successor is there within five seconds.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Between two looks at the threads running, which jump too much to be looked at once a
/// second.
const TICK: Duration = Duration::from_millis(250);

/// Between two counts of the queue, which cost some milliseconds.
const COUNT_QUEUE: Duration = Duration::from_secs(10);

/// Ticks between two samples of everything: one a second.
const TICKS: u32 = 4;

/// The result of reading one signal.
#[derive(Debug)]
enum SignalReading {
    Reading(Reading),
    /// The database does not give it, and that is known.
    Unavailable(String),
    /// There is no value now, and none is missing.
    Nothing,
}

impl SignalReading {
    fn unavailable(signal: Signal, why: &str) -> Self {
        Self::Unavailable(format!("{}: {why}", signal.name()))
    }
}

/// What the signals are read from.
struct Figures<'a> {
    signals: &'a ServerSignals,
    /// Averaged over the last seconds.
    threads_running: &'a Figure,
    fleet: &'a FleetSignals,
    /// Statements that are executed at once while the fleet rests, as far as that is known.
    running_without: Option<f64>,
    tuning: &'a Tuning,
}

impl Figures<'_> {
    fn figure(&self, signal: Signal, figure: &Figure, limit: f64) -> SignalReading {
        match figure {
            Figure::Is(value) => {
                SignalReading::Reading(Reading::new(signal, &self.signals.host, *value, limit))
            }
            Figure::NotGiven(why) => SignalReading::unavailable(signal, why),
        }
    }
}

/// What the throttle listens to beside the database itself, the same for all workers.
#[derive(Debug, Default)]
pub struct SignalSources {
    /// Servers that follow the database: their lag stops the fleet.
    pub replicas: Vec<Box<dyn Replica>>,
    pub configured: Vec<ConfiguredSignal>,
}

/// A worker's readiness to sample for the fleet.
pub(crate) struct Sampler {
    pub store: SharedStore,
    pub controls: Controls,
    pub sources: SignalSources,
    /// Who this is, for people.
    pub holder: String,
}

impl Sampler {
    /// Samples whenever nobody else does, until `stop` is cancelled.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut state = self.controls.changes();
        loop {
            let view = state.borrow_and_update().view.clone();
            let vacant = view.duties.iter().find(|duty| duty.name == DUTY).is_none_or(|duty| {
                duty.holder.is_none() || duty.silent_seconds >= TIMEOUT.as_secs_f64()
            });
            if vacant {
                match self.store.take_duty(DUTY, &self.holder, TIMEOUT).await {
                    Ok(Some(lease)) => {
                        self.hold(&lease, fresh_state(&view.duties), &stop).await;
                    }
                    Ok(None) => {}
                    Err(error) => tracing::debug!(%error, "could not take the throttle's duty"),
                }
            }
            tokio::select! {
                changed = state.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
        }
    }

    /// Samples and publishes until the duty is another's or `stop` is cancelled.
    async fn hold(&self, lease: &DutyLease, before: Option<State>, stop: &CancellationToken) {
        let mut sampling = Sampling::new(&self.store, &self.sources, 0, before);
        sampling.canary = Some(CanaryWatch::start(
            self.store.clone(),
            self.controls.clone(),
            self.holder.clone(),
        ));
        let mut counted: Option<Instant> = None;
        let _gauges = ClearGaugesOnDrop;
        let _keeping = AbortOnDropHandle::new(tokio::spawn(samples::keep(self.store.clone())));
        loop {
            if metrics::enabled() && counted.is_none_or(|at| at.elapsed() >= COUNT_QUEUE) {
                counted = Some(Instant::now());
                self.tell_queue().await;
            }
            match self.publish(lease, &mut sampling).await {
                Ok(()) => {}
                Err(StoreError::LeaseLost) => return,
                Err(error) => tracing::warn!(%error, "the throttle could not sample and publish"),
            }
            for _ in 0..TICKS {
                tokio::select! {
                    () = tokio::time::sleep(TICK) => sampling.tick().await,
                    () = stop.cancelled() => {
                        if let Err(error) = self.store.release_duty(lease).await {
                            tracing::debug!(%error, "the throttle's duty was not given back");
                        }
                        return;
                    }
                }
            }
        }
    }
}

impl Sampler {
    async fn publish(&self, lease: &DutyLease, sampling: &mut Sampling<'_>) -> Result<()> {
        let tuning = self.controls.tuning();
        let state = sampling.sample(&tuning).await?;
        let json = serde_json::to_value(&state).map_err(|error| {
            StoreError::Invalid(format!("the throttle's state is no JSON: {error}"))
        })?;
        self.store.beat_duty(lease, Some(&json)).await?;
        metrics::impact(state.impact.and_then(latencies));
        if sampling.published(&state, tuning.throttle) {
            self.controls.refresh();
        }
        Ok(())
    }
}

impl Sampler {
    /// One worker counts the queue for the metrics of all: the one that samples anyhow.
    async fn tell_queue(&self) {
        match self.store.queue_depths().await {
            Ok(depths) => metrics::queue(depths.into_iter().map(depth).collect()),
            Err(error) => tracing::debug!(%error, "the queue was not counted"),
        }
    }
}

/// What the metrics show; nothing where no application is at work.
fn latencies(impact: Impact) -> Option<metrics::Latencies> {
    let Impact { median, p99, .. } = impact;
    let pair = |latency: Latency| [latency.with, latency.without];
    impact
        .has_application()
        .then(|| metrics::Latencies { median: pair(median), p99: p99.map(pair) })
}

fn depth(depth: QueueDepth) -> metrics::Depth {
    let QueueDepth { kind, pending, oldest_seconds } = depth;
    metrics::Depth { kind: kind.into_str(), pending, oldest: oldest_seconds }
}

/// Dropped when another samples: this worker's count would grow old.
struct ClearGaugesOnDrop;

impl Drop for ClearGaugesOnDrop {
    fn drop(&mut self) {
        metrics::queue(Vec::new());
        metrics::monitor(None);
        metrics::impact(None);
    }
}
