//! A database server of the test's own, to be stopped, killed and started again.

use std::ffi::OsString;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::SystemTime;

use sqlx::{Connection, MySqlConnection};
use tempfile::TempDir;

use crate::{LIMIT, until, wait};

/// What the suite's own server does without, but a server that is killed needs: a commit
/// that was answered is in the operating system's hands, and no page is half written.
const DURABLE: [&str; 2] = ["--innodb-flush-log-at-trx-commit=2", "--innodb-doublewrite=1"];

/// A server; killed when this value goes.
#[derive(Debug)]
pub struct Server {
    child: Child,
    port: u16,
    directory: TempDir,
    options: Vec<String>,
    /// When it first answered, by seconds of the clock.
    answered: u64,
}

impl Server {
    /// Starts a server of the kind that the tests run on.
    ///
    /// # Panics
    /// Without what `cargo xtask test` sets.
    pub async fn start() -> Self {
        Self::start_with_options(&[]).await
    }

    /// The same with `options`.
    ///
    /// # Panics
    /// Without what `cargo xtask test` sets.
    pub async fn start_with_options(options: &[&str]) -> Self {
        let data = PathBuf::from(variable("REELSHIFT_TEST_SERVER_DATA"));
        let options = options.iter().map(|&option| option.to_owned()).collect();
        Self::start_with(&data, options).await
    }

    /// The same with a copy of `data`, and `options` of its own.
    pub async fn start_with(data: &Path, options: Vec<String>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let copied =
            Command::new("cp").arg("-R").arg(data).arg(directory.path().join("data")).status();
        assert!(copied.expect("cp runs").success(), "no data directory for a server");
        std::fs::create_dir(directory.path().join("tmp")).expect("a directory");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let child = spawn(directory.path(), port, &options);
        let mut server = Self { child, port, directory, options, answered: 0 };
        server.answers().await;
        server
    }

    /// Its address, without a database; `root` may do everything.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mysql://root@127.0.0.1:{}", self.port)
    }

    /// Where its data are, to be copied while it is stopped.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// SIGKILL. What was committed stays.
    pub fn kill(&mut self) {
        self.child.kill().expect("the server dies");
        self.child.wait().expect("the server is dead");
    }

    /// An orderly shutdown.
    pub fn stop(&mut self) {
        let signal = rustix::process::Signal::TERM;
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal)
            .expect("the server gets a signal");
        assert_eq!(wait(&mut self.child, LIMIT), Some(0), "the server shuts down");
    }

    /// Starts it again after [`kill`](Self::kill) or [`stop`](Self::stop), and waits until
    /// it answers. Not in the second in which it started before: `UUID_SHORT()` begins with
    /// that second, and would count from one again.
    pub async fn start_again(&mut self) {
        until("the next second", async || seconds() > self.answered).await;
        self.child = spawn(self.directory.path(), self.port, &self.options);
        self.answers().await;
    }

    async fn answers(&mut self) {
        let url = self.url();
        until("a server that answers", async || {
            let ended = self.child.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "the server ended: {}", self.log());
            match MySqlConnection::connect(&url).await {
                Ok(connection) => connection.close().await.is_ok(),
                Err(_) => false,
            }
        })
        .await;
        self.answered = seconds();
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("server.log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be dead already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn seconds() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().expect("it is later than 1970").as_secs()
}

fn spawn(directory: &Path, port: u16, options: &[String]) -> Child {
    let lines = variable("REELSHIFT_TEST_SERVER_COMMAND");
    let lines = lines.to_str().expect("the server's command is text");
    let mut words = lines.lines();
    let log = File::options().create(true).append(true).open(directory.join("server.log"));
    let log = log.expect("a log file");
    let at = |name: &str, path: &str| format!("--{name}={}", directory.join(path).display());
    Command::new(words.next().expect("the server's command has a word"))
        .args(words)
        .args(DURABLE)
        // Of these addresses, only a network namespace of the test uses another than 127.0.0.1.
        .arg("--bind-address=0.0.0.0")
        .args([at("datadir", "data"), at("tmpdir", "tmp")])
        .args([at("socket", "socket"), at("pid-file", "pid")])
        .arg(format!("--port={port}"))
        .args(options)
        .env("TMPDIR", directory.join("tmp"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the server starts")
}

fn variable(name: &str) -> OsString {
    std::env::var_os(name)
        .unwrap_or_else(|| panic!("{name} is not set: run `cargo xtask test`, which sets it"))
}
