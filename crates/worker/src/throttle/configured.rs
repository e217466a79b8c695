//! Signals of the operator's own: a query of the database, an address that says go or stop, a
//! query of Prometheus. What does not answer is missing, as any other signal is.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use futures::future::join_all;
use reelshift_plan::throttle::{Reading, Signal};
use reelshift_store::SharedStore;
use reelshift_telemetry::redact::redact;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;

/// Between two reads: with the workers' own look at what is published below five seconds.
const INTERVAL: Duration = Duration::from_secs(2);
/// After one that did not answer: a query that takes too long must not be piled up.
const INTERVAL_AFTER_FAILURE: Duration = Duration::from_secs(10);
/// For connecting and answering together, as for a replica.
const PATIENCE: Duration = Duration::from_secs(2);

/// A signal as it is configured, the same for all workers.
#[derive(Debug, Clone)]
pub struct ConfiguredSignal {
    /// What people call it.
    pub name: String,
    pub source: SignalSource,
}

/// Where a configured signal is read.
#[derive(Clone)]
pub enum SignalSource {
    /// One number, by a statement on the database that is migrated.
    Query { sql: String, limit: f64 },
    /// 2xx is go, 429 and 503 are stop.
    Http { url: Url, token: Option<String> },
    /// The largest value of an instant query.
    Prometheus { url: Url, query: String, limit: f64, token: Option<String> },
}

impl std::fmt::Debug for SignalSource {
    // By hand: addresses and tokens are secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.signal().name())
    }
}

impl SignalSource {
    const fn signal(&self) -> Signal {
        match self {
            Self::Query { .. } => Signal::Query,
            Self::Http { .. } => Signal::Http,
            Self::Prometheus { .. } => Signal::Prometheus,
        }
    }
}

impl ConfiguredSignal {
    const fn signal(&self) -> Signal {
        self.source.signal()
    }

    const fn limit(&self) -> f64 {
        match &self.source {
            SignalSource::Query { limit, .. } | SignalSource::Prometheus { limit, .. } => *limit,
            SignalSource::Http { .. } => Signal::SWITCH_LIMIT,
        }
    }

    async fn read(&self, store: &SharedStore, client: &OnceLock<Client>) -> Reading {
        let read = async {
            match &self.source {
                SignalSource::Query { sql, .. } => store
                    .signal_query(sql)
                    .await
                    .map_err(|error| error.to_string())?
                    .ok_or_else(|| "it returned no number".to_owned()),
                SignalSource::Http { url, token } => switch(client, url, token.as_deref()).await,
                SignalSource::Prometheus { url, query, token, .. } => {
                    largest(client, url, query, token.as_deref()).await
                }
            }
        };
        let read = tokio::time::timeout(PATIENCE, read)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())));
        match read {
            Ok(value) => Reading::new(self.signal(), &self.name, value, self.limit()),
            Err(why) => Reading::missing(self.signal(), &self.name, self.limit(), redact(&why)),
        }
    }
}

/// Whether an address says stop: 0 or 1.
async fn switch(client: &OnceLock<Client>, url: &Url, token: Option<&str>) -> Result<f64, String> {
    let status = get(client, url.clone(), token).await?.status();
    match status {
        _ if status.is_success() => Ok(0.0),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Ok(1.0),
        other => Err(format!("it answered {other}, which is neither go (2xx) nor stop (429, 503)")),
    }
}

/// What Prometheus answers.
#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<Sample>),
    Scalar((f64, String)),
}

#[derive(Deserialize)]
struct Sample {
    value: (f64, String),
}

/// The largest value of an instant query. No value at all is a signal that is missing.
async fn largest(
    client: &OnceLock<Client>,
    url: &Url,
    query: &str,
    token: Option<&str>,
) -> Result<f64, String> {
    let mut url = url.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(["api", "v1", "query"]);
    }
    url.query_pairs_mut().append_pair("query", query);
    let response = get(client, url, token).await?;
    let status = response.status();
    if !status.is_success() {
        return Err(format!("Prometheus answered {status}"));
    }
    let body = response.bytes().await.map_err(|error| explain(&error))?;
    let Answer { data } = serde_json::from_slice(&body)
        .map_err(|_| "the answer is no instant vector and no scalar".to_owned())?;
    let values = match data {
        Data::Vector(samples) => samples.into_iter().map(|sample| sample.value.1).collect(),
        Data::Scalar((_, value)) => vec![value],
    };
    let numbers = values.iter().filter_map(|value| value.parse::<f64>().ok());
    numbers.reduce(f64::max).ok_or_else(|| "the query returned no value".to_owned())
}

async fn get(
    client: &OnceLock<Client>,
    url: Url,
    token: Option<&str>,
) -> Result<reqwest::Response, String> {
    let mut request = speaking_http(client)?.get(url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    request.send().await.map_err(|error| explain(&error))
}

/// The client of this process, made when the first signal needs it: making one reads every
/// certificate that the machine trusts.
fn speaking_http(client: &OnceLock<Client>) -> Result<&Client, String> {
    if let Some(client) = client.get() {
        return Ok(client);
    }
    // Whatever else in this process speaks TLS may have chosen one already.
    rustls::crypto::ring::default_provider().install_default().ok();
    let made = Client::builder()
        .redirect(Policy::none())
        .user_agent(concat!("reelshift/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| format!("this worker cannot speak HTTP: {error}"))?;
    Ok(client.get_or_init(|| made))
}

/// Without the address, which may hold a secret.
fn explain(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    format!("no answer: {cause}")
}

/// The configured signals as one sampler reads them.
pub(super) struct Configured {
    signals: Vec<ConfiguredSignal>,
    client: OnceLock<Client>,
    /// Those that the sampler before read.
    known: Vec<(Signal, String)>,
    last: Option<(Instant, Vec<Reading>)>,
}

impl Configured {
    pub(super) fn new(signals: Vec<ConfiguredSignal>, before: &[Reading]) -> Self {
        let known = before.iter().filter(|reading| reading.signal.is_configured());
        let known = known.map(|reading| (reading.signal, reading.host.clone())).collect();
        Self { signals, client: OnceLock::new(), known, last: None }
    }

    /// All of them, read at once; as they were read last where that is news still. One that the
    /// sampler before read and that this worker was not given is missing.
    pub(super) async fn sample(&mut self, store: &SharedStore) -> Vec<Reading> {
        if let Some((at, readings)) = &self.last {
            let failed = readings.iter().any(|reading| reading.value.is_none());
            if at.elapsed() < if failed { INTERVAL_AFTER_FAILURE } else { INTERVAL } {
                return readings.clone();
            }
        }
        let reads = self.signals.iter().map(|signal| signal.read(store, &self.client));
        let mut readings = join_all(reads).await;
        for (signal, name) in &self.known {
            let given = |one: &ConfiguredSignal| one.signal() == *signal && one.name == *name;
            if !self.signals.iter().any(given) {
                let why = "other workers were given this signal, and this one was not: give all of \
                           them the same, or stop all for 10 s to forget it";
                readings.push(Reading::missing(*signal, name, 1.0, why.to_owned()));
            }
        }
        self.last = Some((Instant::now(), readings.clone()));
        readings
    }
}
