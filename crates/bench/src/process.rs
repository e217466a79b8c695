//! The product as its users run it: processes of the `reelshift` binary, and the memory
//! that they took.

use std::path::PathBuf;
use std::process::Stdio;
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
    pub fn start(database: &str, arguments: &[&str]) -> Result<Self> {
        let child = Command::new(binary()?)
            .args(arguments)
            .env("DATABASE_URL", database)
            .env("REELSHIFT_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start reelshift")?;
        let pid = child.id().context("the process ended at once")?;
        Ok(Self { child, pid, largest_bytes: 0 })
    }

    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// SIGKILL.
    pub async fn kill(&mut self) -> Result<()> {
        self.watch();
        self.child.kill().await.context("cannot kill a worker")
    }

    /// Waits for the end; the largest memory in bytes.
    pub async fn finish(mut self) -> Result<u64> {
        loop {
            self.watch();
            if let Some(status) = self.child.try_wait()? {
                if !status.success() {
                    bail!("reelshift ended with {status}");
                }
                return Ok(self.largest_bytes);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The kernel keeps the high-water mark (`VmHWM`) while the process lives.
    fn watch(&mut self) {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let kib = status.lines().find_map(|line| {
            line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        });
        self.largest_bytes = self.largest_bytes.max(kib.unwrap_or(0) * 1_024);
    }
}
