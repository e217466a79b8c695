//! The `reelshift` binary, run in a directory of its own with nothing of the caller's
//! environment that it would read.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How to start the binary.
#[derive(Debug)]
pub struct Reelshift {
    command: Command,
}

/// What a run of the binary came to.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Standard output as the one JSON document that it must be.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not one JSON document ({error}): {self:?}"))
    }

    /// The run must have ended with exit code 0.
    pub fn ok(self) {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
    }

    /// The run, which must have ended with `code`.
    #[must_use]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Reelshift {
    /// The binary with `arguments`, in `directory`.
    ///
    /// # Panics
    /// When the binary is not built: `cargo xtask test` builds it first.
    #[must_use]
    pub fn new(directory: &Path, arguments: &[&str]) -> Self {
        let mut path = std::env::current_exe().expect("a test has a path");
        path.pop();
        if path.ends_with("deps") {
            path.pop();
        }
        path.push("reelshift");
        assert!(path.is_file(), "{} is not built: run `cargo xtask test`", path.display());
        Self::of(&path, directory, arguments)
    }

    /// Another binary of reelshift, at `path`.
    #[must_use]
    pub fn of(path: &Path, directory: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(path);
        command.args(arguments).current_dir(directory).stdin(Stdio::null());
        forget_settings(&mut command);
        // How long a gate is held is the machine's; a test that is about it says its own.
        command.env("REELSHIFT_LONGEST_STALL", "10min");
        Self { command }
    }

    /// Runs the binary by another program: `words`, then the binary and its arguments. Call
    /// it before anything else is set.
    #[must_use]
    pub fn under(self, words: &[&str]) -> Self {
        let Some((program, arguments)) = words.split_first() else { return self };
        let mut command = Command::new(program);
        command.args(arguments).arg(self.command.get_program()).args(self.command.get_args());
        command.stdin(Stdio::null());
        if let Some(directory) = self.command.get_current_dir() {
            command.current_dir(directory);
        }
        forget_settings(&mut command);
        Self { command }
    }

    /// Runs `script` in mounts of its own (Linux), with the binary as `$0`, in place of the
    /// binary itself. Call it before anything else is set.
    #[must_use]
    pub fn in_own_mounts(self, script: &str) -> Self {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--map-root-user", "sh", "-c", script])
            .arg(self.command.get_program());
        command.stdin(Stdio::null());
        if let Some(directory) = self.command.get_current_dir() {
            command.current_dir(directory);
        }
        Self { command }
    }

    #[must_use]
    pub fn database(mut self, url: &str) -> Self {
        self.command.env("DATABASE_URL", url);
        self
    }

    #[must_use]
    pub fn media(mut self, root: &Path) -> Self {
        self.command.env("REELSHIFT_MEDIA_ROOT", root);
        self
    }

    /// Sets a variable of the binary's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs to the end; a run that hangs fails the test.
    #[must_use]
    pub fn run(mut self) -> Ran {
        let child = self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.expect("the binary starts");
        let pid = child.id().to_string();
        let (ended, watch) = std::sync::mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            if watch.recv_timeout(Duration::from_mins(3))
                == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                Command::new("kill").args(["-9", &pid]).status().expect("kill runs");
            }
        });
        let ran = Ran::from(child.wait_with_output().expect("the binary ends"));
        drop(ended);
        watchdog.join().expect("the watchdog ends");
        assert!(ran.code.is_some(), "reelshift was killed by a signal or hung: {}", ran.stderr);
        ran
    }

    /// Runs to the end with these for its output; returns its exit code.
    #[must_use]
    pub fn run_into(mut self, stdout: Stdio, stderr: Stdio) -> Option<i32> {
        let child = self.command.stdout(stdout).stderr(stderr).spawn();
        // The command holds the pipes too.
        drop(self);
        wait(&mut child.expect("the binary starts"), Duration::from_mins(3))
    }

    /// Starts and goes on; its standard output is the caller's to read.
    #[must_use]
    pub fn start_reading(mut self) -> Child {
        let child = self.command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        child.expect("the binary starts")
    }

    /// Starts and goes on; what it says is appended to `log`.
    ///
    /// # Panics
    /// When the log cannot be written.
    #[must_use]
    pub fn start_logging(mut self, log: &Path) -> Child {
        let file = File::options().create(true).append(true).open(log).expect("a log file");
        let child = self.command.stdout(Stdio::null()).stderr(file).spawn();
        child.expect("the binary starts")
    }

    /// Starts and goes on, with a terminal for its input, its output and its errors.
    ///
    /// # Panics
    /// When the terminal cannot be shared.
    #[must_use]
    pub fn start_on(mut self, terminal: File) -> Child {
        let other = || terminal.try_clone().expect("the terminal");
        self.command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        let child = self.command.stdin(other()).stdout(other()).stderr(other()).spawn();
        child.expect("the binary starts")
    }

    /// Starts and goes on; what it says is dropped.
    #[must_use]
    pub fn start(mut self) -> Child {
        let child = self.command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        child.expect("the binary starts")
    }
}

fn forget_settings(command: &mut Command) {
    for name in [
        "DATABASE_URL",
        "DATABASE_URL_FILE",
        "REELSHIFT_PASSWORD_COMMAND",
        "REELSHIFT_TOKENS_FILE",
        "REELSHIFT_MEDIA_ROOT",
        "REELSHIFT_CONFIG",
        "REELSHIFT_LOG",
        "REELSHIFT_CONCURRENCY",
        "REELSHIFT_HASH_BACKEND",
        "REELSHIFT_MEDIA_PREFIX",
        "REELSHIFT_TRUST_STORED_CHECKSUMS",
        "REELSHIFT_VERIFY_SAMPLE",
        "REELSHIFT_HEALTH",
        "REELSHIFT_LISTEN",
        "REELSHIFT_TOKENS",
        "REELSHIFT_HOSTS",
        "REELSHIFT_SESSION_KEY",
        "REELSHIFT_TRUSTED_PROXIES",
    ] {
        command.env_remove(name);
    }
    for (name, _) in std::env::vars_os() {
        let ours = ["OTEL_", "AWS_", "GOOGLE_", "AZURE_"];
        if name.to_str().is_some_and(|name| ours.iter().any(|ours| name.starts_with(ours))) {
            command.env_remove(name);
        }
    }
}

/// Waits for `child` to end by itself within `limit`; its exit code.
///
/// # Panics
/// When it does not.
#[must_use]
pub fn wait(child: &mut Child, limit: Duration) -> Option<i32> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return status.code();
        }
        assert!(began.elapsed() < limit, "the process did not end within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
