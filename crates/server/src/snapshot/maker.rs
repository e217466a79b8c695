//! The task that looks: once a second while somebody sees it, slowly otherwise, and never
//! for more than a tenth of the time.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::compose::Looker;
use super::{History, Snapshot};
use crate::app::Shared;

/// Between two looks while somebody is there.
const LIVELY: Duration = Duration::from_secs(1);

/// Between two looks while nobody is: the charts then have a past for whoever comes.
const QUIET: Duration = Duration::from_secs(15);

/// Whoever asked for a page is taken to be there for this long, without a stream too.
const ATTENTION: Duration = Duration::from_secs(15);

/// A look takes at most this part of the time, however large the ledger is.
const SHARE: u32 = 10;

/// How long looks take. One that took much longer than the one before waited for a database
/// that was away: only what two in a row took is the ledger's size.
#[derive(Debug, Default)]
struct Cadence {
    previous: Duration,
}

impl Cadence {
    /// From the start of a look that took `took` to the start of the next. One that `failed`
    /// says nothing about the ledger: the next is made soon, so that the database is seen as
    /// soon as it is back.
    fn next(&mut self, took: Duration, failed: bool) -> Duration {
        if failed {
            return took + LIVELY;
        }
        let usual = took.min(self.previous);
        self.previous = took;
        LIVELY.max(usual * SHARE).max(took)
    }
}

/// Nobody waits longer than this for a newer snapshot: the older one says its age.
const PATIENCE: Duration = Duration::from_secs(2);

/// The newest snapshot, with how old it is.
#[derive(Debug, Clone)]
pub struct Latest {
    /// Counts the looks.
    pub number: u64,
    pub snapshot: Arc<Snapshot>,
    pub history: Arc<History>,
    taken: Instant,
    /// Why there is no newer one.
    pub trouble: Option<String>,
}

impl Latest {
    /// How old its figures are.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.taken.elapsed()
    }
}

#[cfg(test)]
impl Latest {
    /// As if it had been read just now.
    pub(crate) fn of(snapshot: Snapshot, history: History) -> Self {
        Self {
            number: 1,
            snapshot: Arc::new(snapshot),
            history: Arc::new(history),
            taken: Instant::now(),
            trouble: None,
        }
    }
}

/// What was seen last: nothing at first, then a snapshot, or why there is none.
#[derive(Debug, Clone)]
enum Seen {
    Nothing,
    Trouble(String),
    Snapshot(Latest),
}

/// The snapshots of a process, shared by all who look.
#[derive(Debug)]
pub struct Snapshots {
    seen: watch::Sender<Seen>,
    asked: Mutex<Option<Instant>>,
    wake: Notify,
}

impl Default for Snapshots {
    fn default() -> Self {
        let seen = watch::Sender::new(Seen::Nothing);
        Self { seen, asked: Mutex::new(None), wake: Notify::new() }
    }
}

impl Snapshots {
    /// A snapshot that is fresh, if one comes soon; otherwise the last.
    ///
    /// # Errors
    /// Says why there has been none yet.
    pub async fn current(&self) -> Result<Latest, String> {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let mut receiver = self.seen.subscribe();
        let fresh = |seen: &Seen| match seen {
            Seen::Snapshot(latest) => latest.age() < LIVELY * 2,
            Seen::Nothing | Seen::Trouble(_) => false,
        };
        if !fresh(&receiver.borrow_and_update()) {
            self.wake.notify_one();
            // What it comes to is read below: a newer one, trouble, or the old one.
            tokio::time::timeout(PATIENCE, receiver.changed()).await.ok();
        }
        self.last()
    }

    /// A snapshot that was taken after now, if one comes soon: after a change, which must be
    /// seen on the page that answers it.
    ///
    /// # Errors
    /// As [`Self::current`].
    pub async fn after_now(&self) -> Result<Latest, String> {
        let now = Instant::now();
        let mut receiver = self.seen.subscribe();
        self.wake.notify_one();
        let newer = receiver.wait_for(|seen| match seen {
            Seen::Snapshot(latest) => latest.taken > now,
            Seen::Nothing | Seen::Trouble(_) => false,
        });
        tokio::time::timeout(PATIENCE, newer).await.map(drop).ok();
        self.last()
    }

    fn last(&self) -> Result<Latest, String> {
        match &*self.seen.borrow() {
            Seen::Snapshot(latest) => Ok(latest.clone()),
            Seen::Trouble(why) => Err(why.clone()),
            Seen::Nothing => Err("the first look at the database is not complete yet".to_owned()),
        }
    }

    /// Whoever holds this is taken to be there; it wakes with every look.
    pub(crate) fn watch(&self) -> Watching {
        let receiver = self.seen.subscribe();
        self.wake.notify_one();
        Watching(receiver)
    }

    /// Looks now, if nobody has looked for a while: the database is back.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    fn somebody_is_there(&self) -> bool {
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        self.seen.receiver_count() > 0 || asked.is_some_and(|asked| asked.elapsed() < ATTENTION)
    }

    fn publish(&self, looked: Result<(Snapshot, History), String>) {
        self.seen.send_modify(|seen| match looked {
            Ok((snapshot, history)) => {
                let number = match seen {
                    Seen::Snapshot(latest) => latest.number + 1,
                    Seen::Nothing | Seen::Trouble(_) => 1,
                };
                *seen = Seen::Snapshot(Latest {
                    number,
                    snapshot: Arc::new(snapshot),
                    history: Arc::new(history),
                    taken: Instant::now(),
                    trouble: None,
                });
            }
            Err(why) => match seen {
                Seen::Snapshot(latest) => latest.trouble = Some(why),
                Seen::Nothing | Seen::Trouble(_) => *seen = Seen::Trouble(why),
            },
        });
    }
}

/// Somebody who looks.
#[derive(Debug)]
pub(crate) struct Watching(watch::Receiver<Seen>);

impl Watching {
    /// The next look, whether it saw anything or not; `None` when the process ends.
    pub(crate) async fn next(&mut self) -> Option<Result<Latest, String>> {
        self.0.changed().await.ok()?;
        Some(match &*self.0.borrow_and_update() {
            Seen::Snapshot(latest) => Ok(latest.clone()),
            Seen::Trouble(why) => Err(why.clone()),
            Seen::Nothing => Err("the first look at the database is not complete yet".to_owned()),
        })
    }
}

pub(super) fn start(app: &Shared) {
    let (stop, app_of_task) = (app.stop.clone(), Arc::clone(app));
    app.tasks.spawn(async move {
        stop.run_until_cancelled(look(&app_of_task)).await;
    });
}

async fn look(app: &Shared) {
    let mut looker = Looker::new(app.store.clone(), Arc::clone(&app.flags));
    let mut cadence = Cadence::default();
    loop {
        let began = Instant::now();
        let looked = looker.look().await.map_err(|error| {
            tracing::warn!(%error, "the migration could not be looked at");
            error.to_string()
        });
        let failed = looked.is_err();
        app.snapshots.publish(looked.map(|snapshot| (snapshot, looker.history().clone())));
        let took = began.elapsed();
        tokio::time::sleep(cadence.next(took, failed).saturating_sub(took)).await;
        if !app.snapshots.somebody_is_there() {
            tokio::select! {
                () = tokio::time::sleep(QUIET) => {}
                () = app.snapshots.wake.notified() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_ledger_is_looked_at_rarely_and_an_outage_is_no_large_ledger() {
        let (fast, slow) = (Duration::from_millis(50), Duration::from_secs(3));
        let mut cadence = Cadence::default();
        assert_eq!(cadence.next(fast, false), LIVELY);
        assert_eq!(cadence.next(slow, false), slow, "one may have waited for the database");
        assert_eq!(cadence.next(slow, false), slow * SHARE, "two did not");
        assert_eq!(cadence.next(fast, false), LIVELY);
        assert_eq!(
            cadence.next(Duration::from_secs(10), true),
            Duration::from_secs(11),
            "soon again"
        );
        assert_eq!(cadence.next(slow, false), slow, "the first look after an outage");
    }
}
