//! The command line, as clap reads it. Precedence everywhere: option, then environment
//! variable, then the TOML file, then the default.

pub mod checksums;
pub mod gate;
pub mod notify;
pub mod serve;
pub mod validate;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use reelshift_media::sha256::Backend;
use reelshift_plan::tuning::Assignment;
use reelshift_plan::{Flag, JobKind};
use reelshift_queue::Times;
use reelshift_store::ids::IdPart;
use reelshift_store::ledger::Since;

use crate::args::checksums::ChecksumArgs;
use crate::args::gate::GateArgs;
pub use crate::args::validate::EnqueueValidate;
use crate::exit::Usage;
use crate::filter::Condition;

/// Videos in a batch of a backfill.
pub const DEFAULT_BATCH_ROWS: u32 = 2_000;

/// Attempts that a batch gets before it is failed.
pub const DEFAULT_MAX_ATTEMPTS: u32 = 5;

/// Moves a live video platform's database from its basic schema to an enhanced one, with
/// a fleet of workers, while the application goes on.
#[derive(Debug, Parser)]
#[command(name = "reelshift", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The database: mysql://USER:PASSWORD@HOST:PORT/NAME or sqlite://PATH [default:
    /// ./reelshift.db if that file exists]
    #[arg(long, global = true, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database: Option<String>,

    /// Speak to a database server elsewhere without TLS, where its URL or the server has it so
    #[arg(long, global = true, env = "REELSHIFT_ALLOW_PLAINTEXT", value_parser = clap::builder::FalseyValueParser::new())]
    pub allow_plaintext: bool,

    /// The time zone that the application writes DATETIME columns in, if it is not the one that
    /// the server gives a session: +01:00, Europe/Berlin
    #[arg(
        long,
        global = true,
        env = "REELSHIFT_APPLICATION_TIME_ZONE",
        value_name = "ZONE",
        allow_hyphen_values = true
    )]
    pub application_time_zone: Option<String>,

    /// Where the video files are: a directory, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or
    /// az://CONTAINER/PREFIX, with credentials by the AWS_*, GOOGLE_* or AZURE_* variables
    #[arg(long, global = true, env = "REELSHIFT_MEDIA_ROOT", value_name = "PATH")]
    pub media_root: Option<PathBuf>,

    /// What absolute paths in the database begin with, if that is not the media root
    #[arg(long, global = true, env = "REELSHIFT_MEDIA_PREFIX", value_name = "PATH")]
    pub media_prefix: Option<PathBuf>,

    /// A TOML file with the same settings [default: ./reelshift.toml if that file exists]
    #[arg(long, global = true, env = "REELSHIFT_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Print one JSON document (one per line when watching) and nothing else
    #[arg(long, global = true)]
    pub json: bool,

    /// Say more: -v for progress in detail, -vv for every statement's retry
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The hidden command that is the demo's application.
pub const DEMO_APPLICATION: &str = "demo-application";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The demo's application, which the demo starts by itself
    #[command(name = DEMO_APPLICATION, hide = true)]
    DemoApplication,
    /// Make a legacy database with video files, migrate it with two workers, show it all
    Demo(DemoArgs),
    /// Analyse the legacy database: rows, sizes, states, surprises
    Inspect,
    /// Check everything and show what would be done, with locks and durations; changes nothing
    Plan,
    /// Apply a phase's schema steps, journaled; resumes where it stopped
    Apply(ApplyArgs),
    /// Go back to how the database was, phase by phase or to before expand, losing nothing
    Rollback(RollbackArgs),
    /// Bring back what a rollback archived, after a new expand
    Restore(RestoreArgs),
    /// Plan a run and enqueue its batches
    Enqueue(EnqueueArgs),
    /// Execute batches until told to stop
    Work(WorkArgs),
    /// Ask a worker that was started with --health; exit code 1 unless all is well
    Probe(ProbeArgs),
    /// Show progress, workers and failures
    Status(StatusArgs),
    /// Show what failed and why
    Errors(ErrorsArgs),
    /// Enqueue failed batches and quarantined items again
    Rerun(RerunArgs),
    /// Pause the whole fleet, or one run; workers keep nothing meanwhile
    Pause(PauseArgs),
    /// Let the fleet, or one run, go on
    Resume(ResumeArgs),
    /// Show or change settings of the whole fleet while it works
    Tune(TuneArgs),
    /// End a run for good: what is done stays, nothing more is
    Cancel(CancelArgs),
    /// Remove runs and notifications that ended long ago
    Prune(PruneArgs),
    /// Queue one notification by hand
    Notify(notify::NotifyArgs),
    /// Show or change the feature flags, for every process
    Flags(FlagsArgs),
    /// Show the status of one video, as the feature flags have the application see it
    Video(VideoArgs),
    /// Hash files and print what sha256sum prints, with the workers' engine
    Hash(HashArgs),
    /// List videos whose files are equal, and the bytes that could be saved
    Duplicates,
    /// Compare every row with what the specification says it must hold, in this process; or
    /// show what a run of the fleet compared
    Validate(validate::ValidateArgs),
    /// Answer the application and the operators: API, dashboard, notifications
    Serve(serve::ServeArgs),
    /// Make a token for `serve`; it is shown once, with the hash that the server gets
    Token(serve::TokenArgs),
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Where the demo's database and files are made; replaced if an earlier demo made it
    #[arg(long, default_value = "reelshift-demo", value_name = "DIR")]
    pub dir: PathBuf,

    /// Worker processes to start
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub workers: u32,

    /// Videos to make
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    pub videos: u32,

    /// The size of all files together
    #[arg(long, default_value_t = 300, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub size: u32,

    /// Make the legacy database and its files only, once, to be migrated by hand
    #[arg(long)]
    pub legacy_only: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AppliedPhase {
    /// New columns, tables, the bridge and reelshift's own ledger
    Expand,
    /// The specification's indexes and the dashboard's view
    Index,
    /// Triggers that follow the states and queue notifications
    Automate,
}

#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The phase
    pub phase: AppliedPhase,

    #[command(flatten)]
    pub gate: GateArgs,

    /// Let the server copy this table where it knows no other way, which keeps writers out
    /// while it lasts; asks first
    #[arg(long, value_name = "TABLE")]
    pub allow_copy: Vec<String>,

    /// Answer every question with yes
    #[arg(long)]
    pub yes: bool,

    /// With expand: go on though statements of the application were seen that fail once
    /// table videos has more columns
    #[arg(long)]
    pub accept_statements: bool,

    /// With expand: give up a rollback that is not at its end, and make again what it undid
    #[arg(long)]
    pub abandon_rollback: bool,
}

/// How far back: to the end of a phase, or to before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RollbackTarget {
    /// Everything but reelshift's own tables is undone
    Legacy,
    /// As rollout: what the backfill filled in stays, flags are switched off
    Expand,
    /// As rollout, and flags are switched off
    Backfill,
    /// The indexes, the view and the triggers of index and automate are undone
    Rollout,
    /// The triggers of automate are undone
    Index,
}

impl std::fmt::Display for RollbackTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", clap::builder::PossibleValue::get_name))
    }
}

impl RollbackArgs {
    pub const fn target(&self) -> reelshift_operate::RollbackTarget {
        use reelshift_operate::RollbackTarget as Target;
        match self.to {
            RollbackTarget::Legacy => Target::Legacy,
            RollbackTarget::Expand => Target::Expand,
            RollbackTarget::Backfill => Target::Backfill,
            RollbackTarget::Rollout => Target::Rollout,
            RollbackTarget::Index => Target::Index,
        }
    }
}

#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The phase whose end to go back to
    #[arg(long, default_value_t = RollbackTarget::Legacy, value_name = "PHASE", value_enum)]
    pub to: RollbackTarget,

    /// Write what the new columns and tables hold into files in this directory first
    #[arg(long, value_name = "DIR", conflicts_with = "discard")]
    pub archive: Option<PathBuf>,

    /// Drop what the new columns and tables hold
    #[arg(long)]
    pub discard: bool,

    /// Drop reelshift's own tables too, last of all: runs, errors' batches, flags, journal
    #[arg(long)]
    pub purge: bool,

    /// Show the steps that would be undone, with their statements, and whether all of them
    /// can be; change nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Let the server copy this table where it knows no other way, which keeps writers out
    /// while it lasts; asks first
    #[arg(long, value_name = "TABLE")]
    pub allow_copy: Vec<String>,

    /// Answer every question with yes
    #[arg(long)]
    pub yes: bool,

    /// Go on though what has this name seems to use what is dropped; repeat for more
    #[arg(long, value_name = "NAME")]
    pub despite: Vec<String>,

    #[command(flatten)]
    pub gate: GateArgs,
}

#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Where `rollback --archive` wrote it
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,

    /// Restore though the archive seems to be of another platform's database
    #[arg(long)]
    pub other_platform: bool,

    /// A replica whose lag stops the restore, as of `work`; repeat for more
    #[arg(
        long = "replica",
        env = "REELSHIFT_REPLICAS",
        hide_env_values = true,
        value_name = "URL",
        value_delimiter = ','
    )]
    pub replicas: Vec<String>,

    #[command(flatten)]
    pub lease: LeaseArgs,
}

#[derive(Debug, Args)]
pub struct EnqueueArgs {
    #[command(subcommand)]
    pub kind: EnqueueKind,
}

#[derive(Debug, Subcommand)]
pub enum EnqueueKind {
    /// Fill in the new columns and status rows, by key ranges
    Backfill(EnqueueBackfill),
    /// Hash every file with SHA-256, in batches of about equal bytes
    Hash(EnqueueHash),
    /// Compare every row with what the specification says it must hold, by key ranges
    Validate(validate::EnqueueValidate),
}

#[derive(Debug, Args)]
pub struct EnqueueCommon {
    /// Only videos for which this holds; repeat for more: project=ID, status=NAME,
    /// created-after=TIME, created-before=TIME (TIME as 2026-01-31 or 2026-01-31T12:00:00Z)
    #[arg(long = "where", value_name = "KEY=VALUE")]
    pub conditions: Vec<Condition>,

    #[command(flatten)]
    pub pace: EnqueuePace,
}

#[derive(Debug, Args)]
pub struct EnqueuePace {
    /// Attempts that a batch gets before it is failed
    #[arg(long, default_value_t = DEFAULT_MAX_ATTEMPTS, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub max_attempts: u32,

    /// Go on: enqueue new and changed videos as they come; a validation again and again, until
    /// the rollout is at 100 %. One watcher of a kind acts, any others stand by
    #[arg(long)]
    pub watch: bool,

    /// With --watch: from one look to the next
    #[arg(long, requires = "watch", default_value = "1min", value_name = "TIME", value_parser = interval)]
    pub every: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    let every = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if !(Duration::from_secs(1)..=Duration::from_hours(24)).contains(&every) {
        return Err("must be from 1s to 1day".to_owned());
    }
    Ok(every)
}

#[derive(Debug, Args)]
pub struct EnqueueBackfill {
    #[command(flatten)]
    pub common: EnqueueCommon,

    /// Videos in a batch
    #[arg(long, default_value_t = DEFAULT_BATCH_ROWS, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub batch_size: u32,
}

#[derive(Debug, Args)]
pub struct EnqueueHash {
    #[command(flatten)]
    pub common: EnqueueCommon,

    /// Bytes in a batch: 1GiB, 512MiB, …
    #[arg(long, default_value = "1GiB", value_name = "SIZE")]
    pub batch_bytes: bytesize::ByteSize,

    /// Files in a batch, at most
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch_files: u32,
}

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

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Keep showing, redrawn in place on a terminal
    #[arg(long)]
    pub watch: bool,

    /// Seconds between two looks
    #[arg(long, default_value_t = 1, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub interval: u64,
}

#[derive(Debug, Args)]
pub struct ErrorsArgs {
    /// Errors of this batch only, in full. The first or last digits of an id suffice, here and
    /// everywhere
    #[arg(long, value_name = "ID")]
    pub batch: Option<IdPart>,

    /// Errors of this type only
    #[arg(long = "type", value_name = "TYPE")]
    pub error_type: Option<String>,

    /// The newest errors to list below the groups
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub limit: u32,
}

#[derive(Debug, Args)]
pub struct RerunArgs {
    /// Failed work of this run only
    #[arg(long, value_name = "ID")]
    pub run: Option<IdPart>,

    /// This batch only
    #[arg(long, value_name = "ID")]
    pub batch: Option<IdPart>,

    /// Work that failed with this error type only
    #[arg(long = "type", value_name = "TYPE")]
    pub error_type: Option<String>,

    /// Work of this kind only: backfill, hash or validate
    #[arg(long, value_name = "STAGE")]
    pub stage: Option<JobKind>,

    /// Work that failed since then only: 30min, 2h, 2026-01-31 or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = crate::filter::since)]
    pub since: Option<Since>,

    /// Quarantined items only
    #[arg(long)]
    pub quarantined: bool,

    /// Show what would be enqueued, change nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

#[derive(Debug, Args)]
pub struct PauseArgs {
    /// This run only [default: the whole fleet]
    #[arg(long, value_name = "ID")]
    pub run: Option<IdPart>,

    /// Why, for whoever looks at the status
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// This run only [default: the whole fleet]
    #[arg(long, value_name = "ID")]
    pub run: Option<IdPart>,
}

#[derive(Debug, Args)]
pub struct CancelArgs {
    /// The run's id, or a part of it
    pub run: IdPart,

    /// Why, for whoever looks at the status
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

#[derive(Debug, Args)]
pub struct TuneArgs {
    /// chunk_target=15ms, concurrency=4, fleet_concurrency=32, byte_rate=200MiB,
    /// replica_lag=5s, threads_running=16, history_list_length=1000000, lock_waits=10,
    /// free_disk=1GiB; KEY=default takes a setting back; without any, shows all
    #[arg(value_name = "KEY=VALUE")]
    pub settings: Vec<Assignment>,

    /// Why, for whoever looks at the settings
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    /// The newest changes to list below
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub changes: u32,
}

#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Runs and notifications that ended longer ago than this: 30days, 12h, …
    #[arg(long, value_name = "TIME", value_parser = age)]
    pub older_than: Duration,

    /// Show what would be removed, change nothing
    #[arg(long)]
    pub dry_run: bool,
}

fn age(text: &str) -> Result<Duration, String> {
    const DAY: u64 = 24 * 3_600;
    let age = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if !(Duration::from_mins(1)..=Duration::from_secs(36_500 * DAY)).contains(&age) {
        return Err("must be from 1min to 100years".to_owned());
    }
    Ok(age)
}

#[derive(Debug, Args)]
pub struct FlagsArgs {
    #[command(subcommand)]
    pub action: FlagsAction,

    /// Why, for whoever looks at the changes
    #[arg(long, global = true, value_name = "TEXT")]
    pub reason: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum FlagsAction {
    /// Show every flag, since when, and who set it
    List {
        /// The newest changes to list below
        #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=10_000))]
        changes: u32,
    },
    /// Switch a flag on for every video
    Enable {
        /// enhanced_video_processing, realtime_notifications, advanced_error_handling or
        /// performance_monitoring
        flag: Flag,
    },
    /// Switch a flag off
    Disable {
        /// As in enable
        flag: Flag,
    },
    /// Switch a flag on for a share of the videos, chosen by a stable hash of their ids
    Rollout {
        /// As in enable
        flag: Flag,
        /// 0 to 100; 0 is off
        #[arg(value_parser = clap::value_parser!(u8).range(0..=100))]
        percent: u8,
    },
    /// Switch off all but performance_monitoring, at once
    EmergencyDisable,
}

#[derive(Debug, Args)]
pub struct VideoArgs {
    /// The video's id
    pub id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
