//! How fast rows are written back: in chunks of a target time, with the rests that the
//! throttle asks for, and giving way where the application holds a row.

use std::time::{Duration, Instant};

use rand::RngExt;
use reelshift_plan::throttle::{Allowance, rest};
use reelshift_plan::{ChunkLimits, ChunkSizer};
use reelshift_store::StoreError;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::{ArchiveError, Result};

/// What the throttle allows, as it changes.
pub type Pace = watch::Receiver<Allowance>;

/// How often a chunk gives way to the application, or a database is waited for: a minute.
const TRIES: u32 = 3_000;

/// Between two tries, about: as long as a transaction of the application that holds a row.
const RETRY_DELAY: Duration = Duration::from_millis(20);

/// The chunks that one of several writers makes, one after another.
pub(crate) struct Chunks {
    pace: Pace,
    /// Those that share what the throttle allows.
    writers: f64,
    sizer: ChunkSizer,
    /// When the last chunk ended, and how long it held its locks.
    last: Option<(Instant, Duration)>,
    /// Failures of the next chunk so far.
    tries: u32,
}

impl Chunks {
    /// Those of each of `writers` that work at once.
    pub(crate) fn of_each(pace: &Pace, limits: ChunkLimits, writers: usize) -> Vec<Self> {
        let share = f64::from(u32::try_from(writers).unwrap_or(u32::MAX));
        let chunks = |_| Self {
            pace: pace.clone(),
            writers: share,
            sizer: ChunkSizer::new(limits),
            last: None,
            tries: 0,
        };
        (0..writers).map(chunks).collect()
    }

    /// Waits until the next chunk may begin. Returns how many rows it may have.
    ///
    /// # Errors
    /// `Stopped` when `stop` is cancelled.
    pub(crate) async fn next(&mut self, stop: &CancellationToken) -> Result<usize> {
        loop {
            if stop.is_cancelled() {
                return Err(ArchiveError::Stopped);
            }
            let Allowance { chunks, target } = *self.pace.borrow_and_update();
            self.sizer.aim_at(target);
            let (since, held) = self
                .last
                .map_or((Duration::MAX, Duration::ZERO), |(ended, held)| (ended.elapsed(), held));
            let wait = rest(chunks / self.writers, held).map(|rest| rest.saturating_sub(since));
            if wait == Some(Duration::ZERO) {
                break;
            }
            tokio::select! {
                // Not at all while the fleet is stopped or paused.
                () = tokio::time::sleep(wait.unwrap_or(Duration::MAX)) => {}
                changed = self.pace.changed() => {
                    if changed.is_err() {
                        return Err(ArchiveError::Stopped);
                    }
                }
                () = stop.cancelled() => {}
            }
        }
        // A row that the application keeps locked is come down to by itself.
        let rows = self.sizer.rows() >> self.tries.min(16);
        Ok(usize::try_from(rows.max(1)).unwrap_or(usize::MAX))
    }

    /// A chunk of so many rows was committed, which held its locks for `held`.
    pub(crate) fn committed(&mut self, rows: usize, held: Duration) {
        self.tries = 0;
        self.sizer.observe(u32::try_from(rows).unwrap_or(u32::MAX), held, Duration::ZERO);
        self.last = Some((Instant::now(), held));
    }

    /// A chunk failed: waits before it is tried again.
    ///
    /// # Errors
    /// The failure, where trying again does not help or has gone on for long enough.
    pub(crate) async fn failed(&mut self, error: StoreError) -> Result<()> {
        if !error.is_transient() || self.tries >= TRIES {
            return Err(error.into());
        }
        tracing::debug!(%error, tries = self.tries, "a chunk of the restore gave way, trying again");
        self.tries += 1;
        self.sizer.yield_to_application();
        tokio::time::sleep(RETRY_DELAY.mul_f64(rand::rng().random_range(0.5..1.5))).await;
        Ok(())
    }
}
