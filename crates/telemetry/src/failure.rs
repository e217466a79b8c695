//! Errors on spans, as the semantic conventions have them: a status, `error.type`, and an
//! `exception` event.

use opentelemetry::KeyValue;
use opentelemetry::trace::Status;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// What went wrong. Texts must hold no secrets: they are exported.
#[derive(Debug, Clone, Copy)]
pub struct Failure<'a> {
    /// One of a few: `database_deadlock`, `file_missing`, …
    pub error_type: &'a str,
    pub message: &'a str,
    /// The chain of causes, one a line.
    pub stack_trace: Option<&'a str>,
}

/// `span` failed.
pub fn failed(span: &Span, failure: Failure<'_>) {
    if span.is_disabled() {
        return;
    }
    noticed(span, failure);
    span.set_attribute("error.type", failure.error_type.to_owned());
    span.set_status(Status::error(failure.message.to_owned()));
}

/// Something went wrong within `span`, which goes on without it.
pub fn noticed(span: &Span, failure: Failure<'_>) {
    if span.is_disabled() {
        return;
    }
    let mut attributes = vec![
        KeyValue::new("exception.type", failure.error_type.to_owned()),
        KeyValue::new("exception.message", failure.message.to_owned()),
    ];
    let stack_trace = failure.stack_trace.map(str::to_owned);
    attributes.extend(stack_trace.map(|trace| KeyValue::new("exception.stacktrace", trace)));
    span.add_event("exception", attributes);
}
