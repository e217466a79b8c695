//! A small HTTP client: one request a connection, everything that comes back to be looked at.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// No route takes longer; one that does hangs.
const LIMIT: Duration = Duration::from_secs(30);

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// The value of a header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The answer, which must have this status.
    #[must_use]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// What kind of problem this is; it must be a problem+json whose status is the answer's.
    #[must_use]
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self:?}");
        for member in ["title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{self:?}");
        }
        let kind = problem["type"].as_str().unwrap_or_default();
        kind.strip_prefix("urn:reelshift:problem:").unwrap_or_default().to_owned()
    }
}

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), headers: vec![], body: None }
    }

    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header("Content-Type", "application/json").body(&body.to_string())
    }

    #[must_use]
    pub fn form(self, body: &str) -> Self {
        self.header("Content-Type", "application/x-www-form-urlencoded").body(body)
    }

    #[must_use]
    pub fn body(self, body: &str) -> Self {
        self.bytes(body.as_bytes())
    }

    #[must_use]
    pub fn bytes(mut self, body: &[u8]) -> Self {
        self.body = Some(body.to_owned());
        self
    }

    /// Sends it; `None` where nobody answers. Of a stream, what came first.
    #[must_use]
    pub fn try_send(&self, address: SocketAddr) -> Option<Answer> {
        let mut stream = TcpStream::connect_timeout(&address, LIMIT).ok()?;
        stream.set_read_timeout(Some(LIMIT)).ok()?;
        let mut head = format!("{} {} HTTP/1.1\r\nConnection: close\r\n", self.method, self.path);
        let named = |name: &str| self.headers.iter().any(|(other, _)| other == name);
        if !named("Host") {
            head.push_str(&format!("Host: {address}\r\n"));
        }
        if let (Some(body), false) = (&self.body, named("Content-Length")) {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).ok()?;
        if let Some(body) = &self.body {
            // A server that refuses a body may close before it has read it.
            if let Err(error) = stream.write_all(body) {
                eprintln!("the body was not read to its end: {error}");
            }
        }
        read(&mut stream, self.method == "HEAD")
    }

    /// Sends it; somebody must answer.
    ///
    /// # Panics
    /// When nobody does.
    #[must_use]
    pub fn send(&self, address: SocketAddr) -> Answer {
        self.try_send(address).unwrap_or_else(|| panic!("no answer to {self:?}"))
    }
}

fn read(stream: &mut TcpStream, head_only: bool) -> Option<Answer> {
    let mut received = Vec::new();
    let mut buffer = [0_u8; 16 * 1_024];
    loop {
        if let Some(answer) = parse(&received, head_only) {
            return Some(answer);
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(some) => received.extend_from_slice(&buffer[..some]),
        }
    }
}

/// The answer, once it is there as a whole; of a stream, once it has begun.
fn parse(received: &[u8], head_only: bool) -> Option<Answer> {
    let text = String::from_utf8_lossy(received).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let answer = Answer { status, headers, body: body.to_owned() };
    let length = answer.header("content-length").and_then(|length| length.parse::<usize>().ok());
    let whole = match length {
        _ if head_only => true,
        Some(length) => body.len() >= length,
        None => {
            answer.header("content-type") == Some("text/event-stream")
                || body.ends_with("0\r\n\r\n")
                || matches!(status, 204 | 304)
        }
    };
    whole.then_some(answer)
}

/// Status code and body of a GET; `None` where nobody answers in time.
#[must_use]
pub fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT).ok()?;
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    // 1.0: the body comes as it is, and the connection ends with it.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// `text` as the value of a query parameter.
#[must_use]
pub fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a text takes more");
        }
    }
    encoded
}

/// What the forms of a page send along.
///
/// # Panics
/// When the page has no form.
#[must_use]
pub fn csrf(page: &str) -> &str {
    let (_, rest) = page.split_once("name=\"csrf\" value=\"").expect("a form");
    rest.split('"').next().unwrap_or_default()
}
