//! What an orchestrator asks a process: whether it lives, whether it is ready, and its
//! metrics. Answers come from what the process knows: no probe reaches the database.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
pub use prometheus::Registry;
use prometheus::TextEncoder;
use tokio::net::TcpListener;

use crate::listener::{Limits, accept};

/// What can be said of a process. An `Err` says why not.
pub trait Probe: Send + Sync {
    /// Whether it does its work; if not, only a new start helps.
    fn live(&self) -> Result<(), String>;
    /// Whether it can do its work now.
    fn ready(&self) -> Result<(), String>;
}

type Shared = Arc<dyn Probe>;

/// `/livez`, `/readyz` and, with a registry, `/metrics`.
pub fn router(probe: Shared, registry: Option<Registry>) -> Router {
    let probes = Router::new()
        .route("/livez", get(async |State(probe): State<Shared>| answer(probe.live())))
        .route("/readyz", get(async |State(probe): State<Shared>| answer(probe.ready())))
        .with_state(probe);
    match registry {
        Some(registry) => {
            let metrics = Router::new().route("/metrics", get(metrics)).with_state(registry);
            probes.merge(metrics)
        }
        None => probes,
    }
}

/// Probes and scrapes at once: an orchestrator and a few Prometheus servers.
const CONNECTIONS: usize = 32;

/// Answers at `address` until `end` is ready. Returns the address that it got, and what
/// answers.
///
/// # Errors
/// When nothing can listen there.
pub async fn serve(
    address: SocketAddr,
    router: Router,
    end: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<(SocketAddr, impl Future<Output = ()> + Send)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let limits = Limits::new(CONNECTIONS);
    Ok((address, async move { accept(listener, router, limits, None, end).await.shutdown().await }))
}

fn answer(said: Result<(), String>) -> (StatusCode, String) {
    match said {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn metrics(State(registry): State<Registry>) -> impl IntoResponse {
    exposition(&registry)
}

/// The answer to a question for metrics.
pub fn exposition(registry: &Registry) -> impl IntoResponse + use<> {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain")],
            format!("the metrics cannot be written: {error}\n"),
        ),
    }
}
