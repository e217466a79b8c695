//! A span for each SQL statement, made of what the driver logs when one ends: its text, with
//! placeholders and never with values, how long it took, and how many rows it returned.
//!
//! Statements outside a trace (heartbeats, claims, looks at the controls) have none.

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{Span as _, SpanKind, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;

/// What the driver logs statements as.
pub(crate) const TARGET: &str = "sqlx::query";

/// Longer texts are cut: an `IN` list of 1,000 ids is placeholders only.
const LONGEST: usize = 2_048;

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

impl<S: Subscriber> Layer<S> for Statements {
    fn on_event(&self, event: &Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        let parent = Context::current();
        if !parent.span().span_context().is_sampled() {
            return;
        }
        let mut said = Said::default();
        event.record(&mut said);
        let text = match said.statement.trim() {
            "" => said.summary.as_str(),
            statement => statement,
        };
        let (operation, target) = parts(text);
        let name =
            target.map_or_else(|| operation.clone(), |target| format!("{operation} {target}"));
        let mut attributes = DATABASE.get().cloned().unwrap_or_default();
        attributes.extend([
            KeyValue::new("db.query.text", text.chars().take(LONGEST).collect::<String>()),
            KeyValue::new("db.query.summary", name.clone()),
            KeyValue::new("db.operation.name", operation),
            KeyValue::new("db.response.returned_rows", said.returned),
        ]);
        attributes
            .extend(target.map(|target| KeyValue::new("db.collection.name", target.to_owned())));
        let ended = SystemTime::now();
        let mut span = self
            .tracer
            .span_builder(name)
            .with_kind(SpanKind::Client)
            .with_start_time(ended - said.took)
            .with_attributes(attributes)
            .start_with_context(&self.tracer, &parent);
        span.end_with_timestamp(ended);
    }
}

/// What the driver's event says.
#[derive(Default)]
struct Said {
    summary: String,
    statement: String,
    took: Duration,
    returned: i64,
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
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

/// What a statement does, and the first table that it names where tables are named.
fn parts(statement: &str) -> (String, Option<&str>) {
    let mut words = statement
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
            ("COMMIT", "COMMIT", None),
            ("SELECT VERSION()", "SELECT", None),
            ("", "", None),
        ] {
            let (found, of) = parts(statement);
            assert_eq!((found.as_str(), of), (operation, table), "{statement}");
        }
    }
}
