//! A worker process in the fleet: registered while it lives, its heartbeat in a task of
//! its own so that no long batch and no slow claim can delay it.

use std::sync::Arc;
use std::time::Duration;

use reelshift_store::ledger::{Membership, NewWorker};
use reelshift_store::{Result, SharedStore, StoreError, rollback};
use reelshift_telemetry::metrics;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::in_hand::InHand;
use crate::room::{self, NoRoom};
use crate::{Activity, Fatal, Lottery, Outbox, Pulse, retry_start};

/// What of a heartbeat's period a worker waits before it tries one again that was not written.
const RETRY_PART: u32 = 4;

/// The fleet's periods. All workers of a database should agree on `lease_timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// A worker silent for this long loses its leases. Several heartbeats, so that one
    /// slow statement does not.
    pub lease_timeout: Duration,
    pub heartbeat: Duration,
    /// How often a worker looks for silent ones.
    pub reap: Duration,
    /// How often an idle worker looks for batches.
    pub poll: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            lease_timeout: Duration::from_secs(8),
            heartbeat: Duration::from_secs(2),
            reap: Duration::from_millis(500),
            poll: Duration::from_millis(250),
        }
    }
}

/// Why a worker did not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

/// This process' membership in the fleet.
#[derive(Debug)]
pub struct Session {
    store: SharedStore,
    worker: Uuid,
    times: Times,
    activity: Arc<Activity>,
    outbox: Arc<Outbox>,
    fatal: Arc<Fatal>,
    pulse: Arc<Pulse>,
    lottery: Arc<Lottery>,
    in_hand: Arc<InHand>,
    leave: CancellationToken,
    tasks: TaskTracker,
}

impl Session {
    /// Registers the worker and starts its heartbeat, which `pulse` shows, and its reaping
    /// of others.
    ///
    /// # Errors
    /// `Refused` while a rollback is not at its end, and [`NoRoom`] where the server has no
    /// connections for it; the worker has left again then.
    pub async fn join(
        store: SharedStore,
        worker: &NewWorker,
        times: Times,
        pulse: Arc<Pulse>,
    ) -> Result<Self, JoinError> {
        let retry = StoreError::is_transient;
        let wanting = async |has_joined| {
            let timeout = times.lease_timeout;
            retry_start(retry, async || room::wanting(&store, worker.id, has_joined, timeout).await)
                .await
        };
        if let Some(no_room) = wanting(false).await? {
            return Err(no_room.into());
        }
        retry_start(retry, async || store.register_worker(worker).await).await?;
        // Now that others see it: a rollback that began meanwhile looks for workers then, and of
        // many workers that start in the same moment those with the smallest ids stay.
        let checked = async {
            retry_start(retry, async || rollback::refuse_while_open(&*store).await).await?;
            wanting(true).await?.map_or(Ok(()), |no_room| Err(no_room.into()))
        };
        if let Err(refused) = checked.await {
            store.deregister_worker(worker.id).await?;
            return Err(refused);
        }
        pulse.begin(times.lease_timeout);
        let session = Self {
            store,
            worker: worker.id,
            times,
            activity: Arc::default(),
            outbox: Arc::default(),
            fatal: Arc::default(),
            pulse,
            lottery: Arc::default(),
            in_hand: Arc::default(),
            leave: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        // The reaper acts only while this watch says since when the database has answered
        // every heartbeat.
        let (steady, steady_since) = tokio::sync::watch::channel(Some(Instant::now()));
        let heartbeat = Heartbeat {
            store: Arc::clone(&session.store),
            worker: worker.clone(),
            activity: Arc::clone(&session.activity),
            steady,
            fatal: Arc::clone(&session.fatal),
            pulse: Arc::clone(&session.pulse),
            in_hand: Arc::clone(&session.in_hand),
        };
        let beating = heartbeat.run(times.heartbeat);
        session.tasks.spawn(session.leave.clone().run_until_cancelled_owned(beating));
        let (outbox, store) = (Arc::clone(&session.outbox), Arc::clone(&session.store));
        session.tasks.spawn(
            session
                .leave
                .clone()
                .run_until_cancelled_owned(async move { outbox.run(&store).await }),
        );
        session.tasks.spawn(session.leave.clone().run_until_cancelled_owned(reap(
            Arc::clone(&session.store),
            times,
            steady_since,
            Arc::clone(&session.lottery),
        )));
        session.tasks.close();
        Ok(session)
    }

    #[must_use]
    pub fn store(&self) -> &SharedStore {
        &self.store
    }

    #[must_use]
    pub const fn worker(&self) -> Uuid {
        self.worker
    }

    #[must_use]
    pub const fn times(&self) -> Times {
        self.times
    }

    #[must_use]
    pub fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// Whose turn it is to do what any worker could; told how many there are by whoever
    /// looks at the controls.
    #[must_use]
    pub fn lottery(&self) -> &Arc<Lottery> {
        &self.lottery
    }

    /// Error rows that wait for the database.
    #[must_use]
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Where an error that ends the worker is told.
    #[must_use]
    pub fn fatal(&self) -> &Arc<Fatal> {
        &self.fatal
    }

    /// What this worker has claimed.
    pub(crate) fn in_hand(&self) -> &Arc<InHand> {
        &self.in_hand
    }

    /// Writes the error rows that wait, stops the heartbeat and leaves the fleet: no lease
    /// is left behind.
    pub async fn leave(&self) -> Result<()> {
        self.leave.cancel();
        self.tasks.wait().await;
        self.outbox.flush(&self.store).await;
        // One last report, so that the totals of a short run are right.
        self.activity.idle("left");
        self.store.heartbeat(self.worker, &self.activity.report()).await?;
        self.store.deregister_worker(self.worker).await
    }
}

/// Says that this worker lives, and compares what the ledger says of it with what it knows.
struct Heartbeat {
    store: SharedStore,
    worker: NewWorker,
    activity: Arc<Activity>,
    steady: tokio::sync::watch::Sender<Option<Instant>>,
    fatal: Arc<Fatal>,
    pulse: Arc<Pulse>,
    in_hand: Arc<InHand>,
}

impl Heartbeat {
    async fn run(self, period: Duration) {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.activity.until_it_acknowledges() => {}
            }
            let beat = self.store.heartbeat(self.worker.id, &self.activity.report()).await;
            self.pulse.beat(beat.is_ok());
            let followed = match beat {
                Ok(membership) => self.follow(membership).await,
                Err(error) => Err(error),
            };
            if let Err(error) = followed {
                // Before others take it for dead.
                ticks.reset_after(period / RETRY_PART);
                self.steady.send_replace(None);
                if !self.fatal.stop_if_fatal(&error) {
                    tracing::warn!(worker = %self.worker.id, %error, "the heartbeat was not written");
                }
            }
        }
    }

    async fn follow(&self, membership: Membership) -> Result<()> {
        let worker = self.worker.id;
        match membership {
            Membership::Live => {
                self.steady.send_if_modified(|since| {
                    since.is_none() && since.replace(Instant::now()).is_none()
                });
            }
            Membership::WasLost => {
                tracing::warn!(%worker, "this worker was silent for too long: its leases went to others");
                self.steady.send_replace(Some(Instant::now()));
            }
            Membership::Unknown => {
                self.store.register_worker(&self.worker).await?;
                tracing::warn!(%worker, "the database did not know this worker: registered again");
                self.steady.send_replace(Some(Instant::now()));
            }
        }
        let unknown = self.in_hand.unknown(self.store.leases_of(worker).await?);
        if !unknown.is_empty() {
            let batches = self.store.release(&unknown).await?;
            // Or none: they came to their end meanwhile.
            if batches > 0 {
                tracing::warn!(%worker, batches, "gave back batches that this worker does not know of");
            }
        }
        Ok(())
    }
}

/// Takes back what silent workers hold. Only while our own heartbeat has been answered for
/// a whole lease timeout: after an outage of the database everybody's heartbeat is old,
/// and the first one back must not take everybody's work.
async fn reap(
    store: SharedStore,
    times: Times,
    steady_since: tokio::sync::watch::Receiver<Option<Instant>>,
    lottery: Arc<Lottery>,
) {
    let mut ticks = interval(times.reap);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let due = ticks.tick().await;
        // A process that was frozen itself has nothing to say about others yet.
        let frozen = due.elapsed() > times.heartbeat;
        let steady =
            steady_since.borrow().is_some_and(|since| since.elapsed() >= times.lease_timeout);
        if frozen || !steady || !lottery.wins() {
            continue;
        }
        match store.reap(times.lease_timeout).await {
            Ok(0) => {}
            Ok(batches) => {
                metrics::leases_reaped(batches);
                tracing::warn!(batches, "took batches back from a silent worker");
            }
            Err(error) => tracing::debug!(%error, "could not look for silent workers"),
        }
    }
}
