//! The canary of the fleet, kept by whoever samples: what the fleet adds to the latency of
//! what an application does. It beats only while the fleet writes.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use reelshift_plan::Tuning;
use reelshift_plan::impact::{
    Beat, DEFAULT_PERCENT, Impact, Meter, Rhythm, Side, Slowed, StatementMeter, StatementTotal,
};
use reelshift_plan::throttle::{Reading, Signal};
use reelshift_store::signals::{Canary, Statements};
use reelshift_store::{Result, SharedStore};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::{SignalReading, TIMEOUT};
use crate::controls::Controls;

/// The duty whose row the canary writes.
const DUTY: &str = "canary";

/// From beat to beat while beats count, for some hundred milliseconds at a time; and elsewhere,
/// to know that it can.
const BEAT_COUNTED: Duration = Duration::from_millis(5);
const BEAT: Duration = Duration::from_millis(200);

/// Before a canary that failed, or that another has, is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Without a beat for this long what the fleet adds is not known.
const SILENT: Duration = Duration::from_secs(4);

/// The canary as whoever samples holds it.
#[derive(Debug)]
pub(super) struct CanaryWatch {
    meter: Meter,
    statements: StatementMeter,
    /// Why the server does not count single statements.
    uncounted: Option<String>,
    /// How the canary is to beat; `None` while it is not to.
    rhythm: watch::Sender<Option<Rhythm>>,
    heartbeats: mpsc::UnboundedReceiver<Heartbeat>,
    /// Since when a beat is waited for.
    waiting: Option<Instant>,
    failure: Option<String>,
    /// Whether this database has none.
    absent: bool,
    _task: AbortOnDropHandle<()>,
}

/// What the task of the canary reports.
#[derive(Debug)]
enum Heartbeat {
    Beat(Beat),
    /// A window began, and the server had counted this.
    Began(Vec<StatementTotal>),
    /// The one of this side ended.
    Ended(Side, Vec<StatementTotal>),
    Uncounted(String),
    Failed(String),
    Absent,
}

impl CanaryWatch {
    /// Starts the canary, which waits until [`Self::sample`] has it beat.
    pub(super) fn start(store: SharedStore, controls: Controls, holder: String) -> Self {
        let (rhythm, follow) = watch::channel(None);
        let (report, heartbeats) = mpsc::unbounded_channel();
        let keeper = Keeper { store, controls, holder, rhythm: follow, report };
        let task = AbortOnDropHandle::new(tokio::spawn(keeper.run()));
        Self {
            meter: Meter::default(),
            statements: StatementMeter::default(),
            uncounted: None,
            rhythm,
            heartbeats,
            waiting: None,
            failure: None,
            absent: false,
            _task: task,
        }
    }

    /// Takes in the heartbeats, and has the canary beat if `writes`: whether the fleet does.
    pub(super) fn sample(
        &mut self,
        tuning: &Tuning,
        writes: bool,
        host: &str,
    ) -> Vec<SignalReading> {
        let wanted = tuning.impact.filter(|_| writes && tuning.throttle);
        while let Ok(heartbeat) = self.heartbeats.try_recv() {
            match heartbeat {
                Heartbeat::Beat(beat) => {
                    self.waiting = Some(Instant::now());
                    self.failure = None;
                    self.meter.observe(beat);
                }
                Heartbeat::Began(totals) => self.statements.begin(totals),
                Heartbeat::Ended(side, totals) => self.statements.end(side, totals),
                Heartbeat::Uncounted(why) => self.uncounted = Some(why),
                Heartbeat::Failed(why) => self.failure = Some(why),
                Heartbeat::Absent => self.absent = true,
            }
        }
        let Some(percent) = wanted.filter(|_| !self.absent) else {
            self.meter = Meter::default();
            self.statements = StatementMeter::default();
            self.waiting = None;
            self.rhythm.send_replace(None);
            let why = "SQLite's one writer is shared by turns instead";
            return if self.absent {
                vec![SignalReading::unavailable(Signal::ApplicationMedian, why)]
            } else {
                Vec::new()
            };
        };
        self.rhythm.send_replace(Some(self.meter.rhythm()));
        let since = *self.waiting.get_or_insert_with(Instant::now);
        if since.elapsed() > SILENT {
            let why = self.failure.as_deref().unwrap_or("no answer");
            let why =
                format!("the canary has not beaten for {} s: {why}", since.elapsed().as_secs());
            let limit = f64::from(DEFAULT_PERCENT) / 100.0;
            let missing = Reading::missing(Signal::ApplicationMedian, host, limit, why);
            return vec![SignalReading::Reading(missing)];
        }
        let readings = self.meter.impact().map(|impact| impact.readings(host, percent));
        readings.into_iter().flatten().map(SignalReading::Reading).collect()
    }

    /// When the fleet has to rest, while the canary is to beat.
    pub(super) fn rhythm(&self) -> Option<Rhythm> {
        *self.rhythm.borrow()
    }

    /// Whether the first answer is still to come.
    pub(super) fn is_measuring(&self) -> bool {
        self.rhythm().is_some() && self.impact().is_none()
    }

    /// Whether an application is at work beside the fleet.
    pub(super) fn is_beside(&self) -> bool {
        self.impact().is_some_and(|impact| impact.has_application())
    }

    /// The fleet was given more to do at `now`, by the database's clock.
    pub(super) fn raised(&mut self, now: DateTime<Utc>) {
        self.meter.raised(now);
    }

    /// The application's statements to which the fleet adds most; `None` where no application
    /// is at work.
    pub(super) fn slowed(&self) -> Option<Slowed> {
        let counted = || Slowed::Statements(self.statements.slowed());
        self.is_beside().then(|| self.uncounted.clone().map_or_else(counted, Slowed::Unknown))
    }

    /// What was measured of late.
    pub(super) fn impact(&self) -> Option<Impact> {
        self.meter.impact()
    }
}

/// Keeps a canary alive.
struct Keeper {
    store: SharedStore,
    controls: Controls,
    holder: String,
    rhythm: watch::Receiver<Option<Rhythm>>,
    report: mpsc::UnboundedSender<Heartbeat>,
}

impl Keeper {
    async fn run(mut self) {
        while self.rhythm.wait_for(Option::is_some).await.is_ok() {
            let heartbeat = match self.open().await {
                Ok(Some(Some(canary))) => match self.beat(canary).await {
                    Ok(()) => continue,
                    Err(error) => Heartbeat::Failed(error.to_string()),
                },
                Ok(Some(None)) => {
                    self.send(Heartbeat::Absent);
                    return;
                }
                Ok(None) => Heartbeat::Failed("another process keeps it".to_owned()),
                Err(error) => Heartbeat::Failed(error.to_string()),
            };
            self.send(heartbeat);
            tokio::time::sleep(RETRY).await;
        }
    }

    /// A canary; `Some(None)` where this database has none, `None` where another has it.
    async fn open(&self) -> Result<Option<Option<Box<dyn Canary>>>> {
        match self.store.take_duty(DUTY, &self.holder, TIMEOUT).await? {
            Some(lease) => self.store.canary(&lease).await.map(Some),
            None => Ok(None),
        }
    }

    /// Beats until it is not to.
    async fn beat(&self, mut canary: Box<dyn Canary>) -> Result<()> {
        let mut due = tokio::time::Instant::now();
        let mut window = None;
        let mut counts = true;
        loop {
            let Some(rhythm) = *self.rhythm.borrow() else { return Ok(()) };
            let at = self.controls.database_now();
            let side = rhythm.side(at);
            if counts && side != window {
                counts = self.count(&mut *canary, window, side).await?;
                window = side;
            }
            let pause = rhythm.until_counted(at);
            let fast = pause.is_zero();
            let took = canary.beat().await?;
            let running = if fast { canary.threads_running().await?.value() } else { None };
            self.send(Heartbeat::Beat(Beat { at, took, running }));
            due += if fast { BEAT_COUNTED } else { BEAT.min(pause) };
            // After a slow one there is nothing to make up for.
            due = due.max(tokio::time::Instant::now());
            tokio::time::sleep_until(due).await;
        }
    }

    /// One window ends and another begins, where they are any; whether the server counts.
    async fn count(
        &self,
        canary: &mut dyn Canary,
        ends: Option<Side>,
        begins: Option<Side>,
    ) -> Result<bool> {
        let totals = match canary.statements().await? {
            Statements::Are(totals) => totals,
            Statements::NotGiven(why) => {
                self.send(Heartbeat::Uncounted(why));
                return Ok(false);
            }
        };
        if let Some(side) = ends {
            self.send(Heartbeat::Ended(side, totals.clone()));
        }
        if begins.is_some() {
            self.send(Heartbeat::Began(totals));
        }
        Ok(true)
    }

    fn send(&self, heartbeat: Heartbeat) {
        // Nobody samples any more: this task is about to be dropped.
        self.report.send(heartbeat).unwrap_or_default();
    }
}
