//! Accepting connections, and draining them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt as _;

use crate::app::Shared;
use crate::router::router;
use crate::{clock, notifications, snapshot};

/// How long requests that are under way may take when the server is told to stop: above
/// the time limit of a request, below the 30 s after which an orchestrator kills.
const DRAIN: Duration = Duration::from_secs(20);
/// A client that has not sent its headers by then is cut off.
const HEADERS: Duration = Duration::from_secs(10);
/// What headers may take: cookies and cursors are far smaller.
const LARGEST_HEADERS: usize = 32 * 1_024;
/// Connections at once: twice the subscribers that a replica is measured with. Beyond it
/// clients wait to be accepted, and memory stays bounded.
const CONNECTIONS: usize = 10_000;
/// After an error of accepting (no more descriptors, for example) it is tried again.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Answers on `listener` until `app.stop` is cancelled; then streams end, requests that are
/// under way end, and so does what runs beside them.
pub async fn serve(app: Shared, listener: TcpListener) {
    clock::start(&app).await;
    snapshot::start(&app);
    notifications::start(&app);
    let router = router(app.clone());
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        tokio::select! {
            () = app.stop.cancelled() => break,
            accepted = accepted => match accepted {
                (Ok((stream, peer)), Ok(place)) => {
                    connection(router.clone(), stream, peer, place, &graceful);
                }
                (Err(error), _) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
                (_, Err(_)) => break,
            },
        }
    }
    drop(listener);
    let drained = async {
        graceful.shutdown().await;
        app.tasks.close();
        app.tasks.wait().await;
    };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("what did not end in {} s was cut off", DRAIN.as_secs());
    }
}

fn connection(
    router: Router,
    stream: TcpStream,
    peer: SocketAddr,
    place: OwnedSemaphorePermit,
    graceful: &GracefulShutdown,
) {
    let answer = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().oneshot(request.map(Body::new))
    });
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection may be slow");
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(LARGEST_HEADERS)
        .serve_connection(TokioIo::new(stream), answer);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%peer, %error, "a connection ended early");
        }
        drop(place);
    });
}
