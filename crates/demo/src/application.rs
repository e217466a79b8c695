//! The demo's application: a process of its own that reads, changes, uploads and deletes
//! videos all the while, and says what it noticed.
//!
//! The demo writes the name of each stage on its standard input; with each it begins a new
//! count and prints the last one as a line of JSON. The end of its input ends it.

mod transaction;

use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use self::transaction::Videos;
use crate::platform;

/// The command of the program that is the application's side: a process of its own, so that
/// nothing of the demo slows it.
pub const COMMAND: &str = "demo-application";
/// Between two transactions: a busy page, not a load test.
const PERIOD: Duration = Duration::from_millis(10);
/// From this stage on the application reads and writes the new columns too.
pub const NEW_COLUMNS_FROM: &str = "rollout";

/// What the application noticed during one stage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Noticed {
    pub stage: String,
    pub transactions: u64,
    pub failed: u64,
    pub first_failure: Option<String>,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub longest_ms: f64,
}

/// The application's process, held by the demo.
#[derive(Debug)]
pub struct Application {
    child: Child,
    stages: Option<ChildStdin>,
    noticed: Lines<BufReader<ChildStdout>>,
    pub stages_noticed: Vec<Noticed>,
}

impl Application {
    /// Starts the process on the platform's database. The URL goes by environment.
    pub async fn start(url: &str, log: &std::path::Path) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let log = std::fs::File::create(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut child = Command::new(program)
            .arg(COMMAND)
            .env("DATABASE_URL", url)
            .env_remove("DATABASE_URL_FILE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C ends the demo, which ends its application.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the demo's application")?;
        let stages = child.stdin.take();
        let noticed = child.stdout.take().context("the application has no output")?;
        Ok(Self {
            child,
            stages,
            noticed: BufReader::new(noticed).lines(),
            stages_noticed: Vec::new(),
        })
    }

    /// Begins a stage; what was noticed during the last one is kept.
    pub async fn stage(&mut self, name: &str) -> Result<()> {
        let stages = self.stages.as_mut().context("the application has ended")?;
        stages
            .write_all(format!("{name}\n").as_bytes())
            .await
            .context("the application has ended")?;
        self.read().await
    }

    /// Ends the application.
    pub async fn stop(&mut self) -> Result<()> {
        drop(self.stages.take());
        self.read().await?;
        let status = self.child.wait().await.context("cannot wait for the application")?;
        anyhow::ensure!(
            status.success(),
            "the demo's application ended with {status}: see its log"
        );
        Ok(())
    }

    async fn read(&mut self) -> Result<()> {
        let line =
            self.noticed.next_line().await?.context("the application has ended: see its log")?;
        let noticed: Noticed =
            serde_json::from_str(&line).context("the application said nonsense")?;
        if noticed.transactions > 0 {
            self.stages_noticed.push(noticed);
        }
        Ok(())
    }
}

/// The application's side: works until its input ends.
///
/// # Errors
/// When the database cannot be reached or standard output cannot be written.
pub async fn run(url: &str) -> Result<()> {
    let pool = platform::connect(url, 1).await?;
    let mut videos = Videos::read(pool, url).await?;
    let mut stages = BufReader::new(tokio::io::stdin()).lines();
    let mut counting = Counting::new("starting")?;
    let mut due = Instant::now();
    loop {
        tokio::select! {
            // The stage first: a busy application must still hear it.
            biased;
            stage = stages.next_line() => match stage? {
                Some(stage) => {
                    videos.new_columns |= stage == NEW_COLUMNS_FROM;
                    counting.say()?;
                    counting = Counting::new(&stage)?;
                }
                None => {
                    counting.say()?;
                    return Ok(());
                }
            },
            () = tokio::time::sleep_until(due.into()) => {
                let done = videos.transaction().await;
                counting.count(due.elapsed(), done)?;
                due += PERIOD;
            }
        }
    }
}

struct Counting {
    stage: String,
    latencies: Histogram<u64>,
    failed: u64,
    first_failure: Option<String>,
}

impl Counting {
    fn new(stage: &str) -> Result<Self> {
        Ok(Self {
            stage: stage.to_owned(),
            latencies: Histogram::new(3)?,
            failed: 0,
            first_failure: None,
        })
    }

    /// From when the transaction was due: a stall delays those behind it too.
    fn count(&mut self, latency: Duration, done: sqlx::Result<()>) -> Result<()> {
        self.latencies.record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX))?;
        if let Err(error) = done {
            self.failed += 1;
            self.first_failure.get_or_insert_with(|| error.to_string());
        }
        Ok(())
    }

    fn say(&self) -> Result<()> {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds with three digits")]
        let ms = |micros: u64| micros as f64 / 1_000.0;
        let noticed = Noticed {
            stage: self.stage.clone(),
            transactions: self.latencies.len(),
            failed: self.failed,
            first_failure: self.first_failure.clone(),
            p50_ms: ms(self.latencies.value_at_quantile(0.5)),
            p99_ms: ms(self.latencies.value_at_quantile(0.99)),
            longest_ms: ms(self.latencies.max()),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(&noticed)?)?;
        Ok(out.flush()?)
    }
}
