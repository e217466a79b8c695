//! A worker: handlers for each job kind over the queue, and the upkeep that any worker
//! does for the fleet (settling runs, sweeping, planning for a producer that died).
//!
//! - [`backfill`], [`hash`], [`validate`]: one file a job kind; registered in [`run`].
//! - [`chunks`]: when the next rows may be taken and how many, for backfill and validation.
//! - [`attempt`]: what every attempt has in common: its span and its metrics.
//! - [`classify`]: what an error means, in one table a source; [`ending`]: what an attempt
//!   makes of it; [`bisect`]: finding the one row that refuses.
//! - [`controls`]: what operators say to the fleet, and how much is done at once.
//! - [`record`]: the row of `processing_error_log` for a failure.
//! - [`throttle`]: how much work the database's load leaves to the fleet.
//! - [`upkeep`]: what keeps runs moving when nobody else does.

mod attempt;
mod backfill;
mod bisect;
mod chunks;
pub mod classify;
mod controls;
mod ending;
mod give_way;
mod hash;
mod record;
mod throttle;
mod upkeep;
mod validate;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reelshift_media::sha256::WrongHash;
use reelshift_media::{MediaRoot, RootOptions};
use reelshift_plan::JobKind;
use reelshift_producer::Producer;
use reelshift_queue::{FatalError, Fleet, JoinError, NoRoom, Pulse, Session, Times};
use reelshift_store::ledger::{Claimed, NewWorker};
use reelshift_store::vitals::PoolState;
use reelshift_store::{SharedStore, StoreError};
use reelshift_telemetry::metrics;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::attempt::Observed;
use crate::backfill::Backfill;
use crate::controls::{Controls, Gates};
use crate::ending::Endings;
pub use crate::hash::HashOptions;
use crate::hash::{Hash, Reader};
use crate::record::Recorder;
use crate::throttle::Sampler;
pub use crate::throttle::{ConfiguredSignal, SignalSource, SignalSources, watch_allowance};
use crate::validate::Validate;

/// After SIGTERM, running work has this long to finish or checkpoint; with [`LEAVE`] the
/// process ends within 30 s.
pub const DRAIN: Duration = Duration::from_secs(25);
/// Leaving is two statements; a database that does not answer must not keep the process.
const LEAVE: Duration = Duration::from_secs(5);

/// Which files a worker hashes, and how.
#[derive(Debug, Clone)]
pub struct FileOptions {
    pub media_root: PathBuf,
    /// What the absolute paths of the database begin with in place of the media root.
    pub media_prefix: Option<PathBuf>,
    pub hashing: HashOptions,
}

/// When a worker returns by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    Stopped,
    /// No work is open anywhere in the fleet.
    Idle,
    /// The run is over.
    Ended(Uuid),
}

/// How a worker works.
#[derive(Debug)]
pub struct WorkerOptions {
    /// This worker; unique to this start of the process.
    pub id: Uuid,
    /// Shows whether the worker lives and is ready.
    pub pulse: Arc<Pulse>,
    /// Backfill batches, and files being hashed, at once; at least 1.
    pub concurrency: usize,
    /// The files that it hashes; without them it takes no hash batches.
    pub files: Option<FileOptions>,
    pub until: Until,
    pub times: Times,
    /// What the throttle listens to.
    pub signals: SignalSources,
    /// Who this is, for people: host and version are recorded with every failure.
    pub host: String,
    pub version: String,
}

/// Why a worker could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Media(#[from] reelshift_media::MediaError),
    #[error(transparent)]
    Backend(#[from] WrongHash),
    #[error("the hashing threads cannot be started: {0}")]
    Threads(std::io::Error),
    /// The media root, that could be used when the worker started.
    #[error("{0}")]
    Unusable(String),
    /// Files are missing that should be there: a person must look at the media root.
    #[error("{0}")]
    RootSuspect(String),
    #[error("the fleet stopped: {0}")]
    Fleet(String),
    /// The server has no connections for this worker: it did nothing, and may try again.
    #[error(transparent)]
    NoRoom(NoRoom),
}

impl From<JoinError> for WorkerError {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::Store(error) => Self::Store(error),
            JoinError::NoRoom(why) => Self::NoRoom(why),
        }
    }
}

/// What a worker leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitReport {
    /// Failures that did not get into the error log, since the database was away for too
    /// long.
    pub unrecorded: u64,
}

/// Works until `stop` is cancelled, or until the end that `options` name.
///
/// # Errors
/// When the media root cannot be used, or when the database refuses the worker, at its
/// start or later, in a way that a person has to mend. Other trouble with the database is
/// waited out.
pub async fn run(
    store: SharedStore,
    options: WorkerOptions,
    stop: CancellationToken,
) -> Result<ExitReport, WorkerError> {
    let reader = reader(&options).await?;
    let worker = NewWorker {
        id: options.id,
        host: options.host.clone(),
        pid: std::process::id(),
        version: options.version.clone(),
    };
    let session = Arc::new({
        let pulse = Arc::clone(&options.pulse);
        Session::join(Arc::clone(&store), &worker, options.times, pulse).await?
    });
    metrics::begin_counting(JobKind::ALL.iter().map(JobKind::into_str));
    metrics::observe_connections({
        let store = Arc::clone(&store);
        move || store.pools().into_iter().map(connections).collect()
    });
    tracing::info!(worker = %worker.id, concurrency = options.concurrency, "this worker joins the fleet");
    let files = reader.as_ref().map_or(0, Reader::files_at_once);
    if let Some(reader) = &reader {
        session.activity().show_stalls(reader.stalls());
    }
    let gates = Arc::new(Gates::new(options.concurrency.max(1), files));
    let leave = CancellationToken::new();
    let _leaving = leave.clone().drop_guard();
    let controls = Controls::watch(&session, Arc::clone(&gates), leave, stop.clone()).await?;
    let recorder = Arc::new(Recorder::new(&worker, controls.clone()));
    let work = Work { session: &session, recorder: &recorder, controls: &controls, gates: &gates };
    let hashes = reader.is_some();
    let fleet = {
        let recorder = Arc::clone(&recorder);
        let describe = move |batch: &Claimed, said: &str| recorder.panicked(batch, said);
        Fleet::new(Arc::clone(&session), Arc::new(describe), stop.clone())
    };
    let fleet = register(fleet, &work, reader, &stop);

    let (outbox, fatal) = (Arc::clone(session.outbox()), Arc::clone(session.fatal()));
    tokio::spawn({
        let (fatal, stop) = (Arc::clone(&fatal), stop.clone());
        async move {
            fatal.happened().await;
            stop.cancel();
        }
    });
    let upkeep = tokio::spawn(upkeep::run(
        Producer::new(Arc::clone(&store), format!("worker {}", worker.id)),
        Arc::clone(&store),
        controls.clone(),
        upkeep::UpkeepOptions {
            until: options.until,
            hashes,
            fatal: Arc::clone(&fatal),
            lottery: Arc::clone(session.lottery()),
        },
        stop.clone(),
    ));
    let sampler = Sampler {
        store: Arc::clone(&store),
        controls: controls.clone(),
        sources: options.signals,
        holder: format!("{} on {}:{}", worker.id, worker.host, worker.pid),
    };
    let sampling = tokio::spawn(sampler.run(stop.clone()));
    let deadline = {
        let (stop, pulse) = (stop.clone(), Arc::clone(&options.pulse));
        async move {
            stop.cancelled().await;
            pulse.leave();
            tokio::time::sleep(DRAIN).await;
        }
    };
    let worked = tokio::select! {
        worked = fleet.run() => {
            worked.map_err(|error| WorkerError::Fleet(error.to_string()))
        }
        () = deadline => {
            tracing::warn!("the drain took too long: what is left goes back to the fleet");
            Ok(())
        }
    };
    stop.cancel();
    let leaving = async {
        if let Err(error) = upkeep.await {
            tracing::error!(%error, "the upkeep did not end well");
        }
        if let Err(error) = sampling.await {
            tracing::error!(%error, "the throttle's sampler did not end well");
        }
        // A handler cut off by the deadline, or a read that hangs, still holds the session: its
        // fence keeps it from writing once the leases are gone.
        session.leave().await
    };
    let left = tokio::time::timeout(LEAVE, leaving).await;
    let unrecorded = outbox.unwritten();
    if unrecorded > 0 {
        tracing::error!(unrecorded, "failures are not in the error log: the database was away");
    }
    match fatal.error() {
        Some(FatalError::Store(error)) => return Err(WorkerError::Store(error.clone())),
        Some(FatalError::Unusable(said)) => return Err(WorkerError::Unusable(said.clone())),
        Some(FatalError::RootSuspect(said)) => return Err(WorkerError::RootSuspect(said.clone())),
        None => {}
    }
    match left {
        Ok(left) => left?,
        Err(_) => tracing::warn!(
            "the database does not answer: this worker's leases go to others when they time out"
        ),
    }
    worked.map(|()| ExitReport { unrecorded })
}

fn connections(pool: PoolState) -> metrics::Connections {
    let PoolState { name, open, idle, max } = pool;
    metrics::Connections { name, used: open.saturating_sub(idle), idle, max }
}

/// What every job is given.
struct Work<'a> {
    session: &'a Arc<Session>,
    recorder: &'a Arc<Recorder>,
    controls: &'a Controls,
    gates: &'a Arc<Gates>,
}

impl Work<'_> {
    fn observed<J>(&self, job: J) -> Observed<J> {
        let (worker, activity) = (self.session.worker(), Arc::clone(self.session.activity()));
        Observed { job, worker, activity }
    }
}

/// What hashes files, where this worker is to; proved before anything is written.
async fn reader(options: &WorkerOptions) -> Result<Option<Reader>, WorkerError> {
    let Some(files) = &options.files else { return Ok(None) };
    let verify = files.hashing.trust_checksums;
    let root = RootOptions { verify, stall_timeout: files.hashing.stall_timeout };
    let media = MediaRoot::at(&files.media_root, files.media_prefix.as_deref(), root).await?;
    if verify.is_some() && !media.trusts_checksums() {
        tracing::warn!(root = media.name(), "only S3 keeps SHA-256 checksums: every file is read");
    }
    files.hashing.backend.self_test()?;
    tracing::info!(backend = files.hashing.backend.name(), "this worker hashes");
    let reader = Reader::start(media, options.concurrency.max(1), files.hashing);
    reader.map(Some).map_err(WorkerError::Threads)
}

/// The registration list: every kind of job that this worker takes.
fn register(
    fleet: Fleet,
    work: &Work<'_>,
    reader: Option<Reader>,
    stop: &CancellationToken,
) -> Fleet {
    let Work { session, recorder, controls, gates } = *work;
    let endings = Endings { session: Arc::clone(session), recorder: Arc::clone(recorder) };
    let (backfill, validate) = (Arc::clone(&gates.backfill), Arc::clone(&gates.validate));
    let fleet = fleet
        .register(
            work.observed(Backfill::new(endings.clone(), controls.clone(), stop.clone())),
            backfill,
        )
        .register(
            work.observed(Validate::new(endings.clone(), controls.clone(), stop.clone())),
            validate,
        );
    let Some(reader) = reader else { return fleet };
    let hash = Hash::new(endings, reader, controls.clone(), Arc::clone(gates), stop.clone());
    fleet.register(work.observed(hash), gates.hash.gate())
}
