//! What this worker does, counted where it happens and read by the heartbeat.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use reelshift_plan::JobKind;
use reelshift_plan::eta::Rate;
use reelshift_store::ledger::WorkerActivity;
use reelshift_telemetry::metrics;
use tokio::sync::Notify;

/// Recent rates follow this half-life: slow enough to read, fast enough to show a stall.
const HALF_LIFE: Duration = Duration::from_secs(5);

/// How long a chunk's time is news: a worker may rest for several seconds between two.
const CHUNKS_STAY: Duration = Duration::from_secs(15);

/// What a worker says that has nothing to do.
pub const WAITING: &str = "waiting for batches";

/// Counters shared by all handlers of one worker process.
#[derive(Debug)]
pub struct Activity {
    rows: AtomicU64,
    bytes: AtomicU64,
    doing: Mutex<BTreeMap<i64, String>>,
    capacity: AtomicU32,
    controls_seen: AtomicI64,
    acknowledges: Notify,
    writes_refused: AtomicU64,
    chunks: Mutex<Chunks>,
    /// Says what it waits for, where something does not answer.
    stalls: OnceLock<Stalls>,
    /// What it says while it does nothing.
    idle: Mutex<&'static str>,
    last_report: Mutex<LastReport>,
}

/// The chunks since the last report, and what was reported.
#[derive(Debug, Default)]
struct Chunks {
    count: u32,
    time: Duration,
    last: Option<(Instant, f64)>,
}

struct Stalls(Box<dyn Fn() -> Option<String> + Send + Sync>);

impl std::fmt::Debug for Stalls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stalls").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct LastReport {
    at: Instant,
    rows: u64,
    bytes: u64,
    row_rate: Rate,
    byte_rate: Rate,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            doing: Mutex::default(),
            capacity: AtomicU32::new(0),
            controls_seen: AtomicI64::new(0),
            acknowledges: Notify::new(),
            writes_refused: AtomicU64::new(0),
            chunks: Mutex::default(),
            stalls: OnceLock::new(),
            idle: Mutex::new(WAITING),
            last_report: Mutex::new(LastReport {
                at: Instant::now(),
                rows: 0,
                bytes: 0,
                row_rate: Rate::new(HALF_LIFE),
                byte_rate: Rate::new(HALF_LIFE),
            }),
        }
    }
}

impl Activity {
    /// Rows of batches of `kind` were written, or files hashed.
    pub fn add_rows(&self, kind: JobKind, rows: u64) {
        metrics::rows(kind.into_str(), rows);
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// Bytes of batches of `kind` were hashed.
    pub fn add_bytes(&self, kind: JobKind, bytes: u64) {
        metrics::bytes(kind.into_str(), bytes);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A backfill chunk took `time`.
    pub fn add_chunk(&self, time: Duration) {
        metrics::chunk(time);
        let mut chunks = self.chunks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        chunks.count += 1;
        chunks.time += time;
    }

    /// How many backfill chunks this worker would run at once, unthrottled.
    pub fn set_capacity(&self, chunks: u32) {
        self.capacity.store(chunks, Ordering::Relaxed);
    }

    /// From now on this worker goes by the fleet's controls of this version.
    pub fn set_controls_seen(&self, version: i64) {
        if self.controls_seen.swap(version, Ordering::Relaxed) != version {
            self.acknowledges.notify_one();
        }
    }

    /// Returns when this worker goes by newer controls, which its next heartbeat acknowledges.
    pub(crate) async fn until_it_acknowledges(&self) {
        self.acknowledges.notified().await;
    }

    /// The fence refused what this worker wrote: the lease was another's.
    pub fn write_refused(&self) {
        self.writes_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Seconds that recent chunks took, on average.
    fn chunk_seconds(&self) -> Option<f64> {
        let mut chunks = self.chunks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if chunks.count > 0 {
            let mean = chunks.time.as_secs_f64() / f64::from(chunks.count);
            *chunks = Chunks { last: Some((Instant::now(), mean)), ..Chunks::default() };
        }
        chunks.last.filter(|(at, _)| at.elapsed() < CHUNKS_STAY).map(|(_, mean)| mean)
    }

    /// Says that the batch `seq` is being worked on; the guard takes it back.
    pub fn begin(&self, seq: i64, what: String) -> impl Drop + '_ {
        self.doing().insert(seq, what);
        Doing { activity: self, seq }
    }

    /// Has every report begin with what `stalls` returns, where it returns something. The
    /// first function stays.
    pub fn show_stalls(&self, stalls: impl Fn() -> Option<String> + Send + Sync + 'static) {
        self.stalls.set(Stalls(Box::new(stalls))).ok();
    }

    /// What is said from now on while there is nothing to do.
    pub fn idle(&self, word: &'static str) {
        *self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = word;
    }

    fn doing(&self) -> std::sync::MutexGuard<'_, BTreeMap<i64, String>> {
        self.doing.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What the next heartbeat says.
    pub(crate) fn report(&self) -> WorkerActivity {
        let (rows, bytes) = (self.rows.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        let doing = {
            let doing = self.doing();
            match doing.values().next() {
                None => {
                    let idle = self.idle.lock();
                    (*idle.unwrap_or_else(std::sync::PoisonError::into_inner)).to_owned()
                }
                Some(first) if doing.len() == 1 => first.clone(),
                Some(first) => format!("{first} and {} more", doing.len() - 1),
            }
        };
        let doing = match self.stalls.get().and_then(|Stalls(stalls)| stalls()) {
            Some(stall) => format!("{stall}; {doing}"),
            None => doing,
        };
        let mut last = self.last_report.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let elapsed = last.at.elapsed();
        let (new_rows, new_bytes) = (rows - last.rows, bytes - last.bytes);
        last.row_rate.observe(new_rows, elapsed);
        last.byte_rate.observe(new_bytes, elapsed);
        (last.at, last.rows, last.bytes) = (Instant::now(), rows, bytes);
        WorkerActivity {
            doing,
            rows_done: rows,
            bytes_done: bytes,
            rows_per_second: last.row_rate.per_second(),
            bytes_per_second: last.byte_rate.per_second(),
            capacity: self.capacity.load(Ordering::Relaxed),
            chunk_seconds: self.chunk_seconds(),
            controls_seen: self.controls_seen.load(Ordering::Relaxed),
            writes_refused: self.writes_refused.load(Ordering::Relaxed),
        }
    }
}

struct Doing<'a> {
    activity: &'a Activity,
    seq: i64,
}

impl Drop for Doing<'_> {
    fn drop(&mut self) {
        self.activity.doing().remove(&self.seq);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn chunk_times_are_averaged_from_report_to_report() {
        let activity = Activity::default();
        assert_eq!(activity.report().chunk_seconds, None);
        activity.add_chunk(Duration::from_millis(20));
        activity.add_chunk(Duration::from_millis(40));
        let seconds = activity.report().chunk_seconds.expect("chunks were run");
        assert!((seconds - 0.03).abs() < 1e-9);
        assert_eq!(activity.report().chunk_seconds, Some(seconds), "a rest is no news");
        activity.add_chunk(Duration::from_millis(10));
        assert_eq!(activity.report().chunk_seconds, Some(0.01));
    }

    #[test]
    fn what_operators_say_is_acknowledged_at_once() {
        let activity = Activity::default();
        let asked = || activity.until_it_acknowledges().now_or_never().is_some();
        assert!(!asked());
        activity.set_controls_seen(7);
        assert!(asked());
        activity.set_controls_seen(7);
        assert!(!asked(), "seen again");
        activity.set_controls_seen(8);
        assert!(asked());
    }

    #[test]
    fn what_does_not_answer_comes_first() {
        let activity = Activity::default();
        activity.show_stalls(|| Some("no byte of \"a.mp4\" for 9 s".to_owned()));
        assert_eq!(activity.report().doing, format!("no byte of \"a.mp4\" for 9 s; {WAITING}"));
    }
}
