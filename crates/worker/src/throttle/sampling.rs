//! One sample of everything, and what is remembered from sample to sample.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use reelshift_plan::Tuning;
use reelshift_plan::throttle::{Level, Reading, Signal, State, Throttle};
use reelshift_queue::room::connections_of;
use reelshift_store::signals::{Figure, Replica};
use reelshift_store::{Result, SharedStore};

use super::canary::CanaryWatch;
use super::configured::Configured;
use super::smooth::Smooth;
use super::{
    Figures, SignalReading, SignalSources, chunk_time, free_connections, free_disk, history_length,
    lock_waits, replica_lag, threads_running, work_window,
};

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

/// What the sampling worker keeps between two samples.
pub(super) struct Sampling<'a> {
    store: &'a SharedStore,
    replicas: &'a [Box<dyn Replica>],
    configured: Configured,
    /// Chunks that this process would write at once beside those of the registered workers.
    pub(super) capacity: u32,
    controller: Throttle,
    threads_running: Smooth,
    /// What it was before the fleet's first chunk, as far as that was seen.
    running_at_rest: Option<f64>,
    samples: u32,
    lock_waits: Smooth,
    /// With whoever samples for the fleet.
    pub(super) canary: Option<CanaryWatch>,
    /// The replicas that the sampler before listened to.
    known_replicas: Vec<String>,
    /// The last sample, and when.
    last: Option<(Instant, State)>,
    said: Option<(Level, Option<(Signal, String)>)>,
    unavailable_said: HashSet<String>,
}

impl<'a> Sampling<'a> {
    pub(super) fn new(
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
    pub(super) async fn tick(&mut self) {
        // A failure shows in the next sample, which says why.
        if let Ok(Figure::Is(running)) = self.store.threads_running().await {
            self.threads_running.observe(running, Instant::now());
        }
    }

    /// # Errors
    /// When the database cannot be asked, and never could: later that is a signal missing.
    pub(super) async fn sample(&mut self, tuning: &Tuning) -> Result<State> {
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
        state.slowed = self.canary.as_ref().and_then(CanaryWatch::slowed);
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
    pub(super) fn published(&mut self, state: &State, is_on: bool) -> bool {
        let unavailable = state.unavailable.iter();
        let new: Vec<&str> = unavailable
            .filter(|why| self.unavailable_said.insert((*why).clone()))
            .map(String::as_str)
            .collect();
        if !new.is_empty() {
            tracing::info!("the throttle goes without {}", new.join("; without "));
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
