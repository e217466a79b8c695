//! The product as its users run it: processes of the `reelshift` binary, and the memory
//! that they took; and the programs that they are compared with.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};

/// The binary beside this one: both are built by `cargo build --release --workspace`.
fn binary() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("reelshift");
    if !path.is_file() {
        bail!("{} is not built: cargo build --release -p reelshift-cli", path.display());
    }
    Ok(path)
}

/// A process whose largest resident memory is watched.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: u32,
    largest_bytes: u64,
}

impl Process {
    pub fn start(database: &str, arguments: &[impl AsRef<OsStr>]) -> Result<Self> {
        Self::start_program(&binary()?, database, arguments)
    }

    /// Another program, which finds the database where ours does.
    pub fn start_program(
        program: &Path,
        database: &str,
        arguments: &[impl AsRef<OsStr>],
    ) -> Result<Self> {
        let child = Command::new(program)
            .args(arguments)
            .env("DATABASE_URL", database)
            .env("REELSHIFT_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let pid = child.id().context("the process ended at once")?;
        Ok(Self { child, pid, largest_bytes: 0 })
    }

    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it runs; an error if it ended badly.
    pub fn runs(&mut self) -> Result<bool> {
        self.watch();
        match self.child.try_wait()? {
            Some(status) if !status.success() => bail!("a process ended with {status}"),
            ended => Ok(ended.is_none()),
        }
    }

    /// The largest memory so far, in bytes.
    pub const fn largest(&self) -> u64 {
        self.largest_bytes
    }

    /// The memory that it has now, in bytes; 0 once it has ended.
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// SIGKILL.
    pub async fn kill(&mut self) -> Result<()> {
        self.watch();
        self.child.kill().await.context("cannot kill a worker")
    }

    /// Waits for the end; the largest memory in bytes.
    pub async fn finish(mut self) -> Result<u64> {
        loop {
            if !self.runs()? {
                return Ok(self.largest_bytes);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What a command that ends well prints.
    pub async fn output(database: &str, arguments: &[impl AsRef<OsStr>]) -> Result<Vec<u8>> {
        let mut command = Command::new(binary()?);
        let ended = command.args(arguments).env("DATABASE_URL", database).output().await?;
        if !ended.status.success() {
            bail!("{}", String::from_utf8_lossy(&ended.stderr));
        }
        Ok(ended.stdout)
    }

    /// Waits for the end, good or bad.
    pub async fn end(mut self) -> Result<ExitStatus> {
        self.child.wait().await.context("cannot wait for a process")
    }

    /// The kernel keeps the high-water mark while the process lives.
    fn watch(&mut self) {
        self.largest_bytes = self.largest_bytes.max(self.memory("VmHWM:"));
    }

    fn memory(&self, line: &str) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let kib = status.lines().find_map(|text| {
            text.strip_prefix(line)?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        });
        kib.unwrap_or(0) * 1_024
    }
}
