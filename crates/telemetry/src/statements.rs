//! A span for each SQL statement, made of what the driver logs when one ends: its text, with
//! placeholders and never with values, how long it took, and how many rows it returned.
//!
//! That log does not say what a statement failed with. The adapters say it right after, so
//! a span is held back until something follows it within its parent, or that ends.
//!
//! Statements outside a trace (heartbeats, claims, looks at the controls) have none.

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, Status, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;
use tracing::field::{Field, Visit};
use tracing::span::Id;
use tracing::{Event, Subscriber};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, layer};

/// What the driver logs statements as.
pub(crate) const TARGET: &str = "sqlx::query";

/// What the adapters say a statement failed with (`reelshift_store::statement`).
pub(crate) const FAILED: &str = "reelshift_store::statement";

/// An error follows its statement at once; a later one is somebody else's, such as that of a
/// connection that was never made.
const FOLLOWS: Duration = Duration::from_millis(100);

/// Longer texts are cut: an `IN` list of 1,000 ids is placeholders only.
const MAX_STATEMENT_BYTES: usize = 2_048;

/// The database that this process speaks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// `mariadb`, `mysql` or `sqlite`.
    pub system: &'static str,
    /// Database name, or path of the file.
    pub namespace: String,
    /// Host and port, where there is a server.
    pub server: Option<(String, u16)>,
}

static DATABASE: OnceLock<Vec<KeyValue>> = OnceLock::new();

impl Database {
    /// Says so on every statement's span from now on. The first one counts.
    pub fn describe(self) {
        DATABASE.get_or_init(|| {
            let mut attributes = vec![
                KeyValue::new("db.system.name", self.system),
                KeyValue::new("db.namespace", self.namespace),
            ];
            if let Some((host, port)) = self.server {
                attributes.push(KeyValue::new("server.address", host));
                attributes.push(KeyValue::new("server.port", i64::from(port)));
            }
            attributes
        });
    }
}

/// The layer that makes the spans.
pub(crate) struct Statements {
    tracer: SdkTracer,
}

impl Statements {
    pub(crate) const fn new(tracer: SdkTracer) -> Self {
        Self { tracer }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Statements {
    fn on_event(&self, event: &Event<'_>, ctx: layer::Context<'_, S>) {
        let failed = match event.metadata().target() {
            TARGET => false,
            FAILED => true,
            _ => return,
        };
        let parent = Context::current();
        if !parent.span().span_context().is_sampled() {
            return;
        }
        let mut statement = StatementEvent::default();
        event.record(&mut statement);
        let within = ctx.event_span(event);
        let before = within.as_ref().and_then(|span| span.extensions_mut().remove::<Held>());
        if let Some(before) = before {
            self.export(before, failed.then_some(statement.code.as_str()));
        }
        if failed {
            return;
        }
        let held = Self::span(parent, &statement);
        match within {
            Some(span) => {
                span.extensions_mut().insert(held);
            }
            None => self.export(held, None),
        }
    }

    fn on_close(&self, id: Id, ctx: layer::Context<'_, S>) {
        let held = ctx.span(&id).and_then(|span| span.extensions_mut().remove::<Held>());
        if let Some(held) = held {
            self.export(held, None);
        }
    }
}

impl Statements {
    /// The span of a statement that has just ended within `parent`.
    fn span(parent: Context, statement: &StatementEvent) -> Held {
        let text = match statement.statement.trim() {
            "" => statement.summary.as_str(),
            statement => statement,
        };
        let (operation, target) = parts(text);
        let name =
            target.map_or_else(|| operation.clone(), |target| format!("{operation} {target}"));
        let mut attributes = DATABASE.get().cloned().unwrap_or_default();
        attributes.extend([
            KeyValue::new(
                "db.query.text",
                text.chars().take(MAX_STATEMENT_BYTES).collect::<String>(),
            ),
            KeyValue::new("db.query.summary", name.clone()),
            KeyValue::new("db.operation.name", operation),
            KeyValue::new("db.response.returned_rows", statement.returned),
        ]);
        attributes
            .extend(target.map(|target| KeyValue::new("db.collection.name", target.to_owned())));
        let ended = SystemTime::now();
        let span = SpanBuilder::from_name(name)
            .with_kind(SpanKind::Client)
            .with_start_time(ended - statement.took)
            .with_attributes(attributes);
        Held { span, parent, ended }
    }

    /// Makes the span, with the error that followed it.
    fn export(&self, held: Held, failed: Option<&str>) {
        let Held { span, parent, ended } = held;
        let mut span = span.start_with_context(&self.tracer, &parent);
        let follows = ended.elapsed().is_ok_and(|elapsed| elapsed <= FOLLOWS);
        if let Some(code) = failed.filter(|_| follows) {
            // The code of a server is a number, that of a lost connection is none of its.
            if code.bytes().all(|byte| byte.is_ascii_digit()) {
                span.set_attribute(KeyValue::new("db.response.status_code", code.to_owned()));
            }
            span.set_attribute(KeyValue::new("error.type", code.to_owned()));
            span.set_status(Status::error(format!("error {code}")));
        }
        span.end_with_timestamp(ended);
    }
}

/// A statement that has ended, and may have failed.
struct Held {
    span: SpanBuilder,
    parent: Context,
    ended: SystemTime,
}

/// What the driver's event says.
#[derive(Default)]
struct StatementEvent {
    summary: String,
    statement: String,
    took: Duration,
    returned: i64,
    code: String,
}

impl Visit for StatementEvent {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "code" => value.clone_into(&mut self.code),
            "db.statement" => value.clone_into(&mut self.statement),
            _ => {}
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "elapsed_secs" {
            self.took = Duration::try_from_secs_f64(value).unwrap_or_default();
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "rows_returned" {
            self.returned = i64::try_from(value).unwrap_or(i64::MAX);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// What a statement does, and the first table that it names where tables are named. What stands
/// in a comment before it is for one server only.
fn parts(statement: &str) -> (String, Option<&str>) {
    let after_comment = statement.strip_prefix("/*").and_then(|rest| rest.split_once("*/"));
    let mut words = after_comment
        .map_or(statement, |(_, statement)| statement)
        .split(|letter: char| letter.is_whitespace() || letter == '(' || letter == ';')
        .filter(|word| !word.is_empty());
    let operation = words.next().unwrap_or_default().to_ascii_uppercase();
    let table = match operation.as_str() {
        "SELECT" | "DELETE" | "WITH" => after(&mut words, "FROM"),
        "INSERT" | "REPLACE" => after(&mut words, "INTO"),
        "UPDATE" => words.next(),
        _ => None,
    };
    (operation, table.map(|table| table.trim_matches([',', ')', '`', '"'])))
}

/// The word after `keyword`; where a subquery begins there, that one's.
fn after<'a>(words: &mut impl Iterator<Item = &'a str>, keyword: &str) -> Option<&'a str> {
    loop {
        words.find(|word| word.eq_ignore_ascii_case(keyword))?;
        let next = words.next()?;
        if !next.eq_ignore_ascii_case("SELECT") {
            return Some(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_named_by_what_it_does_to_what() {
        for (statement, operation, table) in [
            ("SELECT v.id FROM videos v WHERE v.id <= ?", "SELECT", Some("videos")),
            ("SELECT COUNT(*) FROM (SELECT 1 FROM videos) AS some", "SELECT", Some("videos")),
            ("update reelshift_batches SET state = ?", "UPDATE", Some("reelshift_batches")),
            (
                "INSERT INTO processing_error_log (id) VALUES (?)",
                "INSERT",
                Some("processing_error_log"),
            ),
            ("/*M! SET STATEMENT a = 0 FOR */ UPDATE videos SET b = ?", "UPDATE", Some("videos")),
            ("COMMIT", "COMMIT", None),
            ("SELECT VERSION()", "SELECT", None),
            ("", "", None),
        ] {
            let (found, of) = parts(statement);
            assert_eq!((found.as_str(), of), (operation, table), "{statement}");
        }
    }
}
