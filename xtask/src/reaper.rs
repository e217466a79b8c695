//! Processes and a directory that go away with this process, even if it is killed.
//!
//! Guards do the work when a task ends, fails or panics. Against `kill -9` there is a
//! watcher: a shell in a process group of its own that reads from a pipe. When the pipe
//! ends without a farewell, it kills what it was told about and removes the directory.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::interrupt::{Interrupts, spawn};

/// Lines of a log to show when what wrote it fails.
const LOG_LINES: usize = 30;

/// `server` names a process group, `command` a process.
const WATCHER: &str = r#"
trap '' HUP INT TERM
server= command=
while read -r word value; do
    case $word in
        server) server=$value ;;
        command) command=$value ;;
        farewell) exit 0 ;;
    esac
done
[ -z "$command" ] || kill -s TERM "$command"
[ -z "$server" ] || kill -s KILL -- "-$server"
for attempt in 1 2 3 4 5; do
    rm -rf -- "$1" && break
    sleep 1
done
"#;

/// A temporary directory and the watcher over what runs in it.
pub(crate) struct Sandbox {
    dir: Option<TempDir>,
    watcher: Child,
    pipe: Option<ChildStdin>,
}

impl Sandbox {
    pub(crate) fn new() -> Result<Self> {
        Self::new_in(&std::env::temp_dir())
    }

    /// A sandbox whose files can be moved to somewhere else in `parent`.
    pub(crate) fn new_in(parent: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("reelshift-server-")
            .tempdir_in(parent)
            .context("no temporary directory can be made")?;
        let mut watcher = Command::new("/bin/sh");
        watcher.args(["-c", WATCHER, "reelshift-watcher"]).arg(dir.path());
        watcher.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut watcher = spawn(watcher.process_group(0).current_dir("/"))?;
        let pipe = watcher.stdin.take();
        Ok(Self { dir: Some(dir), watcher, pipe })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.as_ref().map_or_else(|| Path::new(""), TempDir::path)
    }

    /// Starts a process in a group of its own: no Ctrl-C reaches it. It ends with the
    /// value returned or with this process, whichever is first.
    pub(crate) fn spawn(&mut self, command: &mut Command) -> Result<Group> {
        let group = Group(spawn(command.process_group(0))?);
        self.tell("server", group.0.id())?;
        Ok(group)
    }

    /// Runs a command to its end, out of reach of a Ctrl-C, its output in `NAME.log`.
    /// The error shows the end of it.
    pub(crate) fn run_to_end(
        &mut self,
        command: &mut Command,
        name: &str,
        interrupts: &Interrupts,
    ) -> Result<()> {
        let log = self.log(command, name)?;
        let mut group = self.spawn(command)?;
        let status = loop {
            if let Some(status) = group.leader().try_wait()? {
                break status;
            }
            interrupts.pause(Duration::from_millis(20))?;
        };
        if !status.success() {
            bail!("{} failed ({status}): {}", command.get_program().display(), end_of(&log));
        }
        Ok(())
    }

    /// From here on `command` writes to a new `NAME.log`.
    pub(crate) fn log(&self, command: &mut Command, name: &str) -> Result<PathBuf> {
        let path = self.path().join(format!("{name}.log"));
        let file = File::create(&path).context("a log file cannot be made")?;
        let copy = file.try_clone().context("a log file cannot be shared")?;
        command.stdout(file).stderr(copy);
        Ok(path)
    }

    /// From here on `command` is terminated if this process is killed.
    pub(crate) fn watch(&mut self, command: &Child) -> Result<()> {
        self.tell("command", command.id())
    }

    /// `watch`'s command has ended.
    pub(crate) fn unwatch(&mut self) -> Result<()> {
        self.tell("command", "")
    }

    fn tell(&mut self, word: &str, value: impl std::fmt::Display) -> Result<()> {
        let pipe = self.pipe.as_mut().context("the watcher has no pipe")?;
        writeln!(pipe, "{word} {value}").context("the watcher has gone")
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(dir) = self.dir.take() {
            remove(&dir.keep());
        }
        // Without a farewell the watcher does the same work again, which harms nothing.
        self.tell("farewell", "").ok();
        self.pipe = None;
        self.watcher.wait().ok();
    }
}

/// The end of a log, for an error that is reported after the log is gone.
pub(crate) fn end_of(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let Ok(text) = text else { return "it wrote no log".into() };
    let lines: Vec<&str> = text.lines().collect();
    let start = lines.len().saturating_sub(LOG_LINES);
    format!("its log ends\n{}", lines[start..].join("\n"))
}

/// A process that was killed a moment ago may add a last file to what is being removed.
fn remove(dir: &Path) {
    let mut tries = 1..=20;
    while dir.exists()
        && let Err(error) = fs::remove_dir_all(dir)
    {
        if tries.next().is_none() {
            eprintln!("xtask: {} cannot be removed: {error}", dir.display());
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A process group that is killed when this value goes.
pub(crate) struct Group(Child);

impl Group {
    /// The process that leads the group.
    pub(crate) fn leader(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Killed, not shut down: the directory it writes to is removed next. Nothing to
        // do if it has ended; its number may be somebody else's by now.
        if matches!(self.0.try_wait(), Ok(None)) {
            rustix::process::kill_process_group(Pid::from_child(&self.0), Signal::KILL).ok();
            self.0.wait().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::process::ChildStdout;

    use super::*;

    /// A process with a child. The pipe it returns ends when both have.
    fn family(sandbox: &mut Sandbox) -> (Group, ChildStdout) {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & wait"]).stdout(Stdio::piped());
        let mut group = sandbox.spawn(&mut command).expect("a group");
        let output = group.0.stdout.take().expect("a pipe");
        (group, output)
    }

    #[test]
    fn the_watcher_acts_when_the_pipe_ends_without_a_farewell() {
        let mut sandbox = Sandbox::new().expect("a sandbox");
        let dir = sandbox.path().to_owned();
        std::fs::write(dir.join("file"), "x").expect("a file");
        let (_group, output) = family(&mut sandbox);
        let mut command = Command::new("sleep").arg("1000").spawn().expect("a command");
        sandbox.watch(&command).expect("a watcher");

        sandbox.pipe = None;
        assert!(!command.wait().expect("the command").success());
        io::read_to_string(output).expect("the end of the server and its child");
        sandbox.watcher.wait().expect("the watcher");
        assert!(!dir.exists());
    }

    #[test]
    fn guards_take_everything_with_them_in_a_panic() {
        let mut sandbox = Sandbox::new().expect("a sandbox");
        let dir = sandbox.path().to_owned();
        let (group, output) = family(&mut sandbox);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _guards = (group, sandbox);
            panic!("on purpose");
        }))
        .expect_err("it panics");
        io::read_to_string(output).expect("the end of the server and its child");
        assert!(!dir.exists());
    }
}
