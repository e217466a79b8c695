//! The arguments of the commands that steer the fleet and mend what failed.

use std::time::Duration;

use clap::{Args, Subcommand};
use reelshift_operate::Reason;
use reelshift_plan::tuning::Assignment;
use reelshift_plan::{Flag, JobKind};
use reelshift_store::ids::IdPart;
use reelshift_store::ledger::Since;

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
    #[arg(long, value_name = "TIME", value_parser = reelshift_operate::since)]
    pub since: Option<Since>,

    /// Quarantined items only
    #[arg(long)]
    pub quarantined: bool,

    /// Show what would be enqueued, change nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<Reason>,
}

#[derive(Debug, Args)]
pub struct PauseArgs {
    /// This run only [default: the whole fleet]
    #[arg(long, value_name = "ID")]
    pub run: Option<IdPart>,

    /// The fleet resumes after this time, by the database's clock [default: until `resume`]
    #[arg(long = "for", value_name = "TIME", value_parser = lasting, conflicts_with = "run")]
    pub lasts: Option<Duration>,

    /// Why, for whoever looks at the status
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<Reason>,
}

#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// This run only [default: the whole fleet]
    #[arg(long, value_name = "ID")]
    pub run: Option<IdPart>,

    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<Reason>,
}

#[derive(Debug, Args)]
pub struct DrainArgs {
    /// The worker's id, or a part of it
    pub worker: IdPart,

    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<Reason>,
}

#[derive(Debug, Args)]
pub struct CancelArgs {
    /// The run's id, or a part of it
    pub run: IdPart,

    /// Why, for whoever looks at the status
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<Reason>,
}

#[derive(Debug, Args)]
pub struct TuneArgs {
    /// chunk_target=15ms, concurrency=4, fleet_concurrency=32, connections=40, byte_rate=200MiB,
    /// replica_lag=5s, threads_running=16, history_list_length=1000000, lock_waits=10,
    /// free_disk=1GiB, work_window="22:00-06:00 Europe/Berlin"; KEY=default takes a setting back; without any, shows all
    #[arg(value_name = "KEY=VALUE")]
    pub settings: Vec<Assignment>,

    /// The settings return to their defaults after this time, by the database's clock
    /// [default: until they are changed]
    #[arg(long = "for", value_name = "TIME", value_parser = lasting, requires = "settings")]
    pub lasts: Option<Duration>,

    /// Why, for whoever looks at the settings
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<Reason>,

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

fn lasting(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if !reelshift_operate::LASTS.contains(&time) {
        return Err("must be from 1s to 366days".to_owned());
    }
    Ok(time)
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
    pub reason: Option<Reason>,
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
        #[arg(value_parser = percent)]
        percent: u8,
    },
    /// Switch off all but performance_monitoring, at once
    EmergencyDisable,
}

/// A share as it is shown: `25`, or `25%`.
fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse().ok();
    number
        .filter(|percent| *percent <= 100)
        .ok_or_else(|| "a whole number from 0 to 100".to_owned())
}
