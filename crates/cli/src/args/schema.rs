//! The arguments of `apply`, `rollback` and `restore`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::gate::GateArgs;
use super::work::LeaseArgs;

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
