//! `validate` and `enqueue validate`.

use std::path::PathBuf;

use clap::Args;
use reelshift_operate::{BATCH_ROWS, DEFAULT_VALIDATION_ROWS};
use reelshift_store::ids::IdPart;

use super::EnqueuePace;

#[derive(Debug, Args)]
pub struct EnqueueValidate {
    #[command(flatten)]
    pub pace: EnqueuePace,

    /// Videos in a batch
    #[arg(long, default_value_t = DEFAULT_VALIDATION_ROWS, value_parser = clap::value_parser!(u32).range(BATCH_ROWS))]
    pub batch_size: u32,
}

#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// Compare nothing: show what this run of the fleet compared (see enqueue validate)
    #[arg(long, value_name = "ID")]
    pub run: Option<IdPart>,

    /// Write every difference to this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub all_keys: Option<PathBuf>,

    /// Enqueue a backfill of exactly the videos that differ
    #[arg(long)]
    pub repair: bool,

    /// Windows of rows compared at once, each on a connection of its own
    #[arg(long, conflicts_with = "run", default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub parallel: u16,
}
