//! `reelshift serve` under load: status reads beside a backfill, many subscribers, a long
//! queue of notifications, every page of a large ledger; and how soon a fleet rests.

mod drain;
mod http;
mod pages;
mod pause;
mod status;
mod subscriber;
mod subscribers;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sqlx::MySqlPool;

use crate::process::Process;

/// Files that a subscriber needs at each end, and the rest of a process.
const FILES: u64 = 16_384;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Figure {
    /// Reads of `/videos/{id}/status` while a backfill runs
    Status,
    /// Memory of subscribers, and the time from a trigger to them
    Subscribers,
    /// A queue that is drained, with nothing lost and nothing in the wrong room
    Drain,
    /// Every page and every live update, beside a fleet on a large ledger
    Pages,
    /// From `pause` to a fleet that rests
    Pause,
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// What to measure
    figure: Figure,
    /// Videos while their status or the pages are read
    #[arg(long, default_value_t = 1_000_000)]
    videos: u32,
    /// Connections that read a status at once
    #[arg(long, default_value_t = 8)]
    readers: usize,
    /// Seconds of reading
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Subscribers of one replica
    #[arg(long, default_value_t = 5_000)]
    subscribers: usize,
    /// Changes of videos that subscribers are told of
    #[arg(long, default_value_t = 3_000)]
    changes: usize,
    /// Notifications in the queue
    #[arg(long, default_value_t = 100_000)]
    queued: usize,
}

pub async fn run(database: &str, args: &ServeArgs) -> Result<()> {
    allow_files()?;
    let pool = MySqlPool::connect(database).await?;
    match args.figure {
        Figure::Status => status::run(database, &pool, args).await,
        Figure::Subscribers => subscribers::run(database, &pool, args).await,
        Figure::Drain => drain::run(database, &pool, args).await,
        Figure::Pages => pages::run(database, &pool, args).await,
        Figure::Pause => pause::run(database, &pool, args).await,
    }
}

/// Raises this process's limit of open files, which the processes that it starts inherit.
fn allow_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(FILES, |most| most.min(FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum })
            .context("cannot raise the limit of open files")?;
    }
    if wanted < FILES {
        bail!("{FILES} open files are needed, and {wanted} allowed: raise `ulimit -Hn`");
    }
    Ok(())
}

/// A table with `videos` videos, the triggers, and notifications on or off.
async fn platform(database: &str, pool: &MySqlPool, videos: u32) -> Result<Vec<String>> {
    crate::legacy::fill(pool, videos, 1).await?;
    for command in [
        &["apply", "expand"][..],
        &["apply", "index"],
        &["apply", "automate"],
        &["enqueue", "backfill"],
        &["work", "--until-idle"],
        &["flags", "enable", "realtime_notifications"],
    ] {
        Process::start(database, command)?.finish().await?;
    }
    Ok(sqlx::query_scalar("SELECT id FROM videos").fetch_all(pool).await?)
}

/// A replica that answers, and its port.
async fn replica(database: &str) -> Result<(Process, u16)> {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let listen = format!("127.0.0.1:{port}");
    let mut process = Process::start(database, &["serve", "--listen", &listen])?;
    for _ in 0..600 {
        if !process.runs()? {
            break;
        }
        if http::Connection::open(port).await.is_ok() {
            return Ok((process, port));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("the replica does not answer on {listen}")
}
