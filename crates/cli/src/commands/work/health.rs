//! `work --health`: what an orchestrator asks a worker.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use reelshift_queue::Pulse;
use reelshift_telemetry::probes::{self, Probe};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::context::Context;

struct Worker(Arc<Pulse>);

impl Probe for Worker {
    fn live(&self) -> Result<(), String> {
        self.0.live()
    }

    fn ready(&self) -> Result<(), String> {
        self.0.ready()
    }
}

/// Answers at `address` until the guard is dropped: through the drain, not only up to it.
pub async fn serve(context: &Context, address: SocketAddr, pulse: Arc<Pulse>) -> Result<DropGuard> {
    let ended = CancellationToken::new();
    let router = probes::router(Arc::new(Worker(pulse)), context.process.registry.clone());
    let (address, serving) = probes::serve(address, router, ended.clone().cancelled_owned())
        .await
        .with_context(|| format!("--health {address}: nothing can listen there"))?;
    tracing::info!(%address, "/livez, /readyz and /metrics are answered");
    tokio::spawn(serving);
    Ok(ended.drop_guard())
}
