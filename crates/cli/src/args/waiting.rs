//! The arguments of `wait`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use reelshift_store::ids::IdPart;
use serde::Serialize;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// No run is planning, running, sweeping or paused; with --run, that run has ended
    Done,
    /// The fleet, every active run, or with --run that run is paused
    Paused,
    /// `apply expand` is complete
    Expand,
    /// `apply index` is complete
    Index,
    /// `apply automate` is complete
    Automate,
}

#[derive(Debug, Args)]
pub struct WaitArgs {
    /// What to wait for
    #[arg(long = "for", value_enum, value_name = "STATE")]
    pub goal: Goal,

    /// This run only
    #[arg(long, value_name = "ID")]
    pub run: Option<IdPart>,

    /// Give up after this time, with exit code 1 [default: never]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub timeout: Option<Duration>,
}
