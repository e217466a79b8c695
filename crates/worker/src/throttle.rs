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
mod smooth;
mod threads_running;
mod work_window;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use reelshift_plan::impact::Latency;
use reelshift_plan::throttle::{Level, Reading, Signal, State, Throttle};
use reelshift_plan::{Impact, Tuning};
use reelshift_queue::room::connections_of;
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
use configured::Configured;
use smooth::Smooth;

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

/// Before the fleet's first chunk; not much later, where what is executed may be the fleet's.
const SAMPLES_AT_REST: u32 = 3;

/// What was read at one moment.
struct Sample {
    signals: Vec<SignalReading>,
    /// The database's clock.
    at: DateTime<Utc>,
    /// Chunks that the fleet would write at once.
    capacity: u32,
    /// Those that the server's connections are enough for.
    workers: Option<u32>,
}

/// What whoever samples remembers from sample to sample.
struct Sampling<'a> {
    store: &'a SharedStore,
    replicas: &'a [Box<dyn Replica>],
    configured: Configured,
    /// Chunks that this process would write at once beside those of the registered workers.
    capacity: u32,
    controller: Throttle,
    threads_running: Smooth,
    /// What it was before the fleet's first chunk, as far as that was seen.
    running_at_rest: Option<f64>,
    samples: u32,
    lock_waits: Smooth,
    /// With whoever samples for the fleet.
    canary: Option<CanaryWatch>,
    /// The replicas that the sampler before listened to.
    known_replicas: Vec<String>,
    /// The last sample, and when.
    last: Option<(Instant, State)>,
    said: Option<(Level, Option<(Signal, String)>)>,
    unavailable_said: HashSet<String>,
}

impl<'a> Sampling<'a> {
    fn new(
        store: &'a SharedStore,
        sources: &'a SignalSources,
        capacity: u32,
        before: Option<State>,
    ) -> Self {
        let readings = before.as_ref().map(|state| &state.readings[..]).unwrap_or_default();
        let known = readings.iter();
        Self {
            store,
            replicas: &sources.replicas,
            configured: Configured::new(sources.configured.clone(), readings),
            capacity,
            controller: before.as_ref().map_or_else(Throttle::default, Throttle::resume),
            threads_running: Smooth::default(),
            running_at_rest: None,
            samples: 0,
            lock_waits: Smooth::default(),
            canary: None,
            known_replicas: known
                .filter(|reading| reading.signal == Signal::ReplicaLag)
                .map(|reading| reading.host.clone())
                .collect(),
            last: None,
            said: None,
            unavailable_said: HashSet::new(),
        }
    }

    /// Looks at what jumps.
    async fn tick(&mut self) {
        // A failure shows in the next sample, which says why.
        if let Ok(Figure::Is(running)) = self.store.threads_running().await {
            self.threads_running.observe(running, Instant::now());
        }
    }

    /// # Errors
    /// When the database cannot be asked, and never could: later that is a signal missing.
    async fn sample(&mut self, tuning: &Tuning) -> Result<State> {
        let now = Instant::now();
        let elapsed = self.last.as_ref().map_or(Duration::ZERO, |(at, _)| at.elapsed());
        let sample = match (self.read_signals(tuning).await, &self.last) {
            (Ok(sample), _) => sample,
            (Err(error), None) => return Err(error),
            (Err(error), Some((_, last))) => {
                let missing = Reading::missing(Signal::ThreadsRunning, "", 1.0, error.to_string());
                Sample {
                    signals: vec![SignalReading::Reading(missing)],
                    at: last.at,
                    capacity: last.capacity,
                    workers: last.workers,
                }
            }
        };
        let Sample { signals, at, capacity, workers } = sample;
        let (mut readings, mut unavailable) = (Vec::new(), Vec::new());
        for signal in signals {
            match signal {
                SignalReading::Reading(reading) => readings.push(reading),
                SignalReading::Unavailable(why) => unavailable.push(why),
                SignalReading::Nothing => {}
            }
        }
        self.controller.measuring = self.canary.as_ref().is_some_and(CanaryWatch::is_measuring);
        let mut state = self.controller.step(readings, unavailable, capacity, elapsed, at);
        let before = self.last.as_ref().map_or(state.chunks, |(_, last)| last.chunks);
        let raised = state.chunks > before;
        if let Some(canary) = self.canary.as_mut().filter(|canary| raised && canary.is_beside()) {
            canary.raised(at);
        }
        state.workers = workers;
        state.rhythm = self.canary.as_ref().and_then(CanaryWatch::rhythm);
        state.impact = self.canary.as_ref().and_then(CanaryWatch::impact);
        self.last = Some((now, state.clone()));
        Ok(state)
    }

    async fn read_signals(&mut self, tuning: &Tuning) -> Result<Sample> {
        let mut signals = self.store.server_signals().await?;
        let fleet = self.store.fleet_signals().await?;
        let now = Instant::now();
        signals.lock_waits = self.lock_waits.of(signals.lock_waits, now);
        let threads_running = self.threads_running.of(signals.threads_running.clone(), now);
        let impact = self.canary.as_ref().and_then(CanaryWatch::impact);
        self.samples += 1;
        if self.samples <= SAMPLES_AT_REST && fleet.chunk_seconds.is_none() {
            self.running_at_rest = threads_running.value();
        }
        let measured = impact.map(|impact| impact.running_without);
        let figures = Figures {
            signals: &signals,
            threads_running: &threads_running,
            fleet: &fleet,
            running_without: measured.or(self.running_at_rest),
            tuning,
        };
        let mut samples = replica_lag::sample(
            self.replicas,
            &self.known_replicas,
            signals.at,
            tuning.limits.replica_lag,
        )
        .await;
        let writes = fleet.chunk_seconds.is_some();
        let added = self.canary.as_mut().map(|canary| canary.sample(tuning, writes, &signals.host));
        // Where it is measured what the fleet adds, slow chunks are no sign of it any more.
        let mut added = added.into_iter().flatten().peekable();
        if !matches!(added.peek(), Some(SignalReading::Reading(_))) {
            samples.push(chunk_time::sample(&figures));
        }
        samples.extend(added);
        let configured = self.configured.sample(self.store).await;
        samples.extend(configured.into_iter().map(SignalReading::Reading));
        samples.extend([
            work_window::sample(&figures),
            threads_running::sample(&figures),
            history_length::sample(&figures),
            lock_waits::sample(&figures),
            free_connections::sample(&figures),
            free_disk::sample(&figures),
        ]);
        let each = connections_of(&**self.store);
        let workers =
            signals.connections.map(|connections| connections.workers(tuning.connections, each));
        Ok(Sample {
            signals: samples,
            at: signals.at,
            capacity: fleet.capacity.saturating_add(self.capacity),
            workers,
        })
    }

    /// Logs what changed; returns whether anything did. Nothing throttles the fleet where the
    /// throttle is switched off.
    fn published(&mut self, state: &State, is_on: bool) -> bool {
        for why in &state.unavailable {
            if self.unavailable_said.insert(why.clone()) {
                tracing::info!("the throttle goes without {why}");
            }
        }
        let throttled = is_on && state.level.is_throttled();
        let reason = state.reason.as_ref().filter(|_| throttled);
        let now = (
            if throttled { state.level } else { Level::Free },
            reason.map(|reason| (reason.signal, reason.host.clone())),
        );
        let first = self.said.is_none();
        let changed = self.said.as_ref() != Some(&now);
        if changed {
            let share = state.share();
            match reason {
                Some(reason) => {
                    tracing::warn!(level = state.level.into_str(), share, %reason, "the fleet is throttled");
                }
                None if first => tracing::info!(share, "this worker samples for the throttle"),
                None => tracing::info!(share, "the fleet is no longer throttled"),
            }
            self.said = Some(now);
        }
        changed
    }
}
