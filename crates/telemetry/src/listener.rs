//! Accepting connections, of clients that one has no reason to trust: bounded in number, in the
//! time that they take to ask, and in the time that they take to read the answer. Probes have
//! places of their own.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

/// What headers may take: cookies and cursors are far smaller.
const MAX_HEADER_BYTES: usize = 32 * 1_024;
/// After an error of accepting (no more descriptors, for example) it is tried again.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
/// Files that the process itself needs: its database, its logs, what it is working on.
const OWN_FILES: u64 = 64;
/// Connections that are always possible, however few files the process may have.
const FEWEST_CONNECTIONS: u64 = 8;
/// Connections beyond the usual ones, on which only probes are answered: an orchestrator must
/// not take a process that is busy for one that is dead. The oldest of them goes for a new one:
/// a probe has its answer by then.
const PROBE_CONNECTIONS: usize = 16;
/// It has so long at least, whoever comes: clients that come again at once leave a probe its
/// time. A question that has arrived by then is answered, however late this process, on a
/// busy machine, comes to look, if the answer waits for nothing.
const PROBE_TIME: Duration = Duration::from_millis(50);
/// On them a client has asked by then; a probe asks at once.
const PROBE_HEADER_TIME: Duration = Duration::from_secs(2);
/// What is answered on them.
const PROBES: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// What clients may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; beyond them only probes are answered.
    pub connections: usize,
    /// A client that has not sent its headers by then is cut off, and so is one that has
    /// nothing to ask.
    pub header_time: Duration,
    /// A client that reads nothing of an answer for this long is cut off.
    pub write_time: Duration,
}

impl Limits {
    /// `connections`, or as many as the process may have files for.
    #[must_use]
    pub fn new(connections: usize) -> Self {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let probes = PROBE_CONNECTIONS as u64;
        let possible = files.saturating_sub(OWN_FILES + probes).max(FEWEST_CONNECTIONS);
        Self {
            connections: connections.min(usize::try_from(possible).unwrap_or(usize::MAX)),
            header_time: Duration::from_secs(10),
            write_time: Duration::from_secs(20),
        }
    }
}

/// Has `router` answer on `listener` until `end`, over TLS where there is an acceptor.
/// Connections that are open then end with the [`shutdown`](GracefulShutdown::shutdown) of what
/// is returned.
pub async fn accept(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    tls: Option<TlsAcceptor>,
    end: impl Future<Output = ()>,
) -> GracefulShutdown {
    let graceful = GracefulShutdown::new();
    let usual = Arc::new(Semaphore::new(limits.connections));
    // The oldest first.
    let mut for_probes: VecDeque<(Instant, oneshot::Sender<()>)> = VecDeque::new();
    tokio::pin!(end);
    loop {
        let (stream, peer) = tokio::select! {
            () = &mut end => return graceful,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                    continue;
                }
            },
        };
        let place = Place(Arc::clone(&usual).try_acquire_owned().ok());
        let probes_only = place.probes_only();
        let of_client = (stream, peer, place);
        let connection =
            connection(router.clone(), of_client, limits, tls.clone(), graceful.watcher());
        if !probes_only {
            tokio::spawn(connection);
            continue;
        }
        let (turn, end_of_turn) = oneshot::channel();
        tokio::spawn(async move {
            let end = async {
                if end_of_turn.await.is_err() {
                    // The listener has ended: this connection ends with its shutdown.
                    std::future::pending::<()>().await;
                }
                // The runtime polls the sockets before this task runs again.
                tokio::task::yield_now().await;
            };
            tokio::select! { biased; () = connection => (), () = end => () }
        });
        for_probes.retain(|(_, turn)| !turn.is_closed());
        for_probes.push_back((Instant::now(), turn));
        if for_probes.len() > PROBE_CONNECTIONS
            && let Some((begun, oldest)) = for_probes.pop_front()
        {
            tokio::select! {
                () = &mut end => return graceful,
                () = tokio::time::sleep_until(begun + PROBE_TIME) => {
                    // It may have ended by itself.
                    oldest.send(()).unwrap_or_default();
                }
            }
        }
    }
}

/// A connection's right to be there; without a permit it is for probes only.
struct Place(Option<OwnedSemaphorePermit>);

impl Place {
    const fn probes_only(&self) -> bool {
        self.0.is_none()
    }
}

async fn connection(
    router: Router,
    (stream, peer, place): (TcpStream, SocketAddr, Place),
    limits: Limits,
    tls: Option<TlsAcceptor>,
    watcher: Watcher,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection may be slow");
    }
    let header_time = if place.probes_only() {
        limits.header_time.min(PROBE_HEADER_TIME)
    } else {
        limits.header_time
    };
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.write_time));
    let stream = Box::pin(stream);
    let of_client = (peer, header_time, place);
    let Some(tls) = tls else { return answer(router, stream, of_client, watcher).await };
    match tokio::time::timeout(header_time, tls.accept(stream)).await {
        Ok(Ok(stream)) => answer(router, stream, of_client, watcher).await,
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "a client speaks no TLS that is known here")
        }
        Err(_) => tracing::debug!(%peer, "a client did not end the handshake in time"),
    }
}

/// Answers what comes on a connection, until it ends.
async fn answer(
    router: Router,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    (peer, header_time, place): (SocketAddr, Duration, Place),
    watcher: Watcher,
) {
    let probes_only = place.probes_only();
    let answer = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let router = router.clone();
        async move {
            if probes_only && !PROBES.contains(&request.uri().path()) {
                return Ok(too_many());
            }
            router.oneshot(request.map(Body::new)).await
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(!probes_only)
        .header_read_timeout(header_time)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), answer);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
    drop(place);
}

fn too_many() -> Response {
    let why = "too many connections are open: only /livez, /readyz and /metrics are answered until \
               one of them ends\n";
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const PATIENT: Limits = Limits {
        connections: 2,
        header_time: Duration::from_hours(1),
        write_time: Duration::from_hours(1),
    };

    async fn listen(limits: Limits) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let large = "x".repeat(1 << 20);
        let router = Router::new()
            .route("/livez", get(async || "ok"))
            .route("/large", get(async move || large.clone()));
        tokio::spawn(accept(listener, router, limits, None, std::future::pending()));
        address
    }

    async fn connect(address: SocketAddr, requests: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(requests.as_bytes()).await.expect("sent");
        stream
    }

    fn request(path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    }

    async fn status(address: SocketAddr, path: &str) -> String {
        let mut stream = connect(address, &request(path)).await;
        let mut head = [0_u8; 12];
        stream.read_exact(&mut head).await.expect("an answer");
        String::from_utf8_lossy(&head[9..]).into_owned()
    }

    #[tokio::test]
    async fn probes_are_answered_when_all_places_are_taken() {
        let address = listen(PATIENT).await;
        let mut idle = Vec::new();
        for _ in 0..PATIENT.connections {
            let mut stream =
                connect(address, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
            stream.read_u8().await.expect("it has its place");
            idle.push(stream);
        }
        for _ in 0..2 * PROBE_CONNECTIONS {
            assert_eq!(status(address, "/livez").await, "200");
        }
        assert_eq!(status(address, "/large").await, "503");
        drop(idle);
        while status(address, "/large").await != "200" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_is_cut_off() {
        let write_time = Duration::from_millis(50);
        let address = listen(Limits { connections: 1, write_time, ..PATIENT }).await;
        let greedy =
            connect(address, &"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(200)).await;
        // It has the only place, until it is cut off.
        while status(address, "/large").await != "200" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(greedy);
    }

    #[tokio::test]
    async fn a_client_that_asks_nothing_is_cut_off() {
        let header_time = Duration::from_millis(50);
        let address = listen(Limits { header_time, ..PATIENT }).await;
        for beginning in
            ["", "GET /livez HTTP/1.1\r\nHost:", "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"]
        {
            let mut stream = connect(address, beginning).await;
            let mut all = Vec::new();
            // Ends, whether with the end of the stream or with a reset.
            stream.read_to_end(&mut all).await.ok();
        }
    }
}
