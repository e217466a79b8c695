//! A worker process under an account of its own, so that the database knows who wrote what.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::{LIMIT, Reelshift, wait};

/// A worker; killed when this value goes.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    log: PathBuf,
}

impl Worker {
    /// Starts it; what it says goes to `log`, and to the test's output if that fails.
    #[must_use]
    pub fn start(reelshift: Reelshift, log: PathBuf) -> Self {
        Self { child: reelshift.start_logging(&log), log }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// It must not have ended by itself, unless the server's cache has to be mended for it.
    pub fn still_runs(&mut self) {
        if self.met_a_broken_trigger() {
            return;
        }
        let ended = self.child.try_wait().expect("a child can be waited for");
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        assert_eq!(ended, None, "a worker ended by itself: {said}");
    }

    /// Whether it ended since a KILL left a trigger half read in the server's cache.
    pub fn met_a_broken_trigger(&mut self) -> bool {
        let ended = self.child.try_wait().expect("a child can be waited for").is_some();
        let said = || std::fs::read_to_string(&self.log).unwrap_or_default();
        ended && said().contains("type FLUSH TABLES, then start again")
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("the worker dies");
        self.child.wait().expect("the worker is dead");
    }

    /// SIGSTOP: it stands still where it is, its connections open.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// It must end well by itself within `limit`.
    pub fn ends(&mut self, limit: Duration) {
        assert_eq!(
            wait(&mut self.child, limit),
            Some(0),
            "a worker ends well: {}",
            std::fs::read_to_string(&self.log).unwrap_or_default()
        );
    }

    /// SIGTERM; it must drain and end well.
    pub fn leave(&mut self) {
        self.signal(Signal::TERM);
        self.ends(LIMIT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the worker gets a signal");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may be dead already.
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let from = lines.len().saturating_sub(40);
            eprintln!("--- {}\n{}", self.log.display(), lines[from..].join("\n"));
        }
    }
}
