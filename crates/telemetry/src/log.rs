//! Logs on standard error: for people on a terminal, a JSON document a line elsewhere; with
//! the trace, the span and the request in which something was said, where there are any.

use std::fmt;
use std::io::{self, IsTerminal as _, Stderr, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{FilterExt as _, Targets, filter_fn};
use tracing_subscriber::fmt::format::{Format, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

use crate::redact::Redacted;
use crate::request;
use crate::settings::{LogFormat, Settings};

/// How often the exporter's own complaints are repeated: a collector may be away for hours,
/// and an export is tried every few seconds.
const COMPLAINTS: Duration = Duration::from_mins(1);

/// The layer that writes to standard error what `REELSHIFT_LOG` lets through, or else what
/// belongs to the settings.
pub(crate) fn standard_error<S>(settings: &Settings) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let default = match settings.verbose {
        _ if settings.quiet => "warn",
        0 => "warn,reelshift=info",
        1 => "warn,reelshift=debug",
        _ => "info,reelshift=trace",
    };
    let filter = EnvFilter::try_from_env("REELSHIFT_LOG").unwrap_or_else(|_| default.into());
    // Spans are the traces': where none are exported, none are made.
    let events = filter_fn(|metadata| metadata.is_event()).with_max_level_hint(LevelFilter::TRACE);
    let filter = filter.and(events);
    // A log that cannot be written is no reason to panic.
    let layer = tracing_subscriber::fmt::layer()
        .log_internal_errors(false)
        .with_ansi(settings.colours)
        .with_writer(|| Redacted(cleared(std::io::stderr())));
    let lines = match settings.format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    if lines {
        let lines = WithIds { inner: Format::default().with_target(false), last: Mutex::default() };
        layer.event_format(lines).with_filter(filter).boxed()
    } else {
        let lines = WithIds { inner: Format::default().json(), last: Mutex::default() };
        layer.fmt_fields(JsonFields::new()).event_format(lines).with_filter(filter).boxed()
    }
}

/// Whether nothing is written where a terminal shows it.
static HELD: AtomicBool = AtomicBool::new(false);

/// Keeps the log off the terminal, or lets it on again: a command that draws on the whole of it
/// would be drawn over.
pub fn hold_log(held: bool) {
    HELD.store(held, Ordering::Relaxed);
}

/// What a command draws on a terminal is on the line that is written next: it is drawn again.
fn cleared(mut stderr: Stderr) -> Box<dyn Write> {
    if stderr.is_terminal() {
        if HELD.load(Ordering::Relaxed) {
            return Box::new(io::sink());
        }
        stderr.write_all(b"\r\x1b[2K").unwrap_or_default();
    }
    Box::new(stderr)
}

/// What is exported of the logs: ours, and warnings of the libraries, but nothing of those
/// that export, which would export what they say about it.
pub(crate) fn exported(verbose: u8) -> Targets {
    let ours = if verbose == 0 { LevelFilter::INFO } else { LevelFilter::DEBUG };
    Targets::new().with_default(LevelFilter::WARN).with_target(crate::SCOPE, ours).with_targets(
        ["opentelemetry", "h2", "hyper", "reqwest", "tonic", "tower"]
            .map(|library| (library, LevelFilter::OFF)),
    )
}

/// Lines of a formatter, with trace and span ids.
struct WithIds<F> {
    inner: F,
    /// When an exporter last complained.
    last: Mutex<Option<Instant>>,
}

impl<F> WithIds<F> {
    /// Whether a complaint of the exporters is due.
    fn complains(&self) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() >= COMPLAINTS);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}

impl<S, N, F> FormatEvent<S, N> for WithIds<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if event.metadata().target().starts_with("opentelemetry") && !self.complains() {
            return Ok(());
        }
        let ids = ids();
        if ids.is_empty() {
            return self.inner.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        match line.trim_end().strip_suffix('}') {
            Some(document) if document.starts_with('{') => {
                write!(writer, "{document}")?;
                for (name, id) in ids {
                    write!(writer, r#","{name}":"{id}""#)?;
                }
                writeln!(writer, "}}")
            }
            _ => {
                for (_, id) in ids {
                    write!(writer, "{id} ")?;
                }
                // Once more, since only this writer has the terminal's colours.
                self.inner.format_event(context, writer, event)
            }
        }
    }
}

/// What a line is looked up by: the trace, the span and the request that it belongs to. None
/// of them has a character that JSON escapes.
fn ids() -> Vec<(&'static str, String)> {
    let current = Context::current();
    let span = current.span();
    let context = span.span_context();
    let mut ids = Vec::new();
    if context.is_valid() {
        ids.push(("trace_id", context.trace_id().to_string()));
        ids.push(("span_id", context.span_id().to_string()));
    }
    ids.extend(request::id().map(|id| ("request_id", id.to_string())));
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_that_is_away_is_said_once_a_minute() {
        let lines = WithIds { inner: (), last: Mutex::default() };
        assert!(lines.complains());
        assert!(!lines.complains());
    }
}
