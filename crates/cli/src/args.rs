//! The command line, as clap reads it. Precedence everywhere: option, then environment
//! variable, then the TOML file, then the default.

pub mod checksums;
mod control;
mod enqueue;
pub mod gate;
pub mod list;
pub mod notify;
mod schema;
pub mod serve;
pub mod validate;
pub mod waiting;
mod work;

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use reelshift_store::ids::IdPart;

pub use control::*;
pub use enqueue::*;
pub use schema::*;
pub use validate::EnqueueValidate;
pub use work::*;

/// Moves a live video platform's database from its basic schema to an enhanced one, with
/// a fleet of workers, while the application goes on.
#[derive(Debug, Parser)]
#[command(
    name = "reelshift",
    version,
    propagate_version = true,
    max_term_width = 100,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The database: mysql://USER:PASSWORD@HOST:PORT/NAME or sqlite://PATH [default:
    /// ./reelshift.db if that file exists]
    #[arg(long, global = true, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database: Option<String>,

    /// A file that holds the database's URL, as a secret is mounted; read again when it changes
    #[arg(long, global = true, env = "DATABASE_URL_FILE", value_name = "FILE")]
    pub database_file: Option<PathBuf>,

    /// A program with its arguments that prints the password of the URL's user; it is run again
    /// while the process works, so that passwords and tokens may expire
    #[arg(long, global = true, env = "REELSHIFT_PASSWORD_COMMAND", value_name = "COMMAND")]
    pub password_command: Option<String>,

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

    /// Print results and errors only: no progress, no notes
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// When to use colours
    #[arg(
        long,
        global = true,
        env = "REELSHIFT_COLOR",
        value_enum,
        default_value = "auto",
        value_name = "WHEN"
    )]
    pub color: When,

    /// How logs are written on standard error; auto is text on a terminal and json elsewhere
    #[arg(
        long,
        global = true,
        env = "REELSHIFT_LOG_FORMAT",
        value_enum,
        default_value = "auto",
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,

    /// Say more: -v for progress in detail, -vv for every statement's retry
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// When output has colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    Always,
    Never,
}

impl When {
    /// Goes for all that is printed from now on.
    pub fn apply(self) {
        match self {
            Self::Auto => return,
            Self::Always => anstream::ColorChoice::Always.write_global(),
            Self::Never => anstream::ColorChoice::Never.write_global(),
        }
        let colours = self == Self::Always;
        console::set_colors_enabled(colours);
        console::set_colors_enabled_stderr(colours);
    }

    /// Whether lines on standard error have colours.
    pub fn on_stderr(self) -> bool {
        match self {
            Self::Auto => {
                std::io::stderr().is_terminal()
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Auto,
    Text,
    Json,
}

impl From<LogFormat> for reelshift_telemetry::LogFormat {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Auto => Self::Auto,
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The demo's application, which the demo starts by itself
    #[command(name = reelshift_demo::application::COMMAND, hide = true)]
    DemoApplication,
    /// Make a legacy database with video files, migrate it with two workers, show it all
    Demo(DemoArgs),
    /// Analyse the legacy database: rows, sizes, states, surprises
    Inspect,
    /// Check everything and show what would be done, with locks and durations; changes nothing
    Plan(PlanArgs),
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
    /// Show the status on a whole terminal, with keys that act on what is selected
    Top(TopArgs),
    /// Return when a state is reached, for scripts
    Wait(waiting::WaitArgs),
    /// List runs, the newest first
    Runs(list::RunsArgs),
    /// List batches: of a run, of a worker, or the newest
    Batches(list::BatchesArgs),
    /// List workers, those that started last first
    Workers(list::WorkersArgs),
    /// List rows and files that were set aside
    Quarantine(list::QuarantineArgs),
    /// List who changed what, and why, the newest first
    Audit(list::AuditArgs),
    /// List notifications in the queue, by id
    Notifications(list::NotificationsArgs),
    /// Find failures, and enqueue what is found again
    Find(list::FindArgs),
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
    /// Let one worker take nothing more, give back what it has, and leave
    Drain(DrainArgs),
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
    /// Write the report of the whole migration, one HTML page that needs nothing else: what was
    /// done, its course, the proof, the exceptions, who changed what
    Report(ReportArgs),
    /// List videos whose files are equal, and the bytes that could be saved
    Duplicates,
    /// Compare every row with what the specification says it must hold, in this process; or
    /// show what a run of the fleet compared
    Validate(validate::ValidateArgs),
    /// Answer the application and the operators: API, dashboard, notifications
    Serve(Box<serve::ServeArgs>),
    /// Make a token for `serve`; it is shown once, with the hash that the server gets
    Token(serve::TokenArgs),
    /// Check the connection, the account, clocks, workers, replicas and the media root
    Doctor,
    /// Show the settings of this process
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the script that completes commands and options in a shell
    Completion(CompletionArgs),
    /// Write the man pages, one a command, into a directory
    Man(ManArgs),
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Each setting, its value, and where it came from
    Show,
}

#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// Where they are written
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Where it is written, in place of what is there; - is standard output
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// The name of the environment in the report: production, staging, …
    #[arg(long, env = "REELSHIFT_ENVIRONMENT", value_name = "NAME")]
    pub environment: Option<String>,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The checks and a line a phase only, without the statements
    #[arg(long)]
    pub summary: bool,
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

    /// When it is done, let the fleet and the application go on, and open a dashboard with a page
    /// that offers to break things; until Ctrl-C
    #[arg(long, conflicts_with = "legacy_only")]
    pub open: bool,

    /// Make the legacy database and its files only, once, to be migrated by hand
    #[arg(long)]
    pub legacy_only: bool,
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
pub struct TopArgs {
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
