//! Many workers and two producers over the same videos: how many deadlocks the server saw,
//! and whether one reached a handler or an attempt failed at all.

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use sqlx::MySqlPool;

use crate::process::Process;
use crate::{legacy, memory};

#[derive(Debug, Args)]
pub struct ContentionArgs {
    #[arg(long, default_value_t = 300_000)]
    videos: u32,
    #[arg(long, default_value_t = 16)]
    workers: u16,
}

#[derive(Debug, Serialize)]
struct Figures {
    videos: u32,
    workers: u16,
    seconds: f64,
    batches: i64,
    server_deadlocks: i64,
    failed_attempts: i64,
    errors: i64,
}

pub async fn run(database: &str, args: &ContentionArgs) -> Result<()> {
    let pool = MySqlPool::connect(database).await?;
    eprintln!("making {} legacy videos", args.videos);
    legacy::fill(&pool, args.videos, 1).await?;
    Process::start(database, &["apply", "expand"])?.finish().await?;
    let before = deadlocks(&pool).await?;
    let began = Instant::now();
    // Over the same videos, in batches of other bounds.
    let mut processes = vec![
        Process::start(database, &["enqueue", "backfill", "--batch-size", "200"])?,
        Process::start(
            database,
            &["enqueue", "backfill", "--batch-size", "300", "--where", "created-after=2000-01-01"],
        )?,
    ];
    tokio::time::sleep(Duration::from_millis(500)).await;
    for _ in 0..args.workers {
        processes.push(Process::start(database, &["work", "--until-idle"])?);
    }
    memory::until_ended("process", &mut processes, None).await?;
    let seconds = began.elapsed().as_secs_f64();
    Process::start(database, &["validate"])?.finish().await?;
    let count = async |sql: &'static str| sqlx::query_scalar(sql).fetch_one(&pool).await;
    let figures = Figures {
        videos: args.videos,
        workers: args.workers,
        seconds,
        batches: count("SELECT COUNT(*) FROM reelshift_batches").await?,
        server_deadlocks: deadlocks(&pool).await? - before,
        failed_attempts: count(
            "SELECT CAST(COALESCE(SUM(attempts), 0) AS SIGNED) FROM reelshift_batches",
        )
        .await?,
        errors: count("SELECT COUNT(*) FROM processing_error_log").await?,
    };
    println!("{}", serde_json::to_string_pretty(&figures)?);
    Ok(())
}

/// MariaDB counts them here.
async fn deadlocks(pool: &MySqlPool) -> Result<i64> {
    let sql = "SELECT CAST(variable_value AS SIGNED) FROM information_schema.global_status
               WHERE variable_name = 'Innodb_deadlocks'";
    Ok(sqlx::query_scalar(sql).fetch_one(pool).await?)
}
