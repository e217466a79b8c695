//! The arguments of `enqueue`.

use std::time::Duration;

use clap::{Args, Subcommand};
use reelshift_operate::{
    BATCH_FILES, BATCH_ROWS, DEFAULT_BACKFILL_ROWS, DEFAULT_BATCH_FILES, DEFAULT_MAX_ATTEMPTS,
    MAX_ATTEMPTS,
};

use crate::filter::Condition;

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
    Validate(super::validate::EnqueueValidate),
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
    #[arg(long, default_value_t = DEFAULT_MAX_ATTEMPTS, value_parser = clap::value_parser!(u32).range(MAX_ATTEMPTS))]
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
    #[arg(long, default_value_t = DEFAULT_BACKFILL_ROWS, value_parser = clap::value_parser!(u32).range(BATCH_ROWS))]
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
    #[arg(long, default_value_t = DEFAULT_BATCH_FILES, value_parser = clap::value_parser!(u32).range(BATCH_FILES))]
    pub batch_files: u32,
}
