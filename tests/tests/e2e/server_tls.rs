//! `serve` over TLS, by a certificate and a key in files.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reelshift_tests::receiver::free_port;
use reelshift_tests::server::{VIEWER, tokens};
use reelshift_tests::{Legacy, Reelshift, until, wait};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A certificate of `localhost` and its key.
fn certificate(directory: &Path) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("it is made");
    let (certificate, key) = (directory.join("serve.pem"), directory.join("serve.key"));
    std::fs::write(&certificate, made.cert.pem()).expect("it is written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("it is written");
    (certificate, key)
}

/// What is answered to a client that trusts `certificate`; `None` where nobody answers.
fn get(address: SocketAddr, certificate: &Path, path: &str) -> Option<String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).expect("a certificate")).expect("added");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let mut stream = StreamOwned::new(client, stream);
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {VIEWER}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_speak_tls_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    Reelshift::new(dir.path(), &["apply", "expand"]).database(&legacy.url).run().ok();
    let (certificate, key) = certificate(dir.path());
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let (listen, log) = (address.to_string(), dir.path().join("serve.log"));
    let mut server = Reelshift::new(dir.path(), &["serve", "--listen", &listen])
        .database(&legacy.url)
        .env("REELSHIFT_TOKENS", &tokens())
        .env("REELSHIFT_TLS_CERTIFICATE", &certificate.display().to_string())
        .env("REELSHIFT_TLS_KEY", &key.display().to_string())
        .start_logging(&log);
    until("the server is ready", async || {
        get(address, &certificate, "/readyz").is_some_and(|answer| answer.contains(" 200 "))
    })
    .await;
    let answer = get(address, &certificate, "/api/v1/flags").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"flags\""), "{answer}");
    // Without TLS nothing is answered, and the next client is.
    let mut plain = TcpStream::connect(address).expect("connected");
    plain.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
    plain.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    let mut received = Vec::new();
    plain.read_to_end(&mut received).ok();
    assert!(!String::from_utf8_lossy(&received).contains("HTTP/1.1"), "{received:?}");
    assert!(get(address, &certificate, "/livez").is_some());
    server.kill().expect("it ends");
    assert!(wait(&mut server, Duration::from_secs(30)).is_none(), "it was killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_certificate_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    Reelshift::new(dir.path(), &["apply", "expand"]).database(&legacy.url).run().ok();
    let (certificate, key) = certificate(dir.path());
    let text = |path: &Path| path.display().to_string();
    let (certificate, key) = (text(&certificate), text(&key));
    let missing = text(&dir.path().join("no-such.pem"));
    for (arguments, word) in [
        (vec!["--tls-certificate", &*certificate], "a certificate needs its key"),
        (vec!["--tls-key", &key], "a key needs its certificate"),
        (vec!["--tls-certificate", &missing, "--tls-key", &key], "no certificate can be read from"),
        (vec!["--tls-certificate", &key, "--tls-key", &key], "holds no certificate"),
        (vec!["--tls-certificate", &certificate, "--tls-key", &certificate], "no private key"),
    ] {
        let arguments = [&["serve"], &arguments[..]].concat();
        let refused = Reelshift::new(dir.path(), &arguments).database(&legacy.url).run();
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(word), "{refused:?}");
    }
}
