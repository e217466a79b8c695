//! The arguments of `work`, `hash` and `probe`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use reelshift_media::sha256::Backend;
use reelshift_queue::Times;

use super::checksums::ChecksumArgs;
use crate::exit::Usage;

#[derive(Debug, Args)]
pub struct WorkArgs {
    /// Backfill batches, and hashing threads, at once; up to four times as many threads while
    /// the disk is what they wait for [default: the number of processors]
    #[arg(long, env = "REELSHIFT_CONCURRENCY", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub concurrency: Option<u16>,

    /// A replica whose lag stops the fleet, as --database; repeat for more, the same for
    /// all workers (in the environment separated by commas)
    #[arg(
        long = "replica",
        env = "REELSHIFT_REPLICAS",
        hide_env_values = true,
        value_name = "URL",
        value_delimiter = ','
    )]
    pub replicas: Vec<String>,

    /// Answer /livez, /readyz and /metrics there
    #[arg(long, env = "REELSHIFT_HEALTH", value_name = "ADDRESS:PORT")]
    pub health: Option<SocketAddr>,

    /// Return when no batch is pending or leased, whoever holds it
    #[arg(long)]
    pub until_idle: bool,

    #[command(flatten)]
    pub lease: LeaseArgs,

    #[command(flatten)]
    pub backend: HashBackend,

    #[command(flatten)]
    pub checksums: ChecksumArgs,

    /// How often the progress of a file's hash is written down: what a crash costs at most
    #[arg(long, env = "REELSHIFT_CHECKPOINT_EVERY", default_value = "30s", value_name = "TIME", value_parser = checkpoint_every)]
    pub checkpoint_every: Duration,

    /// A file whose storage gives no byte for so long is left to a later attempt
    #[arg(long, env = "REELSHIFT_STALL_TIMEOUT", default_value = "60s", value_name = "TIME", value_parser = stall_timeout)]
    pub stall_timeout: Duration,
}

#[derive(Debug, Args)]
pub struct LeaseArgs {
    /// A worker silent for this long loses its batches; the same for all workers
    #[arg(long, env = "REELSHIFT_LEASE_TIMEOUT", default_value = "8s", value_name = "TIME", value_parser = lease_timeout)]
    pub lease_timeout: Duration,
}

impl LeaseArgs {
    pub fn times(&self) -> Times {
        Times {
            lease_timeout: self.lease_timeout,
            heartbeat: (self.lease_timeout / 4).min(Duration::from_secs(2)),
            ..Times::default()
        }
    }
}

/// Which code computes SHA-256.
#[derive(Debug, Args)]
pub struct HashBackend {
    /// Hash with this backend: avx512+sha-ni, sha-ni, avx512, avx2, arm-sha2 or portable, as
    /// the processor allows [default: the fastest]
    #[arg(long = "hash-backend", env = "REELSHIFT_HASH_BACKEND", value_name = "NAME")]
    pub name: Option<String>,
}

impl HashBackend {
    /// The backend of that name, or the fastest.
    ///
    /// # Errors
    /// `Usage` when this processor has none of that name.
    pub fn choose(&self) -> anyhow::Result<Backend> {
        match self.name.as_deref().filter(|name| !name.is_empty()) {
            None => Ok(Backend::fastest()),
            Some(name) => Backend::named(name).map_err(|error| Usage(error.to_string()).into()),
        }
    }
}

#[derive(Debug, Args)]
pub struct HashArgs {
    /// The files, or objects as s3://BUCKET/KEY, gs://… or az://…; `-`, or none, is standard
    /// input
    #[arg(value_name = "PATH")]
    pub paths: Vec<OsString>,

    #[command(flatten)]
    pub backend: HashBackend,

    #[command(flatten)]
    pub checksums: ChecksumArgs,
}

fn checkpoint_every(text: &str) -> Result<Duration, String> {
    let every = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (Duration::from_millis(10)..=Duration::from_secs(60)).contains(&every) {
        return Ok(every);
    }
    Err("must be 10ms to 1m".to_owned())
}

fn stall_timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (Duration::from_secs(1)..=Duration::from_hours(1)).contains(&timeout) {
        return Ok(timeout);
    }
    Err("must be 1s to 1h".to_owned())
}

fn lease_timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if timeout < Duration::from_secs(2) {
        return Err("must be at least 2s, several heartbeats".to_owned());
    }
    Ok(timeout)
}

#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Where the worker answers, as its --health says
    #[arg(value_name = "ADDRESS:PORT")]
    pub address: SocketAddr,

    /// What to ask: whether it lives, or whether it is ready
    #[arg(value_enum, default_value_t = Probe::Livez)]
    pub probe: Probe,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Probe {
    /// Its heartbeat comes round
    Livez,
    /// It takes batches
    Readyz,
}

impl Probe {
    pub const fn path(self) -> &'static str {
        match self {
            Self::Livez => "/livez",
            Self::Readyz => "/readyz",
        }
    }
}
