//! Measurements of reelshift on real servers. Every figure in `docs/benchmarks.md` names
//! the command of this program that produced it.

mod application;
mod fleet;
mod hash;
mod impact;
mod legacy;
mod process;

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
    /// What an application notices of each phase, against the specification's own statements
    AppImpact(impact::ImpactArgs),
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let database = || cli.database.as_deref().context("name a database: --database URL");
    match cli.command {
        Command::Hash(args) => hash::run(&args).await,
        Command::Fleet(args) => fleet::run(database()?, &args).await,
        Command::AppImpact(args) => impact::run(database()?, &args).await,
    }
}
