//! The arguments of the commands that list something.

use clap::{ArgGroup, Args, ValueEnum};
use reelshift_operate::Reason;
use reelshift_plan::{BatchState, JobKind, RunState, WorkerState};
use reelshift_store::audit::Subject;
use reelshift_store::ids::IdPart;
use reelshift_store::ledger::Since;
use reelshift_store::notifications::NotificationState;

/// How a list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The columns that people need
    Table,
    /// All columns
    Wide,
    /// An array of objects, as --json
    Json,
    /// All columns, separated by commas
    Csv,
    /// The names only, one a line, for other commands
    Name,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// How to print it [default: table]
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<Format>,

    /// At most so many
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
}

#[derive(Debug, Args)]
pub struct RunsArgs {
    /// Runs of this kind only: backfill, hash or validate
    #[arg(long)]
    pub kind: Option<JobKind>,

    /// Runs in this state only: planning, running, sweeping, paused, done, failed, cancelled
    #[arg(long)]
    pub state: Option<RunState>,

    #[command(flatten)]
    pub list: ListArgs,
}

#[derive(Debug, Args)]
pub struct BatchesArgs {
    /// Batches of this run only, in the order in which they are claimed
    #[arg(long, value_name = "ID", conflicts_with = "worker")]
    pub run: Option<IdPart>,

    /// With --run, batches in this state only: pending, leased, done, failed, cancelled
    #[arg(long, requires = "run")]
    pub state: Option<BatchState>,

    /// Batches that this worker has leased
    #[arg(long, value_name = "ID")]
    pub worker: Option<IdPart>,

    #[command(flatten)]
    pub list: ListArgs,
}

#[derive(Debug, Args)]
pub struct WorkersArgs {
    /// Workers in this state only: live, lost or left
    #[arg(long)]
    pub state: Option<WorkerState>,

    #[command(flatten)]
    pub list: ListArgs,
}

#[derive(Debug, Args)]
pub struct QuarantineArgs {
    /// Items of this kind only: backfill, hash or validate
    #[arg(long)]
    pub kind: Option<JobKind>,

    /// Items of this run only
    #[arg(long, value_name = "ID")]
    pub run: Option<IdPart>,

    /// Items with this error type only
    #[arg(long = "type", value_name = "TYPE")]
    pub error_type: Option<String>,

    #[command(flatten)]
    pub list: ListArgs,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").args(["rerun", "accept"]))]
pub struct FindArgs {
    /// Terms that must all hold: cause:TYPE, stage:KIND, since:TIME, run:ID, batch:ID, worker:ID,
    /// video:ID, path:BEGINNING, text:WORDS, error:ID,ID, is:open|recovered|quarantined|accepted. In
    /// cause, video and path `*` stands for any characters
    #[arg(value_name = "KEY:VALUE")]
    pub terms: Vec<String>,

    /// Enqueue all of the failed work that is found again
    #[arg(long)]
    pub rerun: bool,

    /// Accept all quarantined items that are found: they stay as they are, and no longer count as
    /// open; it needs --reason
    #[arg(long, conflicts_with = "rerun", requires = "reason")]
    pub accept: bool,

    /// With --rerun or --accept: count only, change nothing
    #[arg(long, requires = "change")]
    pub dry_run: bool,

    /// With --rerun or --accept: why, for the record
    #[arg(long, requires = "change", value_name = "TEXT")]
    pub reason: Option<Reason>,

    #[command(flatten)]
    pub list: ListArgs,
}

#[derive(Debug, Args)]
pub struct NotificationsArgs {
    /// Notifications in this state only: pending, processing, sent, failed, expired
    #[arg(long)]
    pub state: Option<NotificationState>,

    /// Notifications of this type only
    #[arg(long = "type", value_name = "TYPE")]
    pub event_type: Option<String>,

    #[command(flatten)]
    pub list: ListArgs,
}

#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Changes of this only: flag, control, run, quarantine, worker, schema, history, notification,
    /// session or token
    #[arg(long, value_parser = subject)]
    pub subject: Option<Subject>,

    /// Changes to this run only
    #[arg(long, value_name = "ID")]
    pub run: Option<IdPart>,

    /// Changes by these only: a part of the name or of the place; `*` stands for any characters
    #[arg(long, value_name = "TEXT")]
    pub by: Option<String>,

    /// Changes since then only: 30min, 2h, 2026-01-31 or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = reelshift_operate::since)]
    pub since: Option<Since>,

    #[command(flatten)]
    pub list: ListArgs,
}

fn subject(name: &str) -> Result<Subject, String> {
    Subject::named(name).ok_or_else(|| {
        let names: Vec<_> = Subject::ALL.iter().map(Subject::into_str).collect();
        format!("expected one of {}", names.join(", "))
    })
}
