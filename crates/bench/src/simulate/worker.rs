//! A worker without files. Registering, heartbeats, claims, ends and the look for silent
//! workers are the product's queue itself; the looks at the controls and the upkeep of runs
//! are the statements of `reelshift-worker`, as often as it makes them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use rand::RngExt;
use reelshift_plan::{Backoff, JobKind, RunState};
use reelshift_queue::{AttemptEnd, Fleet, Gate, Job, Lottery, Pass, Pulse, Session, Times};
use reelshift_store::ledger::{Bounds, Claimed};
use reelshift_store::videos::{FileResults, FileToHash, HashedFile};
use reelshift_store::{SharedStore, StoreError};
use reelshift_store_mysql::{ConnectOptions, connect};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::ticks::{Quantiles, Ticks};
use crate::empty;

pub const KIND: JobKind = JobKind::Hash;
/// As the worker's: looks at the controls, upkeep of the runs, and results that wait at most.
const LOOK: Duration = Duration::from_millis(900);
const UPKEEP: Duration = Duration::from_millis(500);
const WRITE: Duration = Duration::from_millis(500);

/// What all workers are told and have done.
#[derive(Debug, Default)]
pub struct Pace {
    batch: Mutex<Duration>,
    done: AtomicU64,
    errors: AtomicU64,
    pub ticks: Statements,
}

/// Times of the statements that are made here.
#[derive(Debug, Default)]
pub struct Statements {
    write: Ticks,
    look: Ticks,
    upkeep: Ticks,
}

#[derive(Debug)]
pub struct StatementQuantiles {
    pub write: Quantiles,
    pub look: Quantiles,
    pub upkeep: Quantiles,
}

impl Statements {
    pub fn restart(&self) {
        [&self.write, &self.look, &self.upkeep].into_iter().for_each(Ticks::restart);
    }

    pub fn quantiles(&self) -> StatementQuantiles {
        StatementQuantiles {
            write: self.write.quantiles(),
            look: self.look.quantiles(),
            upkeep: self.upkeep.quantiles(),
        }
    }
}

impl Pace {
    pub fn set(&self, batch: Duration) {
        *self.batch.lock().unwrap_or_else(PoisonError::into_inner) = batch;
    }

    fn batch(&self) -> Duration {
        *self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Looks and rounds of upkeep that the database refused.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }
}

pub struct SimulatedWorker {
    stop: CancellationToken,
    working: JoinHandle<Result<()>>,
    beside: Vec<JoinHandle<()>>,
}

impl SimulatedWorker {
    pub async fn join(database: &str, connections: u32, pace: &Arc<Pace>) -> Result<Self> {
        let options = ConnectOptions {
            max_connections: connections,
            allow_plaintext: true,
            ..ConnectOptions::default()
        };
        let store: SharedStore = Arc::new(connect(database, options).await?);
        let worker = empty::new_worker();
        let pulse = Arc::new(Pulse::default());
        let session = Session::join(Arc::clone(&store), &worker, Times::default(), pulse).await?;
        let stop = CancellationToken::new();
        let beside = vec![
            tokio::spawn(every(LOOK, stop.clone(), Arc::clone(pace), {
                let (store, pace) = (Arc::clone(&store), Arc::clone(pace));
                let lottery = Arc::clone(session.lottery());
                move || look(Arc::clone(&store), Arc::clone(&pace), worker.id, Arc::clone(&lottery))
            })),
            tokio::spawn(every(UPKEEP, stop.clone(), Arc::clone(pace), {
                let (store, pace) = (Arc::clone(&store), Arc::clone(pace));
                let lottery = Arc::clone(session.lottery());
                move || upkeep(Arc::clone(&store), Arc::clone(&pace), Arc::clone(&lottery))
            })),
        ];
        let working = tokio::spawn(work(session, Arc::clone(pace), stop.clone()));
        Ok(Self { stop, working, beside })
    }

    pub async fn leave(self) -> Result<()> {
        self.stop.cancel();
        for task in self.beside {
            task.await?;
        }
        self.working.await?
    }
}

async fn work(session: Session, pace: Arc<Pace>, stop: CancellationToken) -> Result<()> {
    let store = Arc::clone(session.store());
    let session = Arc::new(session);
    let describe = Arc::new(|_: &Claimed, said: &str| empty::panicked(said));
    Fleet::new(Arc::clone(&session), describe, stop.clone())
        .register(Simulated { store, pace, stop }, Gate::new(1))
        .run()
        .await?;
    if let Ok(session) = Arc::try_unwrap(session) {
        session.leave().await?;
    }
    Ok(())
}

/// Repeats a round of statements until told to stop, out of step with all others.
async fn every<Round: Future<Output = Result<(), StoreError>>>(
    period: Duration,
    stop: CancellationToken,
    pace: Arc<Pace>,
    mut round: impl FnMut() -> Round,
) {
    while !stop.is_cancelled() {
        if round().await.is_err() {
            pace.errors.fetch_add(1, Ordering::Relaxed);
        }
        let pause = period.mul_f64(rand::rng().random_range(0.5..1.5));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn look(
    store: SharedStore,
    pace: Arc<Pace>,
    worker: Uuid,
    lottery: Arc<Lottery>,
) -> Result<(), StoreError> {
    let view = pace.ticks.look.time(store.fleet_view(worker)).await?;
    lottery.set_live(view.live);
    Ok(())
}

async fn upkeep(
    store: SharedStore,
    pace: Arc<Pace>,
    lottery: Arc<Lottery>,
) -> Result<(), StoreError> {
    if !lottery.wins() {
        return Ok(());
    }
    let round = async {
        store.pause_failing().await?;
        for run in store.active_runs(None).await? {
            if run.state == RunState::Running {
                store.settle(run.id).await?;
            }
        }
        store.has_open_work().await
    };
    pace.ticks.upkeep.time(round).await.map(drop)
}

/// Waits in place of reading, and writes results as often as the hash handler does.
/// Takes as long for a batch as the simulation sets.
struct Simulated {
    store: SharedStore,
    pace: Arc<Pace>,
    stop: CancellationToken,
}

impl Job for Simulated {
    const KIND: JobKind = KIND;
    const CLAIMS_AHEAD: bool = true;

    async fn run(&self, batch: &Claimed, _: &Pass) -> Result<(), AttemptEnd> {
        let began = Instant::now();
        let ended = |error: StoreError| match error {
            StoreError::LeaseLost => AttemptEnd::LeaseLost,
            error => {
                let mut record = empty::panicked(&error.to_string());
                record.error_type = "simulated".to_owned();
                let delay = Backoff::default().delay(batch.attempts + 1, &mut rand::rng());
                AttemptEnd::Failed { retry: true, delay, error: Box::new(record) }
            }
        };
        let Bounds::Items(items) = &batch.bounds else { return Ok(()) };
        let files = self.store.files_to_hash(items).await.map_err(&ended)?.files;
        let whole = self.pace.batch();
        let writes = (whole.as_secs_f64() / WRITE.as_secs_f64()).ceil().max(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "at most 64 files"
        )]
        let files_a_write = (files.len() as f64 / writes).ceil().max(1.0) as usize;
        let writes = u32::try_from(files.chunks(files_a_write).len()).unwrap_or(u32::MAX);
        for (number, files) in (1..=writes).zip(files.chunks(files_a_write)) {
            let until = whole * number / writes;
            tokio::select! {
                () = tokio::time::sleep(until.saturating_sub(began.elapsed())) => {}
                () = self.stop.cancelled() => return Err(AttemptEnd::Drained),
            }
            let hashed = files.iter().map(hashed).collect();
            let results = FileResults { hashed, ..FileResults::default() };
            self.pace
                .ticks
                .write
                .time(self.store.record_files(batch.lease, &results))
                .await
                .map_err(&ended)?;
        }
        self.pace.done.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn hashed(file: &FileToHash) -> HashedFile {
    HashedFile {
        id: file.id.clone(),
        file_path: file.file_path.clone(),
        file_size: file.file_size,
        sha256: format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>()),
        bytes: 1 << 20,
        from_checksum: false,
    }
}
