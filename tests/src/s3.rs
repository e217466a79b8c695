//! An object store with one object for every key, which can be told to misbehave.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What every object holds.
pub const CONTENT: &[u8] = b"abc";

const LISTING: &str = "<ListBucketResult><Contents><Key>m/a</Key>\
    <LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>3</Size></Contents>\
    </ListBucketResult>";

/// A server on a port of its own, for as long as the process lives.
#[derive(Debug)]
pub struct ObjectStore {
    pub endpoint: String,
    refusal: Arc<Mutex<Option<(&'static str, &'static str)>>>,
}

impl ObjectStore {
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let refusal = Arc::default();
        let store = Self { endpoint, refusal: Arc::clone(&refusal) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let refusal = Arc::clone(&refusal);
                // A client that goes away is none of the test's concern.
                std::thread::spawn(move || answer(&stream, &refusal).ok());
            }
        });
        store
    }

    /// Answers every request for an object with this status and code, or as it should.
    /// Listing always works.
    pub fn refuse(&self, with: Option<(&'static str, &'static str)>) {
        *self.refusal.lock().expect("nobody panics with it") = with;
    }
}

/// Answers one request and hangs up.
fn answer(
    mut stream: &TcpStream,
    refusal: &Mutex<Option<(&'static str, &'static str)>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let refused = *refusal.lock().expect("nobody panics with it");
    let (status, headers, body) = match refused {
        _ if request.contains("list-type=2") => ("200 OK", "", LISTING.as_bytes().to_vec()),
        Some((status, code)) => {
            (status, "", format!("<Error><Code>{code}</Code></Error>").into_bytes())
        }
        None => {
            let headers = "Content-Range: bytes 0-2/3\r\nETag: \"e\"\r\n\
                           Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n";
            ("206 Partial Content", headers, CONTENT.to_vec())
        }
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all(&[head.into_bytes(), body].concat())
}
