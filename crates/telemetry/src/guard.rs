//! What the process holds until it ends: dropped, on whatever way out, it sends what waits.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus::Registry;

/// How long a process that ends waits for a collector: above a slow answer, and short of
/// what makes a deploy wait. A drain of 25 s and 5 s for leaving come before it.
const FLUSH: Duration = Duration::from_secs(3);

/// The telemetry of this process. Keep it until the end.
#[derive(Debug)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
    logs: Option<SdkLoggerProvider>,
    registry: Option<Registry>,
}

impl Telemetry {
    pub(crate) const fn new(
        traces: Option<SdkTracerProvider>,
        metrics: Option<SdkMeterProvider>,
        logs: Option<SdkLoggerProvider>,
        registry: Option<Registry>,
    ) -> Self {
        Self { traces, metrics, logs, registry }
    }

    /// What `/metrics` shows, where that was asked for.
    #[must_use]
    pub fn registry(&self) -> Option<Registry> {
        self.registry.clone()
    }
}

impl Drop for Telemetry {
    /// Sends what waits, for [`FLUSH`] at most. Each signal has a thread of its own, which is
    /// left behind when its collector does not answer.
    fn drop(&mut self) {
        let (done, ended) = mpsc::channel();
        let mut flushing = 0;
        let mut flush = |shutdown: Box<dyn FnOnce() -> OTelSdkResult + Send>| {
            let done = done.clone();
            flushing += 1;
            std::thread::spawn(move || done.send(shutdown()));
        };
        if let Some(traces) = self.traces.take() {
            flush(Box::new(move || traces.shutdown_with_timeout(FLUSH)));
        }
        if let Some(metrics) = self.metrics.take() {
            flush(Box::new(move || metrics.shutdown_with_timeout(FLUSH)));
        }
        if let Some(logs) = self.logs.take() {
            flush(Box::new(move || logs.shutdown_with_timeout(FLUSH)));
        }
        let until = Instant::now() + FLUSH;
        for _ in 0..flushing {
            match ended.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "telemetry was not sent"),
                Err(_) => {
                    tracing::warn!("the collector does not answer: what waits is lost");
                    return;
                }
            }
        }
    }
}
