//! A command, its wall-clock time and the processor time of all its processes.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Seconds after which a command is not run again.
const LONG: f64 = 4.0;

/// What a command took, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Timed {
    pub wall: f64,
    /// User and system time, of children too.
    pub cpu: f64,
}

impl Timed {
    /// The best of three: another process in the way only makes it slower. What takes long
    /// is run once.
    pub fn best(command: &str, input: &Path) -> Result<Self> {
        let mut best = Self::once(command, input)?;
        let again = if best.wall < LONG { 2 } else { 0 };
        for _ in 0..again {
            let next = Self::once(command, input)?;
            best = Self { wall: best.wall.min(next.wall), cpu: best.cpu.min(next.cpu) };
        }
        Ok(best)
    }

    /// Runs `command` in bash, whose `time` counts the whole pipeline; `input` is its
    /// standard input.
    fn once(command: &str, input: &Path) -> Result<Self> {
        let script = format!("TIMEFORMAT='%R %U %S'; time {{ {command}; }} >/dev/null");
        let output = Command::new("bash")
            .args(["-c", &script])
            .stdin(Stdio::from(std::fs::File::open(input)?))
            .output()
            .context("bash is needed")?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!("`{command}` ended with {}: {said}", output.status);
        }
        let last = said.lines().last().unwrap_or_default();
        let times: Vec<f64> = last.split(' ').filter_map(|part| part.parse().ok()).collect();
        let &[wall, user, system] = times.as_slice() else { bail!("no times in {last:?}") };
        Ok(Self { wall, cpu: user + system })
    }
}
