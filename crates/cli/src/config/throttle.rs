//! `[throttle]` of the TOML file: brakes of the operator's own.

use reelshift_worker::{ConfiguredSignal, SignalSource};
use serde::Deserialize;
use url::Url;

use crate::exit::Usage;

/// The section; the same for all workers.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Throttle {
    /// Queries of the database that is migrated.
    query: Vec<QuerySection>,
    /// Addresses that say go (2xx) or stop (429, 503).
    http: Vec<HttpSection>,
    /// Queries of a Prometheus.
    prometheus: Vec<PrometheusSection>,
}

/// `[[throttle.query]]`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct QuerySection {
    /// What people call it.
    name: String,
    /// A SELECT of one number, which takes less than a second.
    sql: String,
    /// Above it the fleet slows down.
    limit: f64,
}

/// `[[throttle.http]]`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct HttpSection {
    /// What people call it.
    name: String,
    url: String,
    /// The environment variable that holds a bearer token.
    token_env: Option<String>,
}

/// `[[throttle.prometheus]]`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct PrometheusSection {
    /// What people call it.
    name: String,
    /// Its address, as `http://prometheus:9090`.
    url: String,
    /// An instant query; the largest of its values counts.
    query: String,
    /// Above it the fleet slows down.
    limit: f64,
    /// The environment variable that holds a bearer token.
    token_env: Option<String>,
}

impl Throttle {
    /// The signals of a worker.
    ///
    /// # Errors
    /// `Usage` when one cannot be used. No message holds a secret.
    pub fn signals(&self) -> Result<Vec<ConfiguredSignal>, Usage> {
        let mut signals: Vec<ConfiguredSignal> = Vec::new();
        let mut add = |name: &str, source| {
            if name.trim().is_empty() || signals.iter().any(|other| other.name == name) {
                return Err(Usage(format!(
                    "the signals of the throttle need a name each, and `{name}` is none or there twice"
                )));
            }
            signals.push(ConfiguredSignal { name: name.to_owned(), source });
            Ok(())
        };
        for QuerySection { name, sql, limit } in &self.query {
            let sql = sql.trim().trim_end_matches(';').to_owned();
            add(name, SignalSource::Query { sql, limit: positive(name, *limit)? })?;
        }
        for HttpSection { name, url, token_env } in &self.http {
            let (url, token) = (address(name, url)?, token(name, token_env.as_deref())?);
            add(name, SignalSource::Http { url, token })?;
        }
        for PrometheusSection { name, url, query, limit, token_env } in &self.prometheus {
            let (url, token) = (address(name, url)?, token(name, token_env.as_deref())?);
            let (query, limit) = (query.clone(), positive(name, *limit)?);
            add(name, SignalSource::Prometheus { url, query, limit, token })?;
        }
        Ok(signals)
    }
}

fn positive(name: &str, limit: f64) -> Result<f64, Usage> {
    if limit.is_finite() && limit > 0.0 {
        return Ok(limit);
    }
    Err(Usage(format!("the limit of the throttle's signal `{name}` must be above 0")))
}

fn address(name: &str, url: &str) -> Result<Url, Usage> {
    Url::parse(url)
        .ok()
        .filter(|url| ["http", "https"].contains(&url.scheme()) && url.host().is_some())
        .ok_or_else(|| {
            Usage(format!(
                "the URL of the throttle's signal `{name}` is none of the form http://HOST/PATH"
            ))
        })
}

fn token(name: &str, variable: Option<&str>) -> Result<Option<String>, Usage> {
    let Some(variable) = variable else { return Ok(None) };
    std::env::var(variable).map(Some).map_err(|_| {
        Usage(format!(
            "the environment variable {variable}, which the throttle's signal `{name}` names for a \
             token, is not set"
        ))
    })
}
