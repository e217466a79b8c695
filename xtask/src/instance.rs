//! A private server, MariaDB or MySQL: own data, own socket, own port, gone afterwards.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::interrupt::{Interrupts, spawn};
use crate::programs::{Programs, option};
use crate::reaper::{Group, Sandbox, end_of};
use crate::server::Server;

/// How long a server may take to accept connections; half a second is usual.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Tries at a port that somebody else may take between our look and the server's.
const PORT_TRIES: u32 = 5;

/// Quick rather than durable: the data is thrown away. Everything else stays at its
/// default, as it is in production.
const OPTIONS: [&str; 5] = [
    "--bind-address=127.0.0.1",
    "--max-connections=300",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--innodb-buffer-pool-size=128M",
];

/// Variables that would change what the server or its installer does, or which libraries
/// it loads.
const SERVER_VARIABLES: [&str; 8] = [
    "MYSQL_HOME",
    "MYSQL_HOST",
    "MYSQL_TCP_PORT",
    "MYSQL_UNIX_PORT",
    "UMASK",
    "UMASK_DIR",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
];

/// A running server. Stops, and its files go, when this value does.
pub(crate) struct Instance {
    // In this order: the server is gone before its directory is removed.
    _server: Group,
    sandbox: Sandbox,
    port: u16,
    version: String,
    /// What starts another server of this kind, but for the places of its files and its port.
    words: Vec<OsString>,
}

impl Instance {
    /// Starts a server, bringing its programs here if need be, and waits until it accepts
    /// connections. Creates `database`, if one is named; `options` go to the server last.
    pub(crate) fn start(
        server: Server,
        database: Option<&str>,
        options: &[String],
        interrupts: &Interrupts,
    ) -> Result<Self> {
        let programs = Programs::obtain(server, interrupts)?;
        let mut sandbox = Sandbox::new()?;
        create_system_tables(&programs, &mut sandbox, interrupts)?;
        copy_directory(&sandbox.path().join("data"), &sandbox.path().join("pristine"))
            .context("the new server's data cannot be copied")?;
        let init_file = sandbox.path().join("init.sql");
        let sql = database.map(|name| format!("CREATE DATABASE `{name}`;\n")).unwrap_or_default();
        fs::write(&init_file, sql).context("the server's first statements cannot be written")?;

        let mut log = None;
        for _ in 0..PORT_TRIES {
            let port = free_port()?;
            let words = words(&programs.server, &programs);
            let mut command = command(&words, sandbox.path());
            command.args(OPTIONS).args(programs.options).arg(format!("--port={port}"));
            command.arg(option("--socket", &sandbox.path().join("socket")));
            command.arg(option("--pid-file", &sandbox.path().join("pid")));
            command.arg(option("--init-file", &init_file)).args(options);
            let log = log.insert(sandbox.log(&mut command, "server")?);
            let mut group = sandbox.spawn(&mut command)?;
            if let Some(version) = wait_until_it_accepts(&mut group, port, log, interrupts)? {
                eprintln!("xtask: {version} on 127.0.0.1:{port}");
                let options = OPTIONS.iter().chain(programs.options).map(OsString::from);
                let words = words.into_iter().chain(options).collect();
                return Ok(Self { _server: group, sandbox, port, version, words });
            }
        }
        let log = log.as_deref().map(end_of).unwrap_or_default();
        bail!("the server found its port taken {PORT_TRIES} times: {log}");
    }

    /// The server's address, without a database. The user may do everything.
    pub(crate) fn url(&self) -> String {
        format!("mysql://root@127.0.0.1:{}", self.port)
    }

    /// The product and the version that the server greets with.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// The words that start another server of this kind, a line each; the places of its
    /// files and its port are to be added.
    pub(crate) fn command_lines(&self) -> OsString {
        self.words.join("\n".as_ref())
    }

    /// A data directory as the server finds it at its first start, to be copied.
    pub(crate) fn pristine_data(&self) -> PathBuf {
        self.sandbox.path().join("pristine")
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
    for dir in ["data", "tmp"] {
        fs::create_dir(sandbox.path().join(dir)).context("a directory cannot be made")?;
    }
    let mut command = command(&words(&programs.installer, programs), sandbox.path());
    command.args(&programs.installer_options);
    if let Some(sql) = &programs.installer_input {
        let path = sandbox.path().join("install.sql");
        fs::write(&path, sql).context("the installer's input cannot be written")?;
        command.stdin(File::open(path).context("the installer's input cannot be read")?);
    }
    sandbox.run_to_end(&mut command, "install", interrupts)
}

/// What the server and its installer have in common, but for the places of their data.
fn words(program: &[OsString], programs: &Programs) -> Vec<OsString> {
    // `--no-defaults` has to come first.
    let mut words = [program, &["--no-defaults".into()]].concat();
    if rustix::process::geteuid().is_root() {
        words.push("--user=root".into());
    }
    words.extend_from_slice(&programs.places);
    words
}

fn command(words: &[OsString], dir: &Path) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg(option("--datadir", &dir.join("data")));
    command.arg(option("--tmpdir", &dir.join("tmp"))).env("TMPDIR", dir.join("tmp"));
    for variable in SERVER_VARIABLES {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    command
}

fn copy_directory(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &copy)?;
        } else {
            fs::copy(entry.path(), copy)?;
        }
    }
    Ok(())
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
            bail!("the server did not start ({status}): {}", end_of(log));
        }
        if let Ok(greeting) = greeting(port)
            && let Some(version) = version(&greeting)
        {
            return Ok(Some(version));
        }
        if Instant::now() > deadline {
            let seconds = START_TIMEOUT.as_secs();
            bail!("the server accepted no connection for {seconds} s: {}", end_of(log));
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

/// The product and version in a greeting of protocol 10, without the prefix that
/// MariaDB 10 puts before it for old replicas.
fn version(greeting: &[u8]) -> Option<String> {
    let version = greeting.strip_prefix(&[10])?.split(|&byte| byte == 0).next()?;
    let version = std::str::from_utf8(version).ok()?;
    if !version.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let version = version.strip_prefix("5.5.5-").unwrap_or(version);
    let version = version.split(' ').next()?;
    let product = if version.contains("MariaDB") { "MariaDB" } else { "MySQL" };
    Some(format!("{product} {}", version.replacen("-MariaDB", "", 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_greeting() {
        let cases: [(&[u8], Option<&str>); 6] = [
            (b"\x0a5.5.5-10.11.14-MariaDB-0+deb12u2\0rest", Some("MariaDB 10.11.14-0+deb12u2")),
            (b"\x0a11.8.6-MariaDB-0+deb13u1 from Debian\0", Some("MariaDB 11.8.6-0+deb13u1")),
            (b"\x0a9.7.0\0", Some("MySQL 9.7.0")),
            (b"\x0aSSH\0", None),
            (b"\xff\x10\x04Too many connections", None),
            (b"", None),
        ];
        for (greeting, expected) in cases {
            assert_eq!(version(greeting).as_deref(), expected);
        }
    }
}
