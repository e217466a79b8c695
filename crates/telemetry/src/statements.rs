//! A span for each SQL statement, made of what the driver logs when one ends: its text, with
//! placeholders and never with values, how long it took, and how many rows it returned.
//!
//! That log does not say what a statement failed with. The adapters say it, right after the log or,
//! as SQLite's driver logs in a thread of its own, right before it. So both are held back until the
//! next statement within their parent has ended, or the parent has: an error is that of the
//! statement that had begun by then.
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
use tracing_subscriber::registry::{LookupSpan, SpanRef};
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
    follows: Duration,
}

impl Statements {
    pub(crate) const fn new(tracer: SdkTracer) -> Self {
        Self { tracer, follows: FOLLOWS }
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
        if failed {
            let Some(span) = within else { return };
            match take(&span) {
                // Two errors in a row: the first one is that of the statement that is held.
                (Some(held), failure @ Some(_)) => self.export(held, failure),
                (Some(held), None) => span.extensions_mut().insert(held),
                (None, _) => {}
            }
            let at = SystemTime::now();
            span.extensions_mut().insert(Failure { code: statement.code, at });
            return;
        }
        let held = Self::span(parent, &statement);
        let Some(span) = within else { return self.export(held, None) };
        let (before, failure) = take(&span);
        let is_its_own = failure.as_ref().is_some_and(|failure| held.began <= failure.at);
        let (of_before, own) = if is_its_own { (None, failure) } else { (failure, None) };
        if let Some(before) = before {
            self.export(before, of_before);
        }
        match own {
            Some(_) => self.export(held, own),
            None => span.extensions_mut().insert(held),
        }
    }

    fn on_close(&self, id: Id, ctx: layer::Context<'_, S>) {
        if let Some(span) = ctx.span(&id)
            && let (Some(held), failure) = take(&span)
        {
            self.export(held, failure);
        }
    }
}

/// The statement and the error that are held back within a span.
fn take<'a, R: LookupSpan<'a>>(span: &SpanRef<'a, R>) -> (Option<Held>, Option<Failure>) {
    let mut extensions = span.extensions_mut();
    (extensions.remove(), extensions.remove())
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
        let began = ended - statement.took;
        let span = SpanBuilder::from_name(name)
            .with_kind(SpanKind::Client)
            .with_start_time(began)
            .with_attributes(attributes);
        Held { span, parent, began, ended }
    }

    /// Exports the span of a statement, with its error if it failed.
    fn export(&self, held: Held, failure: Option<Failure>) {
        let Held { span, parent, ended, .. } = held;
        let mut span = span.start_with_context(&self.tracer, &parent);
        let failure = failure.filter(|failure| failure.at <= ended + self.follows);
        if let Some(Failure { code, .. }) = failure {
            // The code of a server is a number, that of a lost connection is none of its.
            if code.bytes().all(|byte| byte.is_ascii_digit()) {
                span.set_attribute(KeyValue::new("db.response.status_code", code.clone()));
            }
            span.set_attribute(KeyValue::new("error.type", code.clone()));
            span.set_status(Status::error(format!("error {code}")));
        }
        span.end_with_timestamp(ended);
    }
}

/// A statement that has ended, and may have failed.
struct Held {
    span: SpanBuilder,
    parent: Context,
    began: SystemTime,
    ended: SystemTime,
}

/// What a statement failed with.
struct Failure {
    code: String,
    at: SystemTime,
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
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn log(statement: &str, took: Duration) {
        let elapsed_secs = took.as_secs_f64();
        tracing::debug!(target: "sqlx::query", summary = statement, elapsed_secs);
    }

    fn fail() {
        tracing::trace!(target: "reelshift_store::statement", code = "1811");
    }

    #[test]
    fn an_error_is_that_of_its_statement_whichever_is_said_first() {
        let exported = InMemorySpanExporter::default();
        let long = Duration::from_hours(1);
        let provider = SdkTracerProvider::builder().with_simple_exporter(exported.clone()).build();
        let tracer = provider.tracer("test");
        let subscriber = tracing_subscriber::registry()
            .with(tracing_opentelemetry::layer().with_tracer(tracer.clone()))
            .with(Statements { tracer, follows: long });
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("attempt");
            let _within = span.enter();
            log("SELECT 1", Duration::ZERO);
            log("INSERT INTO said_after (id) VALUES (1)", Duration::ZERO);
            fail();
            // However coarse the clock is, the next statement begins later than the error.
            std::thread::sleep(Duration::from_millis(20));
            log("ROLLBACK", Duration::ZERO);
            fail();
            log("INSERT INTO said_before (id) VALUES (1)", long);
            log("INSERT INTO first (id) VALUES (1)", Duration::ZERO);
            fail();
            fail();
            log("INSERT INTO second (id) VALUES (1)", long);
            log("INSERT INTO last (id) VALUES (1)", Duration::ZERO);
            fail();
        });
        let spans = exported.get_finished_spans().expect("the spans");
        let failed = |span: &&opentelemetry_sdk::trace::SpanData| {
            matches!(span.status, Status::Error { .. })
        };
        let failed: Vec<_> = spans.iter().filter(failed).map(|span| span.name.clone()).collect();
        let names = ["said_after", "said_before", "first", "second", "last"];
        assert_eq!(failed, names.map(|name| format!("INSERT {name}")));
        assert_eq!(spans.len(), 8, "{spans:?}");
    }

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
