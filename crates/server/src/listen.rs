//! Accepting connections, and draining them.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::app::Shared;
use crate::router::router;
use crate::{notifications, snapshot};

/// How long requests that are under way may take when the server is told to stop: above
/// the time limit of a request, below the 30 s after which an orchestrator kills.
const DRAIN: Duration = Duration::from_secs(20);

/// Answers on `listener` until `app.stop` is cancelled; then streams end, requests that are
/// under way end, and so does what runs beside them.
///
/// # Errors
/// When the listener fails.
pub async fn serve(app: Shared, listener: TcpListener) -> std::io::Result<()> {
    snapshot::start(&app);
    notifications::start(&app);
    let stop = app.stop.clone();
    let service = router(app.clone()).into_make_service_with_connect_info::<SocketAddr>();
    let serving =
        axum::serve(listener, service).with_graceful_shutdown(stop.clone().cancelled_owned());
    tokio::select! {
        served = async { serving.await } => served?,
        () = async { stop.cancelled().await; tokio::time::sleep(DRAIN).await } => {
            tracing::warn!("requests that did not end were cut off");
        }
    }
    app.tasks.close();
    if tokio::time::timeout(DRAIN, app.tasks.wait()).await.is_err() {
        tracing::warn!("work beside the requests did not end and is left");
    }
    Ok(())
}
