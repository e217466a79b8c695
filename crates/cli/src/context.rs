//! What every command is given.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::Result;
use reelshift_media::VerifySample;
use reelshift_operate::{By, Reason};
use reelshift_store::signals::Replica;
use reelshift_store::vitals::DatabaseAddress;
use reelshift_store::{SharedStore, rollback};
use reelshift_telemetry::Database;
use reelshift_telemetry::probes::Registry;
use reelshift_worker::SignalSources;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::args::Global;
use crate::args::checksums::ChecksumArgs;
use crate::config::events::EventSection;
use crate::config::notifications::Notifications;
use crate::config::throttle::Throttle;
use crate::config::{ConfiguredServe, File};
use crate::database::{self, DatabaseSettings};
use crate::exit::{Interrupted, Usage};
use crate::output;

/// This process, for telemetry.
#[derive(Debug, Clone)]
pub struct Process {
    /// Unique to this start.
    pub instance: Uuid,
    /// What `/metrics` shows, where it is served.
    pub registry: Option<Registry>,
}

/// Settings, resolved; and the request to stop.
#[derive(Debug)]
pub struct Context {
    pub process: Process,
    pub json: bool,
    /// Whether results and errors only are printed.
    pub media_root: Option<PathBuf>,
    pub media_prefix: Option<PathBuf>,
    pub concurrency: Option<u16>,
    trust_stored_checksums: bool,
    verify_sample: Option<f64>,
    replicas: Vec<String>,
    pub notifications: Notifications,
    throttle: Throttle,
    pub events: Vec<EventSection>,
    pub serve: ConfiguredServe,
    /// Cancelled by SIGINT and SIGTERM.
    pub stop: CancellationToken,
    /// Whether a database elsewhere may be spoken to without TLS.
    pub allow_plaintext: bool,
    /// That of the application's DATETIME columns, where it is not the server's.
    pub application_time_zone: Option<String>,
    pub database: DatabaseSettings,
    /// The settings file as it is written.
    pub written_settings: String,
}

impl Context {
    pub fn new(global: &Global, process: Process, stop: CancellationToken) -> Result<Self> {
        let file = File::read(global)?;
        let media_prefix = global.media_prefix.clone().or(file.media_prefix);
        if let Some(prefix) = media_prefix.as_ref().filter(|prefix| !prefix.is_absolute()) {
            return Err(Usage(format!(
                "the media prefix {prefix:?} is no absolute path: name what the absolute paths \
                 of the database begin with, as /srv/videos"
            ))
            .into());
        }
        Ok(Self {
            process,
            json: global.json,
            media_root: global.media_root.clone().or(file.media_root),
            media_prefix,
            concurrency: file.concurrency,
            trust_stored_checksums: file.trust_stored_checksums,
            verify_sample: file.verify_sample,
            replicas: file.replicas,
            notifications: file.notifications,
            throttle: file.throttle,
            events: file.events,
            serve: file.serve,
            stop,
            application_time_zone: global
                .application_time_zone
                .clone()
                .filter(|zone| !zone.is_empty())
                .or(file.application_time_zone),
            allow_plaintext: global.allow_plaintext || file.allow_plaintext,
            database: DatabaseSettings::resolve(
                global,
                DatabaseSettings {
                    url: file.database,
                    file: file.database_file,
                    password_command: file.password_command,
                },
            )?,
            written_settings: file.written,
        })
    }

    /// The database URL given by option, environment or file.
    pub fn given_url(&self) -> Option<&str> {
        self.database.url.as_deref()
    }

    /// Opens the database for a command that needs a few connections.
    pub async fn store(&self) -> Result<SharedStore> {
        self.store_with(4).await
    }

    pub async fn store_with(&self, connections: u32) -> Result<SharedStore> {
        let url = database::url(self.given_url())?;
        let store = database::open(&url, connections, self).await?;
        let DatabaseAddress { system, namespace, server } = store.address();
        Database { system: system.into_str(), namespace, server }.describe();
        Ok(store)
    }

    /// The replicas of options and environment, else those of the file.
    pub fn replicas(&self, given: &[String]) -> Result<Vec<Box<dyn Replica>>> {
        let urls = if given.is_empty() { &self.replicas } else { given };
        urls.iter().map(|url| database::replica(url, self.allow_plaintext)).collect()
    }

    /// What the throttle listens to: these replicas, and the signals of the file.
    pub fn signals(&self, replicas: &[String]) -> Result<SignalSources> {
        Ok(SignalSources {
            replicas: self.replicas(replicas)?,
            configured: self.throttle.signals()?,
        })
    }

    /// What is read of the objects whose stored checksum is trusted, by options and
    /// environment, else by the file; `None` where none is trusted.
    ///
    /// # Errors
    /// `Usage` where that is no part of anything, or of nothing.
    pub fn trusted_checksums(&self, given: &ChecksumArgs) -> Result<Option<VerifySample>> {
        let trusted = given.trust_stored_checksums || self.trust_stored_checksums;
        let percent = given.verify_sample.or(self.verify_sample);
        if !trusted && percent.is_some() {
            let message = "--verify-sample is of objects whose checksum is trusted: add \
                           --trust-stored-checksums";
            return Err(Usage(message.to_owned()).into());
        }
        let percent = percent.unwrap_or(0.0);
        let sample = VerifySample::percent(percent).ok_or_else(|| {
            Usage(format!("--verify-sample must be a percentage from 0 to 100, not {percent}"))
        })?;
        Ok(trusted.then_some(sample))
    }

    /// Opens a database on which expand is complete, for what only reads: a replica will do.
    pub async fn reading_store(&self, connections: u32) -> Result<SharedStore> {
        let store = self.store_with(connections).await?;
        store.check_legacy().await?;
        rollback::require_expanded(&*store).await?;
        Ok(store)
    }

    /// As [`Self::reading_store`], for what writes too.
    pub async fn expanded_store(&self, connections: u32) -> Result<SharedStore> {
        let store = self.reading_store(connections).await?;
        store.check_writable().await?;
        Ok(store)
    }

    /// As [`Self::expanded_store`], for what writes to what a rollback would drop.
    ///
    /// # Errors
    /// `Refused` also while a rollback is not at its end.
    pub async fn writing_store(&self, connections: u32) -> Result<SharedStore> {
        let store = self.expanded_store(connections).await?;
        rollback::refuse_while_open(&*store).await?;
        Ok(store)
    }

    /// Runs `work` to its end. Fails as soon as the process gets SIGINT or SIGTERM.
    pub async fn until_stopped<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.stop
            .run_until_cancelled(work)
            .await
            .unwrap_or_else(|| Err(Interrupted::GOES_ON.into()))
    }

    /// Whether progress may be drawn: people look, and no script reads.
    pub fn draws(&self) -> bool {
        !self.json && output::has_notes() && std::io::stderr().is_terminal()
    }

    /// Whether a question can be asked: somebody sees it, and somebody can answer.
    pub fn asks(&self) -> bool {
        self.draws() && std::io::stdin().is_terminal()
    }

    /// Prints the one JSON document of a command.
    pub fn print_json(&self, document: &impl serde::Serialize) -> Result<()> {
        crate::output::json(&serde_json::to_string_pretty(document)?);
        Ok(())
    }
}

/// Whoever runs this, with the reason that they gave.
pub fn by(reason: Option<&Reason>) -> By {
    By::new(who(), reason.cloned())
}

/// `user@host`: who does this, for people.
pub fn who() -> String {
    format!("{}@{}", whoami::username().unwrap_or_else(|_| "unknown".into()), host())
}

/// This machine's name.
pub fn host() -> String {
    whoami::hostname().unwrap_or_else(|_| "unknown".into())
}
