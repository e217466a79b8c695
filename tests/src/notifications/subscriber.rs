//! A subscriber: Server-Sent Events read as the standard says.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use super::Replica;
use crate::until;

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    pub id: i64,
    /// `message` unless the stream names another.
    pub event: String,
    pub data: Value,
}

impl Received {
    /// The type of the notification.
    #[must_use]
    pub fn event_type(&self) -> &str {
        self.data["event_type"].as_str().unwrap_or_default()
    }
}

/// What has come so far.
#[derive(Debug, Default)]
struct Seen {
    events: Vec<Received>,
    last_id: Option<i64>,
    comments: usize,
    ended: bool,
}

/// A connected subscriber.
#[derive(Debug)]
pub struct Subscriber {
    seen: Arc<Mutex<Seen>>,
    reading: JoinHandle<()>,
}

impl Subscriber {
    /// Subscribes to `query` (`room=video_1`), behind `last` if it is given, and waits until
    /// the stream has begun.
    ///
    /// # Panics
    /// When the replica refuses.
    pub async fn connect(replica: &Replica, query: &str, last: Option<i64>) -> Self {
        let stream = open(replica, query, last, None).await;
        Self::reading(stream).await
    }

    async fn reading(stream: TcpStream) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let reading = tokio::spawn(read(stream, Arc::clone(&seen)));
        let subscriber = Self { seen, reading };
        until("the stream to begin", async || subscriber.look(|seen| seen.comments > 0)).await;
        subscriber
    }

    fn look<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What has come so far.
    #[must_use]
    pub fn events(&self) -> Vec<Received> {
        self.look(|seen| seen.events.clone())
    }

    /// The id to go on behind.
    #[must_use]
    pub fn last_id(&self) -> Option<i64> {
        self.look(|seen| seen.last_id)
    }

    /// Whether the replica has ended the stream.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.look(|seen| seen.ended)
    }

    /// Waits until `count` events have come; all that have.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        let what = format!("{count} events");
        until(&what, async || self.look(|seen| seen.events.len() >= count)).await;
        self.events()
    }

    /// Cuts the connection; what had come, and the id to go on behind.
    #[must_use]
    pub fn cut(self) -> (Vec<Received>, Option<i64>) {
        self.reading.abort();
        (self.events(), self.last_id())
    }

    /// A connection that asked and has not read anything yet; [`Self::read_on`] reads it.
    ///
    /// # Panics
    /// When the replica cannot be connected to.
    pub async fn stalled(replica: &Replica, query: &str) -> TcpStream {
        // Little that the kernel takes off the server's hands.
        open(replica, query, None, Some(4_096)).await
    }

    /// Reads what a stalled connection gives.
    pub async fn read_on(stream: TcpStream) -> Self {
        Self::reading(stream).await
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn open(replica: &Replica, query: &str, last: Option<i64>, buffer: Option<u32>) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    if let Some(buffer) = buffer {
        socket.set_recv_buffer_size(buffer).expect("a small buffer");
    }
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], replica.port));
    let mut stream = socket.connect(address).await.expect("the replica is there");
    // HTTP/1.0: the body is not cut into chunks.
    let mut request = format!(
        "GET /api/v1/notifications/stream?{query} HTTP/1.0\r\nHost: 127.0.0.1:{}\r\n\
         Accept: text/event-stream\r\n",
        replica.port
    );
    if let Some(last) = last {
        request.push_str(&format!("Last-Event-ID: {last}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.expect("it is sent");
    stream
}

async fn read(stream: TcpStream, seen: Arc<Mutex<Seen>>) {
    let mut lines = BufReader::new(stream).lines();
    let status = lines.next_line().await.ok().flatten().unwrap_or_default();
    assert!(status.contains(" 200 "), "{status}");
    let mut head = true;
    let (mut id, mut event, mut data) = (None, None, String::new());
    while let Ok(Some(line)) =
        tokio::time::timeout(Duration::from_mins(2), lines.next_line()).await.unwrap_or(Ok(None))
    {
        if head {
            head = !line.is_empty();
            continue;
        }
        let change = |change: &mut dyn FnMut(&mut Seen)| {
            change(&mut seen.lock().unwrap_or_else(PoisonError::into_inner));
        };
        if line.is_empty() {
            let (id, event) = (id.take(), event.take());
            let data = std::mem::take(&mut data);
            change(&mut |seen| {
                seen.last_id = id.or(seen.last_id);
                if !data.is_empty() {
                    seen.events.push(Received {
                        id: id.expect("every event has an id"),
                        event: event.clone().unwrap_or_else(|| "message".to_owned()),
                        data: serde_json::from_str(&data).expect("JSON"),
                    });
                }
            });
        } else if line.starts_with(':') {
            change(&mut |seen| seen.comments += 1);
        } else if let Some(value) = line.strip_prefix("id: ") {
            id = Some(value.parse().expect("a number"));
        } else if let Some(value) = line.strip_prefix("event: ") {
            event = Some(value.to_owned());
        } else if let Some(value) = line.strip_prefix("data: ") {
            data.push_str(value);
        }
    }
    seen.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
}
