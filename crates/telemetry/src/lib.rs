//! Logs, traces and metrics of one process, set up in one place and flushed on every exit.
//!
//! - [`settings`]: which signals the `OTEL_*` variables ask for. None asked for, none
//!   made: a span is then never created, and a counter is a call that does nothing.
//! - [`log`]: what goes to standard error.
//! - [`otlp`]: exporters, samplers and the resource.
//! - [`renewed`]: an exporter that is replaced when it fails.
//! - [`context`]: the W3C `traceparent` that is stored with runs and batches.
//! - [`failure`]: errors as status and exception events of a span.
//! - [`statements`]: a span for each SQL statement.
//! - [`metrics`]: every instrument, by name; `docs/telemetry.md` lists them.
//! - [`redact`]: what no log may hold.
//! - [`probes`]: `/livez`, `/readyz` and `/metrics`.
//! - [`listener`]: accepts connections, for these and for the server;
//! - [`tls`]: certificates of such a listener;
//! - [`request`]: the id of the request that is being answered.
//!
//! Exporting is a matter of threads of its own: whoever ends a span or counts something
//! never waits for a collector. What does not fit into the queue is dropped and counted.

pub mod context;
pub mod failure;
mod guard;
pub mod listener;
mod log;
pub use log::hold_log;
pub mod metrics;
mod otlp;
pub mod probes;
pub mod redact;
mod renewed;
pub mod request;
pub mod settings;
mod statements;
pub mod tls;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

pub use guard::Telemetry;
pub use settings::{LogFormat, Service, Settings, SettingsError};
pub use statements::Database;

/// The name of the tracer and of the meter, and the prefix of our crates.
const SCOPE: &str = "reelshift";

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("the OTEL_* variables cannot be used: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error("the metrics cannot be shown: {0}")]
    Prometheus(#[from] opentelemetry_sdk::error::OTelSdkError),
    #[error("logging is set up already: {0}")]
    Subscriber(#[from] TryInitError),
}

/// Sets up logging, and whatever else `settings` ask for. Call it once, inside the runtime
/// that lives as long as the process: the gRPC exporter's connection is driven by it.
///
/// # Errors
/// When a variable cannot be used, and when a subscriber is there already.
pub fn init(settings: &Settings) -> Result<Telemetry, TelemetryError> {
    let resource = otlp::resource(&settings.service);
    let signals = settings.signals;
    let traces = signals.traces.then(|| otlp::traces(resource.clone())).transpose()?;
    let logs = signals.logs.then(|| otlp::logs(resource.clone())).transpose()?;
    let (metrics, registry) = otlp::metrics(settings, resource)?;
    if let Some(provider) = &metrics {
        opentelemetry::global::set_meter_provider(provider.clone());
        metrics::observe_process();
    }

    let spans = traces.as_ref().map(|provider| {
        let ours = Targets::new().with_target(SCOPE, LevelFilter::DEBUG);
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(SCOPE))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_error_events_to_status(false)
            .with_filter(ours)
    });
    let statements = traces.as_ref().map(|provider| {
        // The spans too, in which the statements are.
        let queries = Targets::new()
            .with_target(SCOPE, LevelFilter::DEBUG)
            .with_target(statements::TARGET, LevelFilter::DEBUG)
            .with_target(statements::FAILED, LevelFilter::TRACE);
        statements::Statements::new(provider.tracer(SCOPE)).with_filter(queries)
    });
    let exported = logs.as_ref().map(|provider| {
        OpenTelemetryTracingBridge::new(provider).with_filter(log::exported(settings.verbose))
    });
    tracing_subscriber::registry()
        .with(spans)
        .with(statements)
        .with(exported)
        .with(log::standard_error(settings))
        .try_init()?;
    Ok(Telemetry::new(traces, metrics, logs, registry))
}
