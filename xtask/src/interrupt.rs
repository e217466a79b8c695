//! Ctrl-C and its like: they end what is running, not this process, so that everything
//! is stopped and removed on the way out.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How long a command may take to end after a signal: a little more than the ten
/// seconds that nextest gives its tests.
const GRACE: Duration = Duration::from_secs(15);

/// How often a running command is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// A signal ended the task.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("stopped by {}", name(self.0))]
pub(crate) struct Stopped(i32);

impl Stopped {
    /// What a shell reports for a process that a signal ended.
    pub(crate) fn exit_code(&self) -> u8 {
        u8::try_from(128 + self.0).unwrap_or(1)
    }
}

fn name(signal: i32) -> &'static str {
    match signal {
        SIGINT => "an interrupt",
        SIGTERM => "a request to terminate",
        SIGHUP => "the loss of its terminal",
        _ => "a signal",
    }
}

/// The signals that ask this process to stop.
pub(crate) struct Interrupts {
    received: Receiver<i32>,
    stopped: Cell<Option<Stopped>>,
}

impl Interrupts {
    /// From here on, signals are received instead of ending this process.
    pub(crate) fn listen() -> Result<Self> {
        let mut signals =
            Signals::new([SIGINT, SIGTERM, SIGHUP]).context("signals cannot be received")?;
        let (sender, received) = mpsc::channel();
        thread::spawn(move || signals.forever().try_for_each(|signal| sender.send(signal)));
        Ok(Self { received, stopped: Cell::new(None) })
    }

    /// Waits for a moment; fails once a signal has come.
    pub(crate) fn pause(&self, moment: Duration) -> Result<()> {
        if let Ok(signal) = self.received.recv_timeout(moment) {
            self.stopped.set(Some(Stopped(signal)));
        }
        self.stopped.get().map_or(Ok(()), |stopped| Err(stopped.into()))
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, command: &mut Command) -> Result<ExitStatus> {
        let mut child = spawn(command)?;
        self.wait(&mut child)
    }

    /// Waits for `child`, which shares this process's terminal. A signal is passed on
    /// to it; a second one, or [`GRACE`] after the first, kills it.
    pub(crate) fn wait(&self, child: &mut Child) -> Result<ExitStatus> {
        let mut deadline = None;
        loop {
            if let Some(status) = child.try_wait().context("a command cannot be waited for")? {
                // A command that the terminal's Ctrl-C ended may be seen before our own.
                let until = status.signal().map_or(Duration::ZERO, |_| POLL);
                return self.pause(until).map(|()| status);
            }
            match self.received.recv_timeout(POLL) {
                Ok(signal) if deadline.is_none() => {
                    self.stopped.set(Some(Stopped(signal)));
                    deadline = Some(Instant::now() + GRACE);
                    if !(signal == SIGINT && in_foreground()) {
                        pass_on(signal, child);
                    }
                }
                Ok(_) => child.kill().context("a command cannot be killed")?,
                Err(_) if deadline.is_some_and(|deadline| deadline < Instant::now()) => {
                    child.kill().context("a command cannot be killed")?;
                }
                Err(_) => {}
            }
        }
    }
}

/// Starts a command; the error names its program.
pub(crate) fn spawn(command: &mut Command) -> Result<Child> {
    command.spawn().with_context(|| format!("{} cannot be run", command.get_program().display()))
}

/// Whether the terminal sends its Ctrl-C to this process and, as they share a process
/// group, to its commands too: passed on, it would be the second one they get.
fn in_foreground() -> bool {
    let Ok(terminal) = File::open("/dev/tty") else { return false };
    rustix::termios::tcgetpgrp(terminal).is_ok_and(|group| group == rustix::process::getpgrp())
}

fn pass_on(signal: i32, child: &Child) {
    if let Some(signal) = Signal::from_named_raw(signal) {
        // It may have ended meanwhile, which the caller's loop sees.
        rustix::process::kill_process(Pid::from_child(child), signal).ok();
    }
}
