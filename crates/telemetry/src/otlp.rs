//! Exporters over OTLP, by the standard variables, and the resource that all signals carry.

use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, LogExporter, MetricExporter, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{LogExporter as _, SdkLoggerProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanExporter as _,
};
use prometheus::Registry;

use crate::renewed::Renewed;
use crate::{Service, Settings, TelemetryError};

/// Spans that wait for their export: four times the SDK's default, since a planner makes
/// thousands in a second. About 8 MiB when full, of the 64 that a process may take.
const SPANS_WAITING: usize = 8_192;

/// What all signals say of this process. `OTEL_RESOURCE_ATTRIBUTES` and
/// `OTEL_SERVICE_NAME` come last, so that they win.
pub(crate) fn resource(service: &Service) -> Resource {
    let builder = Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes([
            KeyValue::new("service.name", service.name),
            KeyValue::new("service.namespace", crate::SCOPE),
            KeyValue::new("service.version", service.version.clone()),
            KeyValue::new("service.instance.id", service.instance.clone()),
            KeyValue::new("host.name", service.host.clone()),
            KeyValue::new("process.pid", i64::from(std::process::id())),
        ])
        .with_detector(Box::new(EnvResourceDetector::new()));
    match std::env::var("OTEL_SERVICE_NAME") {
        Ok(name) if !name.is_empty() => builder.with_service_name(name).build(),
        _ => builder.build(),
    }
}

/// The sampler is `OTEL_TRACES_SAMPLER`'s; without it, whatever the batch's producer decided.
pub(crate) fn traces(resource: Resource) -> Result<SdkTracerProvider, ExporterBuildError> {
    trust();
    let carried = resource.clone();
    let exporter = Renewed::new(move || {
        let mut exporter = SpanExporter::builder().build()?;
        exporter.set_resource(&carried);
        Ok(exporter)
    })?;
    let mut queue = BatchConfigBuilder::default();
    if std::env::var_os("OTEL_BSP_MAX_QUEUE_SIZE").is_none() {
        queue = queue.with_max_queue_size(SPANS_WAITING);
    }
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(queue.build()).build();
    Ok(SdkTracerProvider::builder().with_resource(resource).with_span_processor(processor).build())
}

pub(crate) fn logs(resource: Resource) -> Result<SdkLoggerProvider, ExporterBuildError> {
    trust();
    let carried = resource.clone();
    let exporter = Renewed::new(move || {
        let mut exporter = LogExporter::builder().build()?;
        exporter.set_resource(&carried);
        Ok(exporter)
    })?;
    Ok(SdkLoggerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build())
}

/// Metrics for the collector, for `/metrics`, for both or for nobody.
pub(crate) fn metrics(
    settings: &Settings,
    resource: Resource,
) -> Result<(Option<SdkMeterProvider>, Option<Registry>), TelemetryError> {
    if !settings.signals.metrics && !settings.prometheus {
        return Ok((None, None));
    }
    let mut provider = SdkMeterProvider::builder().with_resource(resource);
    if settings.signals.metrics {
        trust();
        let exporter = Renewed::new(|| MetricExporter::builder().build())?;
        provider = provider.with_periodic_exporter(exporter);
    }
    let registry = settings.prometheus.then(Registry::new);
    if let Some(registry) = &registry {
        let reader =
            opentelemetry_prometheus::exporter().with_registry(registry.clone()).build()?;
        provider = provider.with_reader(reader);
    }
    Ok((Some(provider.build()), registry))
}

/// TLS to a collector uses the same cryptography as that to the database.
fn trust() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::trace!("the process has its cryptography already");
    }
}
