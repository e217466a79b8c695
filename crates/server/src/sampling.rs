//! The task that samples the migration for all viewers: once a second while somebody is
//! there, rarely otherwise, and for no more than a tenth of the time, but for pages that answer a
//! change.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use reelshift_overview::{History, Overview, Sampler};
use tokio::sync::{Notify, watch};

use crate::app::Shared;
use crate::fleet_metrics::FleetMetrics;

/// Between two samples while somebody is there.
const INTERVAL_WATCHED: Duration = Duration::from_secs(1);

/// Between two samples while nobody is: the charts then have a past for the next viewer.
const INTERVAL_UNWATCHED: Duration = Duration::from_secs(15);

/// A viewer counts as there for this long after a request, without a stream too.
const VIEWER_STAYS: Duration = Duration::from_secs(15);

/// Sampling takes at most one in this many seconds, however large the ledger is.
const REST_PER_SAMPLE: u32 = 10;

/// How long samples take. One that took much longer than the one before waited for a
/// database that was away: only the time of two in a row tells the ledger's size.
#[derive(Debug, Default)]
struct Cadence {
    previous: Duration,
}

impl Cadence {
    /// From the start of a sample that took `took` to the start of the next. One that `failed`
    /// says nothing about the ledger: the next follows soon, so that an outage ends on the
    /// pages when it ends.
    fn next(&mut self, took: Duration, failed: bool) -> Duration {
        if failed {
            return took + INTERVAL_WATCHED;
        }
        let usual = took.min(self.previous);
        self.previous = took;
        INTERVAL_WATCHED.max(usual * REST_PER_SAMPLE).max(took)
    }
}

/// A request waits at most this long for a newer overview, then shows the old one's age.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// The answer before the first sample.
const NO_SAMPLE_YET: &str = "the first read of the migration's state is not complete yet";

/// The newest overview, with its age.
#[derive(Debug, Clone)]
pub struct Latest {
    /// Counts the samples.
    pub number: u64,
    pub overview: Arc<Overview>,
    pub history: Arc<History>,
    taken: Instant,
    /// The next one is there by then, while somebody looks.
    expires: Instant,
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

impl Latest {
    /// One that was read just now.
    pub(crate) fn new(overview: Overview, history: History) -> Self {
        let now = Instant::now();
        Self {
            number: 1,
            overview: Arc::new(overview),
            history: Arc::new(history),
            taken: now,
            expires: now,
            trouble: None,
        }
    }
}

/// The result of the samples so far: none at first, then an overview, or why there is none.
#[derive(Debug, Clone)]
enum Sampled {
    Nothing,
    Trouble(String),
    Overview(Latest),
}

/// The overviews of a process, shared by all viewers.
#[derive(Debug)]
pub struct Overviews {
    sampled: watch::Sender<Sampled>,
    last_request: Mutex<Option<Instant>>,
    /// Somebody comes: nobody had been there.
    viewer: Notify,
    /// Somebody has changed something that the last sample does not have.
    change: Notify,
}

impl Default for Overviews {
    fn default() -> Self {
        let sampled = watch::Sender::new(Sampled::Nothing);
        let last_request = Mutex::new(None);
        Self { sampled, last_request, viewer: Notify::new(), change: Notify::new() }
    }
}

impl Overviews {
    /// The newest overview. Where nobody has looked for a while, a newer one, if it comes
    /// soon.
    ///
    /// # Errors
    /// The reason why there has been none yet.
    pub async fn current(&self) -> Result<Latest, String> {
        *self.last_request.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let mut receiver = self.sampled.subscribe();
        self.viewer.notify_one();
        if has_expired(&receiver.borrow_and_update()) {
            // The result is read below: a newer one, trouble, or the old one.
            tokio::time::timeout(MAX_WAIT, receiver.changed()).await.ok();
        }
        self.last()
    }

    /// An overview whose sample begins after now, if one comes soon: the page that answers a
    /// change must show it.
    ///
    /// # Errors
    /// As [`Self::current`].
    pub async fn after_now(&self) -> Result<Latest, String> {
        let now = Instant::now();
        let mut receiver = self.sampled.subscribe();
        self.change.notify_one();
        let newer = receiver.wait_for(|sampled| match sampled {
            Sampled::Overview(latest) => latest.taken > now,
            Sampled::Nothing | Sampled::Trouble(_) => false,
        });
        tokio::time::timeout(MAX_WAIT, newer).await.map(drop).ok();
        self.last()
    }

    /// Returns when the next sample is due: after `rest`, for longer where nobody is there, and
    /// at once after a change.
    async fn rest(&self, rest: Duration) {
        let changed = tokio::time::timeout(rest, self.change.notified()).await.is_ok();
        if !changed && !self.somebody_is_there() {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL_UNWATCHED) => {}
                () = self.viewer.notified() => {}
                () = self.change.notified() => {}
            }
        }
    }

    fn last(&self) -> Result<Latest, String> {
        match &*self.sampled.borrow() {
            Sampled::Overview(latest) => Ok(latest.clone()),
            Sampled::Trouble(why) => Err(why.clone()),
            Sampled::Nothing => Err(NO_SAMPLE_YET.to_owned()),
        }
    }

    /// A viewer, who counts as there while this exists; it wakes with every sample.
    pub(crate) fn watch(&self) -> Watching {
        let receiver = self.sampled.subscribe();
        self.viewer.notify_one();
        Watching(receiver)
    }

    /// Samples now, if the last sample was long ago: the database is back.
    pub(crate) fn wake(&self) {
        self.viewer.notify_one();
    }

    fn somebody_is_there(&self) -> bool {
        let last_request = *self.last_request.lock().unwrap_or_else(PoisonError::into_inner);
        self.sampled.receiver_count() > 0
            || last_request.is_some_and(|request| request.elapsed() < VIEWER_STAYS)
    }

    /// A sample that began at `taken`; the next is expected by `expires`.
    fn publish(
        &self,
        sample: Result<(Overview, History), String>,
        taken: Instant,
        expires: Instant,
    ) {
        self.sampled.send_modify(|sampled| match sample {
            Ok((overview, history)) => {
                let number = match sampled {
                    Sampled::Overview(latest) => latest.number + 1,
                    Sampled::Nothing | Sampled::Trouble(_) => 1,
                };
                *sampled = Sampled::Overview(Latest {
                    number,
                    overview: Arc::new(overview),
                    history: Arc::new(history),
                    taken,
                    expires,
                    trouble: None,
                });
            }
            Err(why) => match sampled {
                Sampled::Overview(latest) => latest.trouble = Some(why),
                Sampled::Nothing | Sampled::Trouble(_) => *sampled = Sampled::Trouble(why),
            },
        });
    }
}

fn has_expired(sampled: &Sampled) -> bool {
    match sampled {
        Sampled::Overview(latest) => latest.expires < Instant::now(),
        Sampled::Nothing | Sampled::Trouble(_) => true,
    }
}

/// One viewer.
#[derive(Debug)]
pub(crate) struct Watching(watch::Receiver<Sampled>);

impl Watching {
    /// The next sample or why it failed; `None` when the process ends.
    pub(crate) async fn next(&mut self) -> Option<Result<Latest, String>> {
        self.0.changed().await.ok()?;
        Some(match &*self.0.borrow_and_update() {
            Sampled::Overview(latest) => Ok(latest.clone()),
            Sampled::Trouble(why) => Err(why.clone()),
            Sampled::Nothing => Err(NO_SAMPLE_YET.to_owned()),
        })
    }
}

/// Samples among `app.tasks`, until `app.stop`.
pub(crate) fn start(app: &Shared) {
    let (stop, app_of_task) = (app.stop.clone(), Arc::clone(app));
    app.tasks.spawn(async move {
        stop.run_until_cancelled(sample(&app_of_task)).await;
    });
}

async fn sample(app: &Shared) {
    let mut sampler = Sampler::new(app.store.clone(), Arc::clone(&app.flags));
    let mut cadence = Cadence::default();
    let mut metrics = FleetMetrics::default();
    loop {
        let began = Instant::now();
        let sampled = sampler.sample().await.map_err(|error| {
            tracing::warn!(%error, "the state of the migration could not be read");
            error.to_string()
        });
        let failed = sampled.is_err();
        metrics.report(app, sampled.as_ref().ok()).await;
        let took = began.elapsed();
        let next = cadence.next(took, failed);
        // The next one may take twice as long.
        let expires = began + next + (took * 2).max(INTERVAL_WATCHED);
        let sampled = sampled.map(|overview| (overview, sampler.history().clone()));
        app.overviews.publish(sampled, began, expires);
        app.overviews.rest(next.saturating_sub(took)).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use reelshift_overview::sample;

    use super::*;

    const LONG: Duration = Duration::from_hours(1);

    fn publish(overviews: &Overviews, expires: Instant) {
        let sampled = (sample::overview(sample::report()), sample::history());
        overviews.publish(Ok(sampled), Instant::now(), expires);
    }

    #[tokio::test]
    async fn who_comes_before_the_next_sample_is_due_does_not_wait_for_it() {
        let overviews = Overviews::default();
        publish(&overviews, Instant::now() + LONG);
        assert!(overviews.current().now_or_never().is_some());
        publish(&overviews, Instant::now());
        std::thread::sleep(Duration::from_millis(1));
        assert!(overviews.current().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_change_ends_the_rest_and_a_viewer_ends_only_the_long_one() {
        let overviews = Overviews::default();
        publish(&overviews, Instant::now() + LONG);
        drop(overviews.watch());
        assert!(overviews.rest(LONG).now_or_never().is_none(), "samples are apart");
        overviews.rest(Duration::ZERO).await;
        assert!(overviews.current().now_or_never().is_some());
        assert!(overviews.after_now().now_or_never().is_none(), "it has to be shown");
        assert!(overviews.rest(LONG).now_or_never().is_some());
    }

    #[test]
    fn a_large_ledger_is_sampled_rarely_and_an_outage_is_no_large_ledger() {
        let (fast, slow) = (Duration::from_millis(50), Duration::from_secs(3));
        let mut cadence = Cadence::default();
        assert_eq!(cadence.next(fast, false), INTERVAL_WATCHED);
        assert_eq!(cadence.next(slow, false), slow, "one may have waited for the database");
        assert_eq!(cadence.next(slow, false), slow * REST_PER_SAMPLE, "two did not");
        assert_eq!(cadence.next(fast, false), INTERVAL_WATCHED);
        assert_eq!(
            cadence.next(Duration::from_secs(10), true),
            Duration::from_secs(11),
            "soon again"
        );
        assert_eq!(cadence.next(slow, false), slow, "the first sample after an outage");
    }
}
