//! TLS to a server elsewhere: asked for, checked, and not given up silently. The server is
//! one of its own, with a certificate made here.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use reelshift_tests::{Ran, Reelshift};
use sqlx::{Connection, MySqlConnection};

/// An address that is none of the loopback, though the system leads it to this machine.
const ELSEWHERE: &str = "0.0.0.0";

/// A server with or without TLS; killed when this value goes.
struct Server {
    child: Child,
    port: u16,
    directory: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be dead already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Server {
    async fn start(tls: bool) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let data = PathBuf::from(variable("REELSHIFT_TEST_SERVER_DATA"));
        let copied = Command::new("cp").arg("-R").arg(data).arg(at("data")).status();
        assert!(copied.expect("cp runs").success(), "no data directory for a server");
        std::fs::create_dir(at("tmp")).expect("a directory");
        make_certificates(directory.path());
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let words = variable("REELSHIFT_TEST_SERVER_COMMAND");
        let mut words = words.to_str().expect("the server's command is text").lines();
        let option = |name: &str, file: &str| format!("--{name}={}", at(file).display());
        let mut command = Command::new(words.next().expect("a word"));
        command
            .args(words)
            .args([option("datadir", "data"), option("tmpdir", "tmp")])
            .args([option("socket", "socket"), option("pid-file", "pid")])
            .args(["--bind-address=127.0.0.1".to_owned(), format!("--port={port}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if tls {
            command.args([option("ssl-cert", "server.pem"), option("ssl-key", "server.key")]);
        }
        let child = command.spawn().expect("the server starts");
        let mut server = Self { child, port, directory };
        server.create_database().await;
        server
    }

    async fn create_database(&mut self) {
        let began = std::time::Instant::now();
        let url = format!("mysql://root@127.0.0.1:{}/?ssl-mode=preferred", self.port);
        let mut connection = loop {
            assert!(self.child.try_wait().expect("a child").is_none(), "the server ended");
            match MySqlConnection::connect(&url).await {
                Ok(connection) => break connection,
                Err(error) => assert!(began.elapsed().as_secs() < 60, "{error}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        };
        for sql in [
            "CREATE DATABASE platform",
            "CREATE USER 'far'@'%' IDENTIFIED BY 'hunter2'",
            "GRANT ALL ON platform.* TO 'far'@'%'",
        ] {
            sqlx::raw_sql(sql).execute(&mut connection).await.expect(sql);
        }
    }

    /// `inspect`, which comes to the missing table once the connection stands.
    fn inspect(&self, host: &str, options: &str, arguments: &[&str]) -> Ran {
        let arguments: Vec<&str> =
            ["inspect"].into_iter().chain(arguments.iter().copied()).collect();
        let url = format!("mysql://far:hunter2@{host}:{}/platform{options}", self.port);
        let ran = Reelshift::new(self.directory.path(), &arguments).database(&url).run();
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(!said.contains("hunter2"), "{said}");
        ran
    }
}

/// `ca.pem`, `other.pem`, both of them in `bundle.pem`, and `server.pem` with `server.key`, for `localhost` only.
fn make_certificates(directory: &Path) {
    let authority = || {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        CertifiedIssuer::self_signed(params, key).expect("an authority")
    };
    let (ours, other) = (authority(), authority());
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    let server = params.signed_by(&key, &ours).expect("a certificate");
    for (file, text) in [
        ("ca.pem", ours.pem()),
        ("other.pem", other.pem()),
        ("bundle.pem", other.pem() + &ours.pem()),
        ("server.pem", server.pem()),
        ("server.key", key.serialize_pem()),
    ] {
        std::fs::write(directory.join(file), text).expect("a file");
    }
}

fn variable(name: &str) -> OsString {
    std::env::var_os(name)
        .unwrap_or_else(|| panic!("{name} is not set: run `cargo xtask test`, which sets it"))
}

/// The connection stood: what is missing is only the table.
fn connected(ran: &Ran) {
    assert_eq!(ran.code, Some(4), "{}", ran.stderr);
    assert!(ran.stderr.contains("videos"), "{}", ran.stderr);
}

fn refused(ran: &Ran, why: &str) {
    assert_eq!(ran.code, Some(4), "{}", ran.stderr);
    assert!(ran.stderr.contains(why), "`{why}` is not in: {}", ran.stderr);
    assert_eq!(ran.stderr.lines().filter(|line| line.starts_with("error:")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_checked_where_the_url_names_an_authority() {
    let server = Server::start(true).await;
    connected(&server.inspect(ELSEWHERE, "", &[]));
    connected(&server.inspect("localhost", "?ssl-ca=ca.pem&ssl-mode=verify_identity", &[]));
    connected(&server.inspect(ELSEWHERE, "?ssl-ca=ca.pem&ssl-mode=verify_ca", &[]));
    connected(&server.inspect("localhost", "?ssl-ca=bundle.pem", &[]));
    connected(&server.inspect(ELSEWHERE, "?ssl-ca=bundle.pem&ssl-mode=verify_ca", &[]));
    refused(&server.inspect(ELSEWHERE, "?ssl-ca=ca.pem", &[]), "no TLS connection");
    refused(&server.inspect(ELSEWHERE, "?ssl-ca=other.pem&ssl-mode=verify_ca", &[]), "no TLS");
    refused(&server.inspect(ELSEWHERE, "?ssl-mode=disabled", &[]), "--allow-plaintext");
    connected(&server.inspect(ELSEWHERE, "?ssl-mode=disabled", &["--allow-plaintext"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_refused_elsewhere() {
    let server = Server::start(false).await;
    let ran = server.inspect(ELSEWHERE, "", &[]);
    // Newer servers make a certificate by themselves.
    if ran.stderr.contains("videos") {
        connected(&ran);
    } else {
        refused(&ran, "offers no TLS");
    }
    connected(&server.inspect(ELSEWHERE, "", &["--allow-plaintext"]));
    connected(&server.inspect("127.0.0.1", "", &[]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_says_nothing_in_the_clear_either() {
    let server = Server::start(true).await;
    let url = format!("mysql://far:hunter2@{ELSEWHERE}:{}/platform", server.port);
    let plain = format!("{url}?ssl-mode=disabled");
    let ran = Reelshift::new(server.directory.path(), &["demo", "--legacy-only"]);
    refused(&ran.database(&plain).run(), "--allow-plaintext");
    // No table was made before it was refused.
    connected(&server.inspect(ELSEWHERE, "", &[]));
}
