//! An object store with one object for every key, which can be told to misbehave.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};

/// What every object holds.
pub const CONTENT: &[u8] = b"abc";

const LISTING: &str = "<ListBucketResult><Contents><Key>m/a</Key>\
    <LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>3</Size></Contents>\
    </ListBucketResult>";

/// A server on a port of its own, for as long as the process lives.
#[derive(Debug)]
pub struct ObjectStore {
    pub endpoint: String,
    manner: Arc<Mutex<Manner>>,
}

/// How it answers, and what it was asked.
#[derive(Debug, Default)]
struct Manner {
    refusal: Option<(&'static str, &'static str)>,
    /// The SHA-256 that it keeps with every object.
    checksum: Option<String>,
    reads: u32,
}

impl ObjectStore {
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let manner = Arc::default();
        let store = Self { endpoint, manner: Arc::clone(&manner) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let manner = Arc::clone(&manner);
                // A client that goes away is none of the test's concern.
                std::thread::spawn(move || answer(&stream, &manner).ok());
            }
        });
        store
    }

    /// Answers every request for an object with this status and code, or as it should.
    /// Listing always works.
    pub fn refuse(&self, with: Option<(&'static str, &'static str)>) {
        self.manner().refusal = with;
    }

    /// Keeps the SHA-256 of this with every object, whatever it holds.
    pub fn keep_checksum_of(&self, content: &[u8]) {
        self.manner().checksum = Some(BASE64_STANDARD.encode(Sha256::digest(content)));
    }

    /// How often an object was read.
    #[must_use]
    pub fn reads(&self) -> u32 {
        self.manner().reads
    }

    fn manner(&self) -> MutexGuard<'_, Manner> {
        self.manner.lock().expect("nobody panics with it")
    }
}

/// Answers one request and hangs up.
fn answer(mut stream: &TcpStream, manner: &Mutex<Manner>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let mut asks_checksum = false;
    while let Some(line) = lines.next().transpose()?.filter(|line| !line.is_empty()) {
        asks_checksum |= line.eq_ignore_ascii_case("x-amz-checksum-mode: ENABLED");
    }
    let only_head = request.starts_with("HEAD ");
    let lists = request.contains("list-type=2");
    let (refused, checksum) = {
        let mut manner = manner.lock().expect("nobody panics with it");
        manner.reads += u32::from(!lists && !only_head);
        (manner.refusal, manner.checksum.clone().filter(|_| asks_checksum))
    };
    let object = "ETag: \"e\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n";
    let (status, headers, body) = match refused {
        _ if lists => ("200 OK", String::new(), LISTING.as_bytes().to_vec()),
        Some((status, code)) => {
            (status, String::new(), format!("<Error><Code>{code}</Code></Error>").into_bytes())
        }
        None if only_head => {
            let checksum = checksum.map(|sum| format!("x-amz-checksum-sha256: {sum}\r\n"));
            let headers = format!("{object}{}", checksum.unwrap_or_default());
            ("200 OK", headers, CONTENT.to_vec())
        }
        None => {
            let headers = format!("Content-Range: bytes 0-2/3\r\n{object}");
            ("206 Partial Content", headers, CONTENT.to_vec())
        }
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    let body = if only_head { Vec::new() } else { body };
    stream.write_all(&[head.into_bytes(), body].concat())
}
