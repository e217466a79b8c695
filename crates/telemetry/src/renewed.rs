//! An exporter that is made anew once an export has failed.
//!
//! A gRPC connection that dies without a word (this machine's address has changed, the collector's
//! machine has lost its power) would otherwise be waited for by every export until the kernel
//! gives it up, which takes a quarter of an hour.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio::runtime::Handle;

type Make<E> = dyn Fn() -> Result<E, ExporterBuildError> + Send + Sync;

/// The exporter of a signal, and how another one is made.
pub(crate) struct Renewed<E> {
    exporter: Mutex<Arc<E>>,
    make: Box<Make<E>>,
    /// Drives connections; exports are made by threads outside of it.
    runtime: Handle,
}

impl<E> Renewed<E> {
    /// # Errors
    /// Those of `make`.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub(crate) fn new(
        make: impl Fn() -> Result<E, ExporterBuildError> + Send + Sync + 'static,
    ) -> Result<Self, ExporterBuildError> {
        let exporter = Mutex::new(Arc::new(make()?));
        Ok(Self { exporter, make: Box::new(make), runtime: Handle::current() })
    }

    fn current(&self) -> Arc<E> {
        Arc::clone(&self.exporter.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Leaves the exporter, and its connection with it, when it has failed.
    fn after(&self, exported: OTelSdkResult) -> OTelSdkResult {
        if exported.is_err() {
            let _runtime = self.runtime.enter();
            match (self.make)() {
                Ok(another) => {
                    *self.exporter.lock().unwrap_or_else(PoisonError::into_inner) =
                        Arc::new(another);
                }
                Err(error) => tracing::debug!(%error, "another exporter could not be made"),
            }
        }
        exported
    }
}

impl<E> fmt::Debug for Renewed<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Renewed")
    }
}

impl<E: SpanExporter> SpanExporter for Renewed<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.after(self.current().export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.current().shutdown_with_timeout(timeout)
    }
}

impl<E: LogExporter> LogExporter for Renewed<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        self.after(self.current().export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.current().shutdown_with_timeout(timeout)
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Renewed<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.after(self.current().export(metrics).await)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.current().force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.current().shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.current().temporality()
    }
}
