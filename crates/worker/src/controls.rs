//! What the fleet's operators say, as this worker knows it: read once a second, so that
//! every worker goes by a change within two.
//!
//! Here the limits of the gates are set. A paused fleet is a limit of 0: nothing is
//! claimed, what runs leaves at its next step and its batches go back, and only the
//! heartbeat goes on.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rand::RngExt;
use reelshift_plan::throttle::{Level, Signal};
use reelshift_plan::tuning::Knob;
use reelshift_plan::{RunState, Tuning};
use reelshift_queue::activity::WAITING;
use reelshift_queue::{Activity, Gate, Lottery, Session};
use reelshift_store::controls::FleetView;
use reelshift_store::report::ThrottleReport;
use reelshift_store::report::throttle::{STALE, fresh_state};
use reelshift_store::{Result, SharedStore};
use reelshift_telemetry::metrics::{self, OneOf};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::hash::intake::Intake;
use crate::throttle::brake;
use crate::throttle::byte_rate::ByteRate;

/// Between two polls; jittered, and with its statement below the two seconds in which a
/// change has to be seen.
const PERIOD: Duration = Duration::from_millis(900);

/// A worker that has just joined waits this long for a database that went away meanwhile,
/// as one does that is at work.
const FIRST_LOOK: Duration = Duration::from_secs(60);

/// How often it is checked whether a drain is over.
const OVER_PERIOD: Duration = Duration::from_millis(250);
/// Files that are read notice the end of a drain within a tenth of this; what has not after
/// this long hangs.
const OVER_PATIENCE: Duration = Duration::from_secs(1);

/// The fleet as this worker saw it last.
#[derive(Debug, Clone)]
pub(crate) struct FleetState {
    pub view: FleetView,
    /// What the throttle published, of the same moment.
    pub throttle: ThrottleReport,
    /// When the view was read: halfway from the question to the answer. While the database is
    /// away this grows old, and the view stays.
    pub at: Instant,
}

impl FleetState {
    /// The database's clock now, as well as this process can tell.
    fn database_now(&self) -> DateTime<Utc> {
        self.view.at + self.at.elapsed()
    }

    /// How much of a rest of the whole fleet is left.
    pub(crate) fn rest_left(&self) -> Duration {
        let rhythm = self.throttle.rhythm.filter(|_| self.at.elapsed() < STALE);
        rhythm.map_or(Duration::ZERO, |rhythm| rhythm.rest_left(self.database_now()))
    }

    fn verdict(&self, run: Uuid) -> Verdict {
        match self.view.held.get(&run) {
            Some(RunState::Cancelled) => Verdict::Drop,
            Some(_) => Verdict::GiveBack,
            None if self.view.paused.is_some() => Verdict::GiveBack,
            None => Verdict::GoOn,
        }
    }
}

/// Reads the controls and hands them on.
#[derive(Debug, Clone)]
pub(crate) struct Controls {
    state: watch::Receiver<FleetState>,
    refresh: Arc<Notify>,
}

/// Whether an attempt goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    GoOn,
    /// Stop in good order and give the batch back.
    GiveBack,
    /// The batch is nobody's any more: stop at once.
    Drop,
}

/// The gates of this worker, and what it was started with.
#[derive(Debug)]
pub(crate) struct Gates {
    /// As `--concurrency` says.
    pub own: usize,
    /// Files that the hashing threads take at once for `own`; several for each of them.
    pub own_files: usize,
    pub backfill: Arc<Gate>,
    /// Windows being compared at once: they lock nothing, and so are not counted as chunks.
    pub validate: Arc<Gate>,
    pub hash: Intake,
    /// Files being hashed at once, whichever batch they are of.
    pub files: Arc<Gate>,
    /// Bytes in a second that are read from files.
    pub bytes: Arc<ByteRate>,
}

impl Gates {
    pub(crate) fn new(own: usize, own_files: usize) -> Self {
        Self {
            own,
            own_files,
            backfill: Gate::new(0),
            validate: Gate::new(0),
            hash: Intake::new(Gate::new(0)),
            files: Gate::new(0),
            bytes: Arc::default(),
        }
    }

    fn own(&self) -> u32 {
        u32::try_from(self.own).unwrap_or(u32::MAX)
    }

    /// The throttle leaves hashing alone but for a stop: it hardly touches the database.
    fn set(&self, view: &FleetView, throttle: &ThrottleReport) {
        let limit = match view.paused {
            None if throttle.at_once > 0 => {
                brake::batches_here(view, self.own(), throttle) as usize
            }
            _ => 0,
        };
        let chunks = brake::chunks_here(view, self.own(), throttle) as usize;
        self.bytes.set(view.tuning.byte_rate, view.live);
        self.backfill.set_limit(limit.min(chunks));
        self.validate.set_limit(limit.min(chunks));
        let files = (limit * self.own_files).div_ceil(self.own);
        let files = self.bytes.files_at_once(limit, files);
        self.files.set_limit(files);
        self.hash.set_at_once(files);
    }
}

impl Controls {
    /// Reads the controls once, waiting for a database that is away, and from then on until
    /// `leave` is cancelled.
    pub(crate) async fn watch(
        session: &Session,
        gates: Arc<Gates>,
        leave: CancellationToken,
        stop: CancellationToken,
    ) -> Result<Self> {
        let refresh = Arc::new(Notify::new());
        let watcher = Watcher {
            refresh: Arc::clone(&refresh),
            store: Arc::clone(session.store()),
            worker: session.worker(),
            activity: Arc::clone(session.activity()),
            lottery: Arc::clone(session.lottery()),
            gates,
            stop,
        };
        let first = Instant::now();
        let (view, asked) = loop {
            let asked = Instant::now();
            match watcher.store.fleet_view(watcher.worker).await {
                Err(error) if error.is_transient() && first.elapsed() < FIRST_LOOK => {
                    tracing::warn!(%error, "could not read the fleet's controls, trying again");
                    tokio::time::sleep(PERIOD).await;
                }
                view => break (view?, asked),
            }
        };
        let first = watcher.apply(None, view, asked);
        let (sender, state) = watch::channel(first);
        tokio::spawn(leave.run_until_cancelled_owned(watcher.poll(sender)));
        Ok(Self { state, refresh })
    }

    /// The newest state and each later one.
    pub(crate) fn changes(&self) -> watch::Receiver<FleetState> {
        self.state.clone()
    }

    /// Whether the whole fleet is paused.
    pub(crate) fn paused(&self) -> bool {
        self.state.borrow().view.paused.is_some()
    }

    /// Returns when the whole fleet is paused.
    pub(crate) async fn until_paused(&self) {
        let mut state = self.changes();
        if state.wait_for(|state| state.view.paused.is_some()).await.is_err() {
            // The worker leaves: nothing is heard any more.
            std::future::pending::<()>().await;
        }
    }

    /// Has the controls read again at once: what is published has changed.
    pub(crate) fn refresh(&self) {
        self.refresh.notify_one();
    }

    /// What the throttle had come to, for a failure's record.
    pub(crate) fn throttle(&self) -> serde_json::Value {
        let state = self.state.borrow();
        let ThrottleReport { level, chunks, reason, .. } = &state.throttle;
        serde_json::json!({
            "level": level,
            "chunks": chunks,
            "reason": reason,
            "seen_seconds_ago": state.at.elapsed().as_secs(),
        })
    }

    /// The database's clock now, as well as this process can tell.
    pub(crate) fn database_now(&self) -> DateTime<Utc> {
        self.state.borrow().database_now()
    }

    /// The settings.
    pub(crate) fn tuning(&self) -> Tuning {
        self.state.borrow().view.tuning.clone()
    }

    /// The time that a chunk aims at.
    pub(crate) fn chunk_target(&self) -> Duration {
        self.state.borrow().view.tuning.chunk_target
    }

    /// Whether an attempt at a batch of `run` goes on.
    pub(crate) fn verdict(&self, run: Uuid) -> Verdict {
        self.state.borrow().verdict(run)
    }

    /// Returns when no attempt at a batch of `run` goes on.
    pub(crate) async fn until_held(&self, run: Uuid) {
        let mut state = self.changes();
        if state.wait_for(|state| state.verdict(run) != Verdict::GoOn).await.is_err() {
            // The worker leaves: nothing is heard any more.
            std::future::pending::<()>().await;
        }
    }
}

struct Watcher {
    store: SharedStore,
    worker: Uuid,
    activity: Arc<Activity>,
    lottery: Arc<Lottery>,
    gates: Arc<Gates>,
    refresh: Arc<Notify>,
    /// Ends the worker's work in good order.
    stop: CancellationToken,
}

impl Watcher {
    async fn poll(self, sender: watch::Sender<FleetState>) {
        loop {
            let pause = PERIOD.mul_f64(rand::rng().random_range(0.8..1.1));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.refresh.notified() => {}
            }
            let asked = Instant::now();
            match self.store.fleet_view(self.worker).await {
                Ok(view) => {
                    let state = self.apply(Some(&sender.borrow().view), view, asked);
                    sender.send_replace(state);
                }
                Err(error) => {
                    let age = sender.borrow().at.elapsed();
                    tracing::warn!(%error, ?age, "could not read the fleet's controls, going by the last ones");
                }
            }
        }
    }

    fn apply(&self, before: Option<&FleetView>, view: FleetView, asked: Instant) -> FleetState {
        let at = asked + asked.elapsed() / 2;
        say(before, &view);
        let throttle = ThrottleReport::of(&view.duties, &view.tuning);
        self.gates.set(&view, &throttle);
        self.lottery.set_live(view.live);
        let state = fresh_state(&view.duties).filter(|state| state.level.is_throttled());
        let reason = state.and_then(|state| state.reason).map(|reading| reading.signal.label());
        metrics::throttle(
            throttle.share,
            OneOf { name: Some(throttle.level.into_str()), all: &Level::NAMES },
            OneOf { name: reason, all: &Signal::LABELS },
        );
        let share = brake::batches_here(&view, self.gates.own(), &throttle);
        self.activity.set_capacity(share);
        if let Some(by) = view.drained_by.as_deref().filter(|_| !self.stop.is_cancelled()) {
            tracing::warn!(by, "this worker was told to drain: it takes nothing more and leaves");
            self.stop.cancel();
        }
        let has_no_connections = throttle.workers.is_some_and(|workers| view.rank >= workers);
        self.activity.idle(match view.paused {
            Some(_) => "paused",
            None if throttle.at_once == 0 => "stopped by the throttle",
            None if has_no_connections => "the server has no connections for it",
            None if share == 0 => "beyond the fleet's concurrency",
            None if self.gates.backfill.limit() == 0 => "held back by the throttle",
            None => WAITING,
        });
        self.activity.set_controls_seen(view.version);
        FleetState { view, throttle, at }
    }
}

/// Logs what changed.
fn say(before: Option<&FleetView>, now: &FleetView) {
    let paused = before.and_then(|before| before.paused.as_ref());
    match (&now.paused, paused) {
        (Some(pause), None) => {
            let reason = pause.reason.as_deref().unwrap_or("no reason given");
            tracing::warn!(by = pause.changed_by, reason, "the fleet is paused");
        }
        (None, Some(_)) => tracing::info!("the fleet is resumed"),
        _ => {}
    }
    if let Some(before) = before.filter(|before| before.tuning != now.tuning) {
        let is_other = |knob: &&Knob| before.tuning.show(**knob) != now.tuning.show(**knob);
        let changed = Knob::ALL.iter().filter(is_other);
        let changed: Vec<_> =
            changed.map(|knob| format!("{knob}={}", now.tuning.show(*knob))).collect();
        tracing::info!(settings = changed.join(", "), "the fleet is tuned");
    }
}

/// Tells the threads that read the files of one attempt when to stop: at once where the
/// batch is nobody's any more, else when the drain is over.
#[derive(Debug)]
pub(crate) struct Interrupt {
    controls: Controls,
    stop: CancellationToken,
    run: Uuid,
    drain: Duration,
    since: OnceLock<Instant>,
}

impl Interrupt {
    pub(crate) const fn new(
        controls: Controls,
        stop: CancellationToken,
        run: Uuid,
        drain: Duration,
    ) -> Self {
        Self { controls, stop, run, drain, since: OnceLock::new() }
    }

    /// Returns when nothing new is begun any more.
    pub(crate) async fn begins(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.controls.until_held(self.run) => {}
        }
    }

    /// Whether nothing new is begun.
    pub(crate) fn begun(&self) -> bool {
        self.stop.is_cancelled() || self.controls.verdict(self.run) != Verdict::GoOn
    }

    /// Returns when what is under way has had its time to end, and a little more.
    pub(crate) async fn over(&self) {
        while !self.due() {
            tokio::time::sleep(OVER_PERIOD).await;
        }
        tokio::time::sleep(OVER_PATIENCE).await;
    }

    /// Whether what is under way ends now.
    pub(crate) fn due(&self) -> bool {
        match self.controls.verdict(self.run) {
            Verdict::Drop => true,
            Verdict::GoOn if !self.stop.is_cancelled() => false,
            _ => self.since.get_or_init(Instant::now).elapsed() >= self.drain,
        }
    }
}
