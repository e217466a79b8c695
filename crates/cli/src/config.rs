//! The TOML file: the same settings as the command line's, for those who want them in a
//! file. Unknown keys are refused. Passwords belong in `DATABASE_URL`, not here.

pub mod events;
pub mod notifications;
pub mod throttle;
pub mod trust;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Deserialize;

use crate::args::Global;
use crate::exit::{Refused, Usage};
use crate::files;

/// Read if it exists and no `--config` is given.
const DEFAULT_FILE: &str = "reelshift.toml";

/// The settings of the file that can be given otherwise too, as `TABLE.KEY`.
pub const KEYS: [&str; 21] = [
    "database",
    "database_file",
    "password_command",
    "allow_plaintext",
    "application_time_zone",
    "media_root",
    "media_prefix",
    "concurrency",
    "trust_stored_checksums",
    "verify_sample",
    "replicas",
    "serve.listen",
    "serve.hosts",
    "serve.trusted_proxies",
    "serve.path_prefix",
    "serve.allowed_origins",
    "serve.tls_certificate",
    "serve.tls_key",
    "serve.environment",
    "serve.jaeger",
    "serve.tokens",
];

/// The file's contents.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct File {
    /// All of it, as it is written.
    #[serde(skip)]
    pub written: String,
    /// As `--database`.
    pub database: Option<String>,
    /// As `--database-file`.
    pub database_file: Option<PathBuf>,
    /// As `--password-command`.
    pub password_command: Option<String>,
    /// As `--allow-plaintext`.
    #[serde(default)]
    pub allow_plaintext: bool,
    /// As `--application-time-zone`.
    pub application_time_zone: Option<String>,
    /// As `--media-root`.
    pub media_root: Option<PathBuf>,
    /// As `--media-prefix`.
    pub media_prefix: Option<PathBuf>,
    /// As `work --concurrency`; 1 to 1,024.
    pub concurrency: Option<u16>,
    /// As `--trust-stored-checksums`.
    #[serde(default)]
    pub trust_stored_checksums: bool,
    /// As `--verify-sample`, in percent.
    pub verify_sample: Option<f64>,
    /// As `work --replica`: URLs of replicas. Passwords belong in `REELSHIFT_REPLICAS`.
    #[serde(default)]
    pub replicas: Vec<String>,
    /// How `serve` delivers notifications.
    #[serde(default)]
    pub notifications: notifications::Notifications,
    /// Where `serve` sends the fleet's events.
    #[serde(default)]
    pub events: Vec<events::EventSection>,
    /// What the throttle listens to beside the database itself.
    #[serde(default)]
    pub throttle: throttle::Throttle,
    /// What `serve` is told.
    #[serde(default)]
    pub serve: ConfiguredServe,
}

/// The table `serve`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ConfiguredServe {
    /// As `--listen`.
    pub listen: Option<SocketAddr>,
    /// As `--host`.
    pub hosts: Vec<String>,
    /// As `--trusted-proxy`.
    pub trusted_proxies: Vec<IpAddr>,
    /// As `--path-prefix`.
    pub path_prefix: Option<String>,
    /// As `--allow-origin`.
    pub allowed_origins: Vec<String>,
    /// As `--tls-certificate`.
    pub tls_certificate: Option<PathBuf>,
    /// As `--tls-key`.
    pub tls_key: Option<PathBuf>,
    /// As `--environment`.
    pub environment: Option<String>,
    /// As `--jaeger`.
    pub jaeger: Option<String>,
    /// Who may do what.
    pub tokens: Vec<TokenEntry>,
    /// Where the file is.
    #[serde(skip)]
    pub directory: Option<PathBuf>,
}

/// An entry of `serve.tokens`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenEntry {
    pub name: String,
    /// `viewer` or `operator`.
    pub role: String,
    /// SHA-256 of the token, in hexadecimal digits.
    pub hash: String,
    /// As `2027-01-31T12:00:00Z`.
    pub expires: Option<String>,
}

impl File {
    /// Reads the file that `global` names, or the default one if it is there.
    ///
    /// # Errors
    /// `Usage` when the file is named and missing, or holds something unknown; `Refused` when
    /// it was not named, and somebody else can have put it there.
    pub fn read(global: &Global) -> Result<Self> {
        let Some((path, text)) = text(global.config.as_deref())? else {
            return Ok(Self::default());
        };
        let mut file: Self = toml::from_str(&text).map_err(|error| wrong(path, &text, &error))?;
        if file.concurrency.is_some_and(|concurrency| !(1..=1_024).contains(&concurrency)) {
            return Err(
                Usage(format!("{}: concurrency must be in 1..=1024", path.display())).into()
            );
        }
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        file.serve.directory = Some(directory.unwrap_or(Path::new(".")).to_owned());
        file.written = text;
        Ok(file)
    }
}

/// Names the line and nothing that stands in it, which may be a secret.
fn wrong(path: &Path, text: &str, error: &toml::de::Error) -> Usage {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before
        .map_or_else(String::new, |before| format!(", line {}", before.matches('\n').count() + 1));
    Usage(format!("the settings in {}{line} are wrong: {}", path.display(), error.message()))
}

/// The text of the file that `config` names, or of the default one if it is there.
fn text(config: Option<&Path>) -> Result<Option<(&Path, String)>> {
    let path = match config {
        Some(path) => path,
        None if Path::new(DEFAULT_FILE).is_file() => Path::new(DEFAULT_FILE),
        None => return Ok(None),
    };
    let unreadable = |error: std::io::Error| {
        Usage(format!("cannot read the settings in {}: {error}", path.display()))
    };
    let file = files::open(path).map_err(unreadable)?;
    if config.is_none()
        && let Err(why) = trust::check_unaltered(&file.metadata().map_err(unreadable)?)
    {
        return Err(Refused(format!(
            "./{DEFAULT_FILE} {why}: its settings are not used; name the file with --config if \
             you trust it"
        ))
        .into());
    }
    Ok(Some((path, files::text(file).map_err(unreadable)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What serde expects of a table, by what it says of an unknown key.
    fn expected(text: &str) -> Vec<String> {
        let error = toml::from_str::<File>(text).expect_err("an unknown key");
        let (_, names) = error.message().split_once("expected one of ").expect("the known ones");
        names.split(", ").map(|name| name.trim_matches('`').to_owned()).collect()
    }

    #[test]
    fn every_key_is_listed() {
        let of_file = expected("unknown = 1").into_iter();
        let of_file = of_file.filter(|key| {
            !matches!(key.as_str(), "serve" | "notifications" | "events" | "throttle")
        });
        let of_serve =
            expected("[serve]\nunknown = 1").into_iter().map(|key| format!("serve.{key}"));
        assert_eq!(of_file.chain(of_serve).collect::<Vec<_>>(), KEYS);
    }
}
