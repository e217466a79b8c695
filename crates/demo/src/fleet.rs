//! The demo's worker processes, kept at their number: a killed worker is replaced.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rand::RngExt as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

/// A worker that is gone is followed by another after this: the dashboard has shown by then
/// that its leases were lost and who took them over.
const REPLACED_AFTER: Duration = Duration::from_secs(20);
/// Workers in all: a laptop has to carry them.
const MAX_WORKERS: usize = 8;
/// How long workers may take to leave; then they are killed, which the fleet survives.
const LEAVE: Duration = Duration::from_secs(15);

/// How a worker is started.
#[derive(Debug, Clone)]
pub struct Start {
    pub url: String,
    pub media: PathBuf,
    pub logs: PathBuf,
    pub allow_plaintext: bool,
}

impl Start {
    /// The same binary as a worker of its own. The URL goes by environment: it may hold a
    /// password, and arguments are seen by everybody.
    pub fn worker(&self, number: usize, until_idle: bool) -> Result<Child> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let log = self.logs.join(format!("worker-{number}.log"));
        let log = std::fs::File::create(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        Command::new(program)
            .arg("work")
            .args(until_idle.then_some("--until-idle"))
            .env("DATABASE_URL", &self.url)
            .env_remove("DATABASE_URL_FILE")
            .env("REELSHIFT_MEDIA_ROOT", &self.media)
            // One port is one worker's.
            .env_remove("REELSHIFT_HEALTH")
            .env("REELSHIFT_ALLOW_PLAINTEXT", self.allow_plaintext.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a worker")
    }
}

#[derive(Debug, Default)]
struct Workers {
    alive: Vec<Child>,
    /// When those that are gone are followed.
    due: Vec<Instant>,
    started: usize,
}

/// Workers that go on until the demo ends.
#[derive(Debug)]
pub struct Fleet {
    start: Start,
    workers: Mutex<Workers>,
}

impl Fleet {
    pub fn new(start: Start, before: usize) -> Self {
        let workers = Workers { started: before, ..Workers::default() };
        Self { start, workers: Mutex::new(workers) }
    }

    /// Starts one more.
    pub async fn add(&self) -> Result<u32> {
        let mut workers = self.workers.lock().await;
        anyhow::ensure!(workers.alive.len() < MAX_WORKERS, "{MAX_WORKERS} workers are enough");
        self.spawn(&mut workers)
    }

    fn spawn(&self, workers: &mut Workers) -> Result<u32> {
        workers.started += 1;
        let child = self.start.worker(workers.started, false)?;
        let pid = child.id().unwrap_or_default();
        workers.alive.push(child);
        Ok(pid)
    }

    /// Kills one of them as nobody can prepare for.
    pub async fn kill_one(&self) -> Result<u32> {
        let mut workers = self.workers.lock().await;
        anyhow::ensure!(!workers.alive.is_empty(), "no worker is left: another comes soon");
        let one = rand::rng().random_range(0..workers.alive.len());
        let mut child = workers.alive.swap_remove(one);
        let pid = child.id().unwrap_or_default();
        child.kill().await.context("it cannot be killed")?;
        workers.due.push(Instant::now() + REPLACED_AFTER);
        Ok(pid)
    }

    /// Removes the workers that ended, and starts those that are due.
    pub async fn keep(&self) {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let mut workers = self.workers.lock().await;
            let before = workers.alive.len();
            workers.alive.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
            let gone = before - workers.alive.len();
            let now = Instant::now();
            workers.due.extend(std::iter::repeat_n(now + REPLACED_AFTER, gone));
            let due = workers.due.extract_if(.., |due| *due <= now).count();
            for _ in 0..due {
                if let Err(error) = self.spawn(&mut workers) {
                    tracing::warn!(%error, "a worker of the demo could not be started");
                }
            }
        }
    }

    /// Has all of them leave.
    pub async fn stop(&self) {
        let mut workers = self.workers.lock().await;
        for child in &workers.alive {
            let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
            if let Some(Err(error)) = pid.map(|pid| kill_process(pid, Signal::TERM)) {
                tracing::debug!(%error, "a worker has left already");
            }
        }
        let left = async {
            for child in &mut workers.alive {
                child.wait().await.ok();
            }
        };
        tokio::time::timeout(LEAVE, left).await.ok();
        workers.alive.clear();
    }
}
