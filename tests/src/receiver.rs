//! An OTLP receiver that is not ours, and the spans that it got, read from its log.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::chaos::skipped;

/// Attributes, as texts.
pub type Attributes = BTreeMap<String, String>;

/// A span as it arrived.
#[derive(Debug, Clone, Default)]
pub struct Span {
    pub resource: Attributes,
    pub trace: String,
    pub id: String,
    /// Empty where it has none.
    pub parent: String,
    pub name: String,
    /// `CONSUMER`, …
    pub kind: String,
    /// `ERROR`, `UNSET`, …
    pub status: String,
    pub attributes: Attributes,
    /// Name and attributes of each event.
    pub events: Vec<(String, Attributes)>,
    /// Trace and span of each link.
    pub links: Vec<(String, String)>,
}

/// The running receiver. It is ended when it is dropped.
#[derive(Debug)]
pub struct Receiver {
    program: PathBuf,
    grpc: u16,
    http: u16,
    log: PathBuf,
    child: Child,
}

impl Receiver {
    /// Starts a receiver that logs below `directory`; `None`, which is said, where
    /// `cargo xtask test` could not install one.
    #[must_use]
    pub fn start(directory: &Path) -> Option<Self> {
        let Some(program) = std::env::var_os("REELSHIFT_TEST_OTLP_RECEIVER") else {
            skipped("there is no OTLP receiver; `cargo xtask test` brings one");
            return None;
        };
        let (program, log) = (PathBuf::from(program), directory.join("received.log"));
        let (grpc, http) = (free_port(), free_port());
        let child = spawn(&program, grpc, http, &log);
        Some(Self { program, grpc, http, log, child })
    }

    /// Where it takes OTLP over gRPC.
    #[must_use]
    pub fn grpc(&self) -> String {
        format!("http://127.0.0.1:{}", self.grpc)
    }

    /// Where it takes OTLP over HTTP.
    #[must_use]
    pub fn http(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    /// Ends it as a crash would.
    ///
    /// # Panics
    /// When it has ended by itself.
    pub fn kill(&mut self) {
        self.child.kill().expect("the receiver dies");
        self.child.wait().expect("the receiver is dead");
    }

    /// Starts it again, on the same ports and log.
    pub fn start_again(&mut self) {
        self.child = spawn(&self.program, self.grpc, self.http, &self.log);
    }

    /// Everything that it logged: spans, metrics and logs.
    ///
    /// # Panics
    /// When there is no log.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the receiver's log")
    }

    /// The spans that it has by now.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        parse(&self.log())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill() {
            eprintln!("the receiver was gone: {error}");
        }
        if let Err(error) = self.child.wait() {
            eprintln!("the receiver cannot be waited for: {error}");
        }
    }
}

/// A port that was free a moment ago.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("its number").port()
}

fn spawn(program: &Path, grpc: u16, http: u16, log: &Path) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(log).expect("a log");
    let child = Command::new(program)
        .args(["start", "--exporter", "blackhole", "--disable-batching"])
        // Of these addresses, only network namespaces of a test use others than 127.0.0.1.
        .args(["--otlp-grpc-endpoint", &format!("0.0.0.0:{grpc}")])
        .args(["--otlp-http-endpoint", &format!("0.0.0.0:{http}")])
        .args(["--debug-log", "traces", "--debug-log", "metrics", "--debug-log", "logs"])
        .args(["--debug-log-verbosity", "detailed"])
        .stdin(Stdio::null())
        .stderr(log.try_clone().expect("the same log"))
        .stdout(log)
        .spawn()
        .expect("the receiver starts");
    let began = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", grpc)).is_err() {
        assert!(began.elapsed() < Duration::from_mins(1), "the receiver does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

/// What the lines after a heading belong to.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Resource,
    Span,
    Attributes,
    Event,
    Link,
    Other,
}

fn parse(log: &str) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut resource = Attributes::new();
    let mut part = Part::Other;
    for line in log.lines() {
        let heading = match line {
            _ if line.starts_with("ResourceSpans #") => {
                resource.clear();
                Some(Part::Other)
            }
            _ if line.starts_with("Resource attributes:") => Some(Part::Resource),
            _ if line.starts_with("Span #") => {
                spans.push(Span { resource: resource.clone(), ..Span::default() });
                Some(Part::Span)
            }
            _ if line.starts_with("SpanEvent #") => Some(Part::Event),
            _ if line.starts_with("SpanLink #") => Some(Part::Link),
            "Attributes:" => Some(Part::Attributes),
            _ if ["ScopeSpans", "ResourceMetrics", "ResourceLogs", "LogRecord", "Metric #"]
                .iter()
                .any(|other| line.starts_with(other)) =>
            {
                Some(Part::Other)
            }
            _ => None,
        };
        if let Some(heading) = heading {
            part = heading;
            continue;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        let (name, value) = (name.trim().trim_start_matches("->").trim(), value.trim());
        let attribute = || (name.to_owned(), text(value));
        if part == Part::Resource {
            resource.extend([attribute()]);
            continue;
        }
        let Some(span) = spans.last_mut() else { continue };
        match (part, name) {
            (Part::Span, "Trace ID") => value.clone_into(&mut span.trace),
            (Part::Span, "Parent ID") => value.clone_into(&mut span.parent),
            (Part::Span, "ID") => value.clone_into(&mut span.id),
            (Part::Span, "Name") => value.clone_into(&mut span.name),
            (Part::Span, "Kind") => span.kind = value.replace("SPAN_KIND_", ""),
            (Part::Span, "Status code") => span.status = value.replace("STATUS_CODE_", ""),
            (Part::Attributes, _) => span.attributes.extend([attribute()]),
            (Part::Event, "Name") => span.events.push((value.to_owned(), Attributes::new())),
            (Part::Event, _) => {
                if let Some((_, attributes)) = span.events.last_mut() {
                    attributes.extend([attribute()]);
                }
            }
            (Part::Link, "Trace ID") => span.links.push((value.to_owned(), String::new())),
            (Part::Link, "ID") => {
                if let Some((_, id)) = span.links.last_mut() {
                    value.clone_into(id);
                }
            }
            _ => {}
        }
    }
    spans
}

/// `Str(x)` and `Int(3)` without what is around it; the first line of a long one.
fn text(value: &str) -> String {
    let inner = value.split_once('(').map_or(value, |(_, inner)| inner);
    inner.strip_suffix(')').unwrap_or(inner).to_owned()
}
