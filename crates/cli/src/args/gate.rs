//! The options that say when `apply` and `rollback` may keep the application from a table.

use std::time::Duration;

use clap::Args;
use reelshift_store::gate::DailyWindow;
use reelshift_store::patience::Options;

#[derive(Debug, Clone, Args)]
pub struct GateArgs {
    /// How long to ask for a table that is in use, before saying who uses it and giving up
    #[arg(long, env = "REELSHIFT_LOCK_PATIENCE", default_value = "10min", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub lock_patience: Duration,

    /// Take a table though up to this many transactions have read it and may fail
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub accept_victims: u32,

    /// Change tables only in this part of each day, as 02:00-04:00 in the time zone of this
    /// process (TZ); waits for it
    #[arg(long, value_name = "FROM-TO")]
    pub window: Option<DailyWindow>,

    /// The longest that a table may be kept from the application; asks if it would be longer
    #[arg(long, env = "REELSHIFT_LONGEST_STALL", default_value = "200ms", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub longest_stall: Duration,

    /// On a Galera cluster: go on with what can stop every write on all nodes, as the build of
    /// indexes does, and triggers of a table beside an INSERT into one that it references
    #[arg(long)]
    pub stop_the_cluster: bool,
}

impl GateArgs {
    /// The options as `apply` and `rollback` take them; what else these decide is the default.
    pub fn options(&self) -> Options<'static> {
        Options {
            patience: self.lock_patience,
            accept_victims: self.accept_victims,
            window: self.window,
            longest_stall: self.longest_stall,
            stop_the_cluster: self.stop_the_cluster,
            ..Options::default()
        }
    }
}
