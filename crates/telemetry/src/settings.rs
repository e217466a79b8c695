//! What is asked for, from the standard variables of OpenTelemetry.
//!
//! | Variable | Effect |
//! |---|---|
//! | `OTEL_SDK_DISABLED=true` | no traces, metrics or logs leave the process |
//! | `OTEL_EXPORTER_OTLP_ENDPOINT` | traces and metrics go there |
//! | `OTEL_EXPORTER_OTLP_{TRACES,METRICS,LOGS}_ENDPOINT` | this signal goes there |
//! | `OTEL_{TRACES,METRICS,LOGS}_EXPORTER` | `otlp`: this signal is exported; `none`: it is not |
//!
//! Logs are exported only where they are asked for by name: standard error has them already.
//! Everything else (protocol, headers, timeouts, certificates, sampler, limits, resource) is
//! read by the SDK itself.

use std::env;

/// The process, as its resource says.
#[derive(Debug, Clone)]
pub struct Service {
    /// What the process does in the fleet: `reelshift-worker`, …
    pub name: &'static str,
    pub version: String,
    /// Unique to this start of the process; of a worker, its id.
    pub instance: String,
    pub host: String,
}

/// What is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    pub service: Service,
    /// How much is logged: 0, the usual; 1, in detail; 2, everything.
    pub verbose: u8,
    /// Whether only warnings and errors are logged.
    pub quiet: bool,
    pub format: LogFormat,
    /// Whether lines have colours.
    pub colours: bool,
    /// Whether `/metrics` is served.
    pub prometheus: bool,
    pub signals: Signals,
}

/// How logs are written on standard error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Lines for people.
    Text,
    /// A document a line.
    Json,
}

/// Which signals are exported over OTLP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Signals {
    pub traces: bool,
    pub metrics: bool,
    pub logs: bool,
}

/// A variable that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error(
        "{variable}={value} cannot be used: reelshift exports over OTLP only, say otlp or none"
    )]
    Exporter { variable: String, value: String },
}

impl Signals {
    /// What the environment asks for.
    ///
    /// # Errors
    /// When it asks for an exporter that is not OTLP.
    pub fn from_env() -> Result<Self, SettingsError> {
        Self::read(|name| env::var(name).ok().filter(|value| !value.trim().is_empty()))
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(Self::default());
        }
        let everywhere = variable("OTEL_EXPORTER_OTLP_ENDPOINT").is_some();
        let wanted = |signal: &str, by_default: bool| {
            let exporter = format!("OTEL_{signal}_EXPORTER");
            let endpoint = format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT");
            match variable(&exporter).as_deref() {
                Some("none") => Ok(false),
                Some("otlp") => Ok(true),
                Some(value) => {
                    Err(SettingsError::Exporter { variable: exporter, value: value.to_owned() })
                }
                None => Ok(by_default || variable(&endpoint).is_some()),
            }
        };
        Ok(Self {
            traces: wanted("TRACES", everywhere)?,
            metrics: wanted("METRICS", everywhere)?,
            logs: wanted("LOGS", false)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Signals, SettingsError> {
        Signals::read(|name| {
            let found = variables.iter().find(|(given, _)| *given == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_configured_exports_nothing() {
        assert_eq!(read(&[]).expect("no variable"), Signals::default());
    }

    #[test]
    fn logs_are_exported_only_by_name() {
        let collector = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
        let both = Signals { traces: true, metrics: true, logs: false };
        assert_eq!(read(&[collector]).expect("usable"), both);
        let all = Signals { logs: true, ..both };
        assert_eq!(read(&[collector, ("OTEL_LOGS_EXPORTER", "otlp")]).expect("usable"), all);
        let one = ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://collector:4318/v1/logs");
        let logs = Signals { logs: true, ..Signals::default() };
        assert_eq!(read(&[one]).expect("usable"), logs);
    }

    #[test]
    fn a_signal_or_everything_can_be_turned_off() {
        let collector = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://jaeger:4317");
        let traces = Signals { traces: true, ..Signals::default() };
        assert_eq!(read(&[collector, ("OTEL_METRICS_EXPORTER", "none")]).expect("usable"), traces);
        let off = read(&[collector, ("OTEL_SDK_DISABLED", "TRUE")]).expect("usable");
        assert_eq!(off, Signals::default());
    }

    #[test]
    fn another_exporter_is_refused_by_name() {
        let error = read(&[("OTEL_TRACES_EXPORTER", "zipkin")]).expect_err("not OTLP");
        assert!(error.to_string().starts_with("OTEL_TRACES_EXPORTER=zipkin"), "{error}");
    }
}
