//! Emulators of object stores that nobody here wrote, which `cargo xtask test` brings: moto
//! for S3, fake-gcs-server for Google Cloud Storage, Azurite for Azure Blob Storage. What
//! they hold is put there by plain requests, without the product's client.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::LIMIT;
use crate::chaos::skipped;
use crate::http::{Request, encoded};
use crate::receiver::free_port;

/// The bucket or container of every emulator.
const BUCKET: &str = "videos";
/// The account that Azurite has, and its key, which is public.
const ACCOUNT: &str = "devstoreaccount1";
const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A store that is emulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    S3,
    Google,
    Azure,
}

/// A running emulator. It is ended when it is dropped.
#[derive(Debug)]
pub struct Emulator {
    store: Store,
    address: SocketAddr,
    child: Child,
}

impl Store {
    /// The variable in which the emulator's program is, and its name.
    const fn program(self) -> (&'static str, &'static str) {
        match self {
            Self::S3 => ("REELSHIFT_TEST_MOTO", "moto"),
            Self::Google => ("REELSHIFT_TEST_FAKE_GCS_SERVER", "fake-gcs-server"),
            Self::Azure => ("REELSHIFT_TEST_AZURITE", "Azurite"),
        }
    }

    /// The media root with this prefix.
    #[must_use]
    pub fn root(self, prefix: &str) -> String {
        let scheme = match self {
            Self::S3 => "s3",
            Self::Google => "gs",
            Self::Azure => "az",
        };
        format!("{scheme}://{BUCKET}/{prefix}")
    }
}

impl Emulator {
    /// Starts one that keeps what it writes below `directory`; `None`, which is said, where
    /// `cargo xtask test` could not install it.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(store: Store, directory: &Path) -> Option<Self> {
        let (variable, name) = store.program();
        let Some(program) = std::env::var_os(variable) else {
            skipped(&format!("there is no {name}; `cargo xtask test` brings one"));
            return None;
        };
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let port = address.port().to_string();
        let mut command = Command::new(program);
        match store {
            Store::S3 => command.args(["-H", "127.0.0.1", "-p", &port]),
            Store::Google => command
                .args(["-scheme", "http", "-host", "127.0.0.1", "-port", &port])
                .args(["-backend", "memory", "-public-host", &address.to_string()]),
            Store::Azure => command
                .args(["--blobHost", "127.0.0.1", "--blobPort", &port, "--inMemoryPersistence"])
                .args(["--skipApiVersionCheck", "--silent"]),
        };
        let child = command
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the emulator starts");
        let emulator = Self { store, address, child };
        let began = Instant::now();
        while Request::get("/").try_send(address).is_none() {
            assert!(began.elapsed() < LIMIT, "{name} does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        emulator.make_bucket();
        Some(emulator)
    }

    /// What the product's environment must hold to reach it.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let endpoint = format!("http://{}", self.address);
        let texts = |pairs: &[(&'static str, &str)]| {
            pairs.iter().map(|&(name, value)| (name, value.to_owned())).collect()
        };
        match self.store {
            Store::S3 => texts(&[
                ("AWS_ENDPOINT_URL", &endpoint),
                ("AWS_REGION", "us-east-1"),
                ("AWS_ACCESS_KEY_ID", "key"),
                ("AWS_SECRET_ACCESS_KEY", "secret"),
            ]),
            Store::Google => texts(&[
                ("GOOGLE_BASE_URL", &endpoint),
                // Nobody looks at the token.
                ("GOOGLE_BEARER_TOKEN", "token"),
            ]),
            Store::Azure => texts(&[
                ("AZURE_STORAGE_ENDPOINT", &format!("{endpoint}/{ACCOUNT}")),
                ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT),
                ("AZURE_STORAGE_ACCOUNT_KEY", ACCOUNT_KEY),
            ]),
        }
    }

    fn make_bucket(&self) {
        let made = match self.store {
            Store::S3 => Request::new("PUT", &format!("/{BUCKET}")).body(""),
            Store::Google => Request::new("POST", "/storage/v1/b?project=p")
                .json(&serde_json::json!({ "name": BUCKET })),
            Store::Azure => signed(&format!("/{ACCOUNT}/{BUCKET}"), Some("restype=container"), b""),
        };
        self.send(&made);
    }

    /// Puts an object, with headers or parameters of the store's own.
    pub fn put(&self, key: &str, content: &[u8], more: &[(&str, &str)]) {
        let path = key.split('/').map(encoded).collect::<Vec<_>>().join("/");
        let put = match self.store {
            Store::S3 => Request::new("PUT", &format!("/{BUCKET}/{path}")).bytes(content),
            Store::Google => {
                let more = more.iter().map(|(name, value)| format!("&{name}={value}"));
                let (more, name) = (more.collect::<String>(), encoded(key));
                let to =
                    format!("/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={name}{more}");
                return self.send(&Request::new("POST", &to).bytes(content));
            }
            Store::Azure => signed(&format!("/{ACCOUNT}/{BUCKET}/{path}"), None, content),
        };
        self.send(&more.iter().fold(put, |put, (name, value)| put.header(name, value)));
    }

    fn send(&self, request: &Request) {
        let answer = request.send(self.address);
        assert!([200, 201].contains(&answer.status), "{request:?}: {answer:?}");
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill() {
            eprintln!("the emulator was gone: {error}");
        }
        if let Err(error) = self.child.wait() {
            eprintln!("the emulator cannot be waited for: {error}");
        }
    }
}

/// A PUT with Azure's signature.
fn signed(path: &str, query: Option<&str>, content: &[u8]) -> Request {
    let headers = [
        ("x-ms-blob-type", "BlockBlob"),
        ("x-ms-date", "Thu, 26 Nov 2026 00:00:00 GMT"),
        ("x-ms-version", "2023-11-03"),
    ];
    let length = if content.is_empty() { String::new() } else { content.len().to_string() };
    let canonical: String =
        headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let parameters = query.map(|query| format!("\n{}", query.replace('=', ":")));
    let parameters = parameters.unwrap_or_default();
    let text =
        format!("PUT\n\n\n{length}\n\n\n\n\n\n\n\n\n{canonical}/{ACCOUNT}{path}{parameters}");
    let key = BASE64_STANDARD.decode(ACCOUNT_KEY).expect("the key is base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length is a key");
    mac.update(text.as_bytes());
    let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let put = Request::new("PUT", &target).bytes(content);
    let put = put.header("Authorization", &format!("SharedKey {ACCOUNT}:{signature}"));
    headers.iter().fold(put, |put, (name, value)| put.header(name, value))
}
