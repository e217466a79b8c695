//! The queues that reelshift's is compared with. `reelshift-bench dispatch` runs this
//! program; it can also be run by hand.

mod apalis_queue;
mod fang_queue;

use clap::{Parser, Subcommand, ValueEnum};
use sqlx::MySqlPool;

#[derive(Debug, Parser)]
#[command(name = "reelshift-bench-peers", about)]
struct Cli {
    /// A MariaDB database: mysql://USER@HOST:PORT/NAME
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database: String,
    #[arg(value_enum)]
    peer: Peer,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Peer {
    /// apalis-sql as it comes
    Apalis,
    /// apalis-sql with a large buffer, a short interval and many jobs at once
    ApalisTuned,
    /// fang
    Fang,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the tables and this many jobs
    Prepare { jobs: u64 },
    /// Execute jobs until killed
    Work,
    /// Print the microseconds that each of this many claims took, one a line
    Claim { times: u32 },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let pool = MySqlPool::connect(&cli.database).await?;
    match (cli.peer, cli.command) {
        (Peer::Fang, Command::Prepare { jobs }) => fang_queue::prepare(&pool, jobs).await,
        (Peer::Fang, Command::Work) => fang_queue::work(&cli.database).await,
        (Peer::Fang, Command::Claim { times }) => fang_queue::claim(&cli.database, times).await,
        (_, Command::Prepare { jobs }) => apalis_queue::prepare(&pool, jobs).await,
        (peer, Command::Work) => apalis_queue::work(pool, peer == Peer::ApalisTuned).await,
        (_, Command::Claim { times }) => apalis_queue::claim(&pool, times).await,
    }
}
