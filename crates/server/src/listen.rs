//! Answering, and draining.

use std::time::Duration;

use reelshift_telemetry::listener::{self, Limits};
use reelshift_telemetry::tls::TlsAcceptor;
use tokio::net::TcpListener;

use crate::app::Shared;
use crate::router::router;
use crate::{clock, events, notifications, sampling};

/// How long requests that are under way may take when the server is told to stop: above
/// the time limit of a request, below the 30 s after which an orchestrator kills.
const DRAIN: Duration = Duration::from_secs(20);
/// Connections at once: twice the subscribers that a replica is measured with. Beyond it
/// only probes are answered, and memory stays bounded.
const CONNECTIONS: usize = 10_000;

/// Answers on `listener`, over TLS where there is an acceptor, until `app.stop` is cancelled; then streams end, requests that are
/// under way end, and so does what runs beside them.
pub async fn serve(app: Shared, listener: TcpListener, tls: Option<TlsAcceptor>) {
    clock::start(&app).await;
    sampling::start(&app);
    notifications::start(&app);
    events::start(&app);
    let router = router(app.clone());
    let stop = app.stop.clone();
    let connections =
        listener::accept(listener, router, Limits::new(CONNECTIONS), tls, stop.cancelled()).await;
    let drained = async {
        connections.shutdown().await;
        app.tasks.close();
        app.tasks.wait().await;
    };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("what did not end in {} s was cut off", DRAIN.as_secs());
    }
}
