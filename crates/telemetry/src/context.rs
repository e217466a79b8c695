//! The trace of a batch, as it is stored in the ledger: the `traceparent` of the W3C Trace
//! Context recommendation, version 00.

use std::collections::HashMap;

use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

const HEADER: &str = "traceparent";

/// The `traceparent` of `span`; where no traces are made, a new one, so that every batch
/// has a trace id that its errors are correlated by.
#[must_use]
pub fn traceparent(span: &Span) -> String {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&span.context(), &mut carrier);
    carrier.remove(HEADER).unwrap_or_else(new_traceparent)
}

/// A new, sampled one: whoever executes the batch decides whether it exports.
fn new_traceparent() -> String {
    // Zero ids are invalid; both draws miss zero but for odds of 2^-64.
    format!("00-{:032x}-{:016x}-01", rand::random::<u128>().max(1), rand::random::<u64>().max(1))
}

/// The trace id (32 hex digits) in a `traceparent`: what an error row is correlated by.
#[must_use]
pub fn trace_id(traceparent: &str) -> Option<&str> {
    traceparent.split('-').nth(1).filter(|id| id.len() == 32)
}

/// Makes `span` a child of the span that `traceparent` names, in another process perhaps.
/// Call it before the span is entered.
pub fn set_parent(span: &Span, traceparent: Option<&str>) {
    if let Some(parent) = traceparent.and_then(extract)
        && !span.is_disabled()
        && let Err(error) = span.set_parent(parent)
    {
        tracing::debug!(%error, "a span has no parent");
    }
}

/// Links `span` to the span that `traceparent` names.
pub fn link(span: &Span, traceparent: Option<&str>) {
    if let Some(linked) = traceparent.and_then(extract) {
        span.add_link(linked.span().span_context().clone());
    }
}

fn extract(traceparent: &str) -> Option<Context> {
    let carrier = HashMap::from([(HEADER.to_owned(), traceparent.to_owned())]);
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    context.has_active_span().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_traces_a_batch_has_a_trace_id_all_the_same() {
        let stored = traceparent(&Span::none());
        assert_eq!(stored.len(), 55);
        assert_ne!(stored, traceparent(&Span::none()));
        let id = trace_id(&stored).expect("32 digits");
        let context = extract(&stored).expect("a valid context");
        let span = context.span();
        assert_eq!(span.span_context().trace_id().to_string(), id);
        assert!(span.span_context().is_sampled() && span.span_context().is_remote());
    }

    #[test]
    fn nonsense_is_nobodys_parent() {
        for stored in ["", "nonsense", "00-00000000000000000000000000000000-0000000000000000-01"] {
            assert!(extract(stored).is_none(), "{stored}");
        }
        assert_eq!(trace_id("nonsense"), None);
    }
}
