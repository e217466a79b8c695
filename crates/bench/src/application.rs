//! The platform's application as its ORM drives it: threads whose transactions hold several
//! statements at REPEATABLE READ, stay open for a while between two of them, and count how
//! long each waited for the database and how each failed.

mod impact;
mod session;
mod transaction;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use impact::Counts;
pub use impact::Impact;
use session::Session;
use transaction::{Failure, Kind, Videos};

/// A transaction that has no answer for longer has failed, for an application.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Between two looks at whether a pause has ended.
const PAUSE_POLL: Duration = Duration::from_millis(10);

/// How busy the application is.
#[derive(Debug, Clone, Copy, Args, Serialize)]
pub struct Load {
    /// Threads of the application, each with one transaction at a time
    #[arg(long, default_value_t = 4)]
    pub threads: u64,
    /// The longest that a transaction stays open between its statements, in milliseconds;
    /// a third of it on average. Between two transactions a thread rests for half as long
    #[arg(long, default_value_t = 20, value_name = "MS")]
    pub open_ms: u64,
}

impl Load {
    /// How long a transaction stays open: mostly short, now and then up to the longest.
    fn open(self, rng: &mut StdRng) -> Duration {
        let share: f64 = rng.random();
        Duration::from_millis(self.open_ms).mul_f64(share * share)
    }

    /// Between two transactions of a thread.
    fn rest(self, rng: &mut StdRng) -> Duration {
        self.open(rng) / 2
    }

    /// From one transaction's begin to the next one's, where nothing is waited for.
    fn interval(self) -> Duration {
        Duration::from_millis(self.open_ms) / 2
    }
}

/// A running application.
#[derive(Debug)]
pub struct Application {
    counts: Arc<Mutex<Counts>>,
    paused: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    threads: Vec<tokio::task::JoinHandle<Result<()>>>,
}

/// What every thread is given.
#[derive(Clone)]
struct Work {
    database: String,
    load: Load,
    videos: Arc<Videos>,
    counts: Arc<Mutex<Counts>>,
    paused: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

impl Application {
    /// Starts the threads on the platform in `database`. They touch the videos of the
    /// application's own projects only ([`crate::platform::ACTIVE_PROJECTS`]).
    pub async fn start(database: &str, load: Load) -> Result<Self> {
        let mut session = Session::connect(database).await?;
        let work = Work {
            database: database.to_owned(),
            load,
            videos: Arc::new(Videos::read(&mut session).await?),
            counts: Arc::new(Mutex::new(Counts::new(load.interval())?)),
            paused: Arc::default(),
            stop: Arc::default(),
        };
        let mut threads = Vec::new();
        for thread in 0..load.threads {
            let session = Session::connect(database).await?;
            // Other seeds than the platform's: its ids are drawn the same way.
            let rng = StdRng::seed_from_u64(1_000 + thread);
            threads.push(tokio::spawn(run(work.clone(), session, rng)));
        }
        Ok(Self { counts: work.counts, paused: work.paused, stop: work.stop, threads })
    }

    /// What was counted since the last call, which was while `during`.
    pub fn take(&self, during: &str) -> Result<Impact> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).take(during)
    }

    /// Lets no transaction begin, until [`Self::resume`]: a quiet hour.
    pub fn pause(&self) {
        self.paused.store(true, Ordering::Relaxed);
    }

    pub fn resume(&self) {
        self.paused.store(false, Ordering::Relaxed);
    }

    pub async fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.await.context("an application thread panicked")??;
        }
        Ok(())
    }
}

async fn run(work: Work, mut session: Session, mut rng: StdRng) -> Result<()> {
    let mut next = None;
    while !work.stop.load(Ordering::Relaxed) {
        let kind = next.take().unwrap_or_else(|| Kind::draw(&mut rng));
        let open = work.load.open(&mut rng);
        let transaction = transaction::run(&mut session, kind, open, &work.videos, &mut rng);
        let done = tokio::time::timeout(TIMEOUT, transaction).await;
        let (failure, usable) = match done {
            Ok(Ok(follows)) => {
                next = follows;
                (None, true)
            }
            Ok(Err(error)) => (Some(Failure::from(&error)), session.rollback().await.is_ok()),
            Err(_) => (Some(Failure::timeout(TIMEOUT)), false),
        };
        let waited = session.take_waited();
        work.counts.lock().unwrap_or_else(PoisonError::into_inner).add(waited, failure)?;
        if !usable {
            session = Session::connect(&work.database).await?;
        }
        tokio::time::sleep(work.load.rest(&mut rng)).await;
        while work.paused.load(Ordering::Relaxed) {
            tokio::time::sleep(PAUSE_POLL).await;
        }
    }
    session.close().await
}
