//! Measurements of reelshift on real servers. Every figure in `docs/benchmarks.md` names
//! the command of this program that produced it.

mod application;
mod claims;
mod contention;
mod dispatch;
mod empty;
mod fleet;
mod hash;
mod impact;
mod legacy;
mod memory;
mod migration;
mod pace;
mod peers;
mod platform;
mod process;
mod recovery;
mod rollback;
mod serve;
mod simulate;
mod specification;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "reelshift-bench", about)]
struct Cli {
    /// An empty MySQL or MariaDB database: mysql://USER@HOST:PORT/NAME
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Hashing files against openssl, sha256sum and the specification's service; needs no
    /// database
    Hash(hash::HashArgs),
    /// Backfill by several worker processes: rows/s, memory, and recovery from `kill -9`
    Fleet(fleet::FleetArgs),
    /// From `kill -9` of a worker to the next attempt at each of its batches, over many kills
    Recovery(recovery::RecoveryArgs),
    /// Batches/s with a handler that does nothing, against other queues on the same server
    Dispatch(dispatch::DispatchArgs),
    /// Deadlocks among many workers and two producers
    Contention(contention::ContentionArgs),
    /// Hundreds of simulated workers at one ledger, to find where it no longer keeps up
    Simulate(simulate::SimulateArgs),
    /// A worker whose handler does nothing, which `dispatch` starts
    #[command(name = empty::COMMAND, hide = true)]
    Empty,
    /// What an application notices of each phase, against the specification's own statements
    AppImpact(impact::ImpactArgs),
    /// There and back: backfill, validate, rollback with an archive, restore
    Rollback(rollback::RollbackArgs),
    /// How fast a backfill goes for what it may add to the application's latency
    Pace(pace::PaceArgs),
    /// What an application notices of gh-ost, spirit and reelshift
    Peers(peers::PeersArgs),
    /// The server: status reads, subscribers, a queue that is drained
    Serve(serve::ServeArgs),
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let database = || cli.database.as_deref().context("name a database: --database URL");
    match cli.command {
        Command::Hash(args) => hash::run(&args).await,
        Command::Fleet(args) => fleet::run(database()?, &args).await,
        Command::Recovery(args) => recovery::run(database()?, &args).await,
        Command::Dispatch(args) => dispatch::run(database()?, &args).await,
        Command::Contention(args) => contention::run(database()?, &args).await,
        Command::Simulate(args) => simulate::run(database()?, &args).await,
        Command::Empty => empty::work(database()?).await,
        Command::AppImpact(args) => impact::run(database()?, &args).await,
        Command::Rollback(args) => rollback::run(database()?, &args).await,
        Command::Pace(args) => pace::run(database()?, &args).await,
        Command::Peers(args) => peers::run(database()?, &args).await,
        Command::Serve(args) => serve::run(database()?, &args).await,
    }
}
