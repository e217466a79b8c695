//! A private MariaDB server: own data, own socket, own port, gone afterwards.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::install::Programs;
use crate::interrupt::{Interrupts, spawn};
use crate::reaper::{Group, Sandbox};

/// How long a server may take to accept connections; half a second is usual.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Tries at a port that somebody else may take between our look and the server's.
const PORT_TRIES: u32 = 5;

/// Lines of the server's log to show when it fails.
const LOG_LINES: usize = 30;

/// Quick rather than durable: the data is thrown away. Everything else stays at its
/// default, as it is in production.
const OPTIONS: [&str; 7] = [
    "--bind-address=127.0.0.1",
    "--max-connections=300",
    "--skip-log-bin",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--innodb-buffer-pool-size=128M",
    "--performance-schema=OFF",
];

/// Variables that would change what the server or its installer does.
const SERVER_VARIABLES: [&str; 6] =
    ["MYSQL_HOME", "MYSQL_HOST", "MYSQL_TCP_PORT", "MYSQL_UNIX_PORT", "UMASK", "UMASK_DIR"];

/// A running server. Stops, and its files go, when this value does.
pub(crate) struct Instance {
    // In this order: the server is gone before its directory is removed.
    _server: Group,
    sandbox: Sandbox,
    port: u16,
}

impl Instance {
    /// Starts a server, installing MariaDB if need be, and waits until it accepts
    /// connections. Creates `database`, if one is named; `options` go to the server last.
    pub(crate) fn start(
        database: Option<&str>,
        options: &[String],
        interrupts: &Interrupts,
    ) -> Result<Self> {
        let programs = Programs::find_or_install(interrupts)?;
        let mut sandbox = Sandbox::new()?;
        create_system_tables(&programs, &mut sandbox, interrupts)?;
        let init_file = sandbox.path().join("init.sql");
        let sql = database.map(|name| format!("CREATE DATABASE `{name}`;\n")).unwrap_or_default();
        fs::write(&init_file, sql).context("the server's first statements cannot be written")?;

        let log = sandbox.path().join("server.log");
        for _ in 0..PORT_TRIES {
            let port = free_port()?;
            let mut command = command(&programs.server, sandbox.path());
            command.args(OPTIONS).arg(format!("--port={port}"));
            command.arg(option("--socket", &sandbox.path().join("socket")));
            command.arg(option("--pid-file", &sandbox.path().join("pid")));
            command.arg(option("--init-file", &init_file)).args(options);
            let mut server = sandbox.spawn(log_to(&mut command, &log)?)?;
            if let Some(version) = wait_until_it_accepts(&mut server, port, &log, interrupts)? {
                eprintln!("xtask: MariaDB {version} on 127.0.0.1:{port}");
                return Ok(Self { _server: server, sandbox, port });
            }
        }
        bail!("mariadbd found its port taken {PORT_TRIES} times: {}", end_of(&log));
    }

    /// The server's address, without a database. The user may do everything.
    pub(crate) fn url(&self) -> String {
        format!("mysql://root@127.0.0.1:{}", self.port)
    }

    /// Runs a command to its end beside the server. If this process is killed, the
    /// command is terminated.
    pub(crate) fn run(
        &mut self,
        command: &mut Command,
        interrupts: &Interrupts,
    ) -> Result<ExitStatus> {
        interrupts.pause(Duration::ZERO)?;
        let mut child = spawn(command)?;
        self.sandbox.watch(&child)?;
        let status = interrupts.wait(&mut child);
        self.sandbox.unwatch()?;
        status
    }
}

fn create_system_tables(
    programs: &Programs,
    sandbox: &mut Sandbox,
    interrupts: &Interrupts,
) -> Result<()> {
    // Servers that share a directory for temporary tables delete each other's.
    fs::create_dir(sandbox.path().join("tmp")).context("a directory cannot be made")?;
    let log = sandbox.path().join("install.log");
    let mut command = command(&programs.install_db, sandbox.path());
    command.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
    let mut installer = sandbox.spawn(log_to(&mut command, &log)?)?;
    let status = loop {
        if let Some(status) = installer.leader().try_wait()? {
            break status;
        }
        interrupts.pause(Duration::from_millis(20))?;
    };
    if !status.success() {
        bail!("{} failed ({status}): {}", programs.install_db.display(), end_of(&log));
    }
    Ok(())
}

/// What the server and its installer have in common.
fn command(program: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program);
    // Has to come first.
    command.arg("--no-defaults");
    if rustix::process::geteuid().is_root() {
        command.arg("--user=root");
    }
    command.arg(option("--datadir", &dir.join("data")));
    command.arg(option("--tmpdir", &dir.join("tmp"))).env("TMPDIR", dir.join("tmp"));
    for variable in SERVER_VARIABLES {
        command.env_remove(variable);
    }
    command
}

fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push("=");
    option.push(path);
    option
}

fn log_to<'a>(command: &'a mut Command, log: &Path) -> Result<&'a mut Command> {
    let file = File::create(log).context("a log file cannot be made")?;
    let copy = file.try_clone().context("a log file cannot be shared")?;
    Ok(command.stdin(Stdio::null()).stdout(file).stderr(copy))
}

fn free_port() -> Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port of 127.0.0.1 is free")?;
    Ok(listener.local_addr()?.port())
}

/// The version that the server greets with; none if its port was taken.
fn wait_until_it_accepts(
    server: &mut Group,
    port: u16,
    log: &Path,
    interrupts: &Interrupts,
) -> Result<Option<String>> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        if let Some(status) = server.leader().try_wait()? {
            if fs::read_to_string(log)?.contains("Address already in use") {
                return Ok(None);
            }
            bail!("mariadbd did not start ({status}): {}", end_of(log));
        }
        if let Ok(greeting) = greeting(port)
            && let Some(version) = version(&greeting)
        {
            return Ok(Some(version));
        }
        if Instant::now() > deadline {
            let seconds = START_TIMEOUT.as_secs();
            bail!("mariadbd accepted no connection for {seconds} s: {}", end_of(log));
        }
        interrupts.pause(Duration::from_millis(20))?;
    }
}

/// The first packet of the server, as far as it is needed. A port that somebody else
/// took meanwhile does not greet like this.
fn greeting(port: u16) -> io::Result<Vec<u8>> {
    let timeout = Duration::from_secs(1);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    let mut header = [0; 4];
    stream.read_exact(&mut header)?;
    let mut packet = Vec::new();
    stream.take(u64::from(u16::from_le_bytes([header[0], header[1]]))).read_to_end(&mut packet)?;
    Ok(packet)
}

/// The version in a greeting of protocol 10, without the prefix that MariaDB 10 puts
/// before it for old replicas.
fn version(greeting: &[u8]) -> Option<String> {
    let version = greeting.strip_prefix(&[10])?.split(|&byte| byte == 0).next()?;
    let version = std::str::from_utf8(version).ok()?;
    let version = version.strip_prefix("5.5.5-").unwrap_or(version);
    version.contains("MariaDB").then(|| version.to_owned())
}

/// The end of a log, for an error that is reported after the log is gone.
fn end_of(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let Ok(text) = text else { return "it wrote no log".into() };
    let lines: Vec<&str> = text.lines().collect();
    let start = lines.len().saturating_sub(LOG_LINES);
    format!("its log ends\n{}", lines[start..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_mariadbs_greeting_only() {
        let cases: [(&[u8], Option<&str>); 5] = [
            (b"\x0a5.5.5-10.11.14-MariaDB-0+deb12u2\0rest", Some("10.11.14-MariaDB-0+deb12u2")),
            (b"\x0a11.8.3-MariaDB\0", Some("11.8.3-MariaDB")),
            (b"\x0a9.7.0\0", None),
            (b"\xff\x10\x04Too many connections", None),
            (b"", None),
        ];
        for (greeting, expected) in cases {
            assert_eq!(version(greeting).as_deref(), expected);
        }
    }
}
