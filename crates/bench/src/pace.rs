//! The frontier: how fast a backfill goes for what it may add to the application's latency.
//!
//! One backfill beside one application, tuned from limit to limit while both go on, so that
//! all figures are of the same server, table and minute.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;
use sqlx::MySqlPool;

use crate::application::{Application, Impact, Load};
use crate::platform;
use crate::process::Process;

/// The application runs in before anything is counted.
const WARM_UP: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub struct PaceArgs {
    /// Enough for all limits: the backfill must not end before the last one
    #[arg(long, default_value_t = 1_000_000)]
    videos: u32,
    #[command(flatten)]
    load: Load,
    /// Limits for what the fleet adds, in this order; `unthrottled` is `throttle=off`
    #[arg(long, value_delimiter = ',', default_value = "5%,25%,100%,off,unthrottled")]
    limits: Vec<String>,
    /// Worker processes
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Seconds for the fleet to settle at a limit
    #[arg(long, default_value_t = 15)]
    settle: u64,
    /// Seconds that are then measured
    #[arg(long, default_value_t = 20)]
    measure: u64,
}

#[derive(Debug, Serialize)]
struct Pace {
    rows_per_second: f64,
    #[serde(flatten)]
    impact: Impact,
}

#[derive(Debug, Serialize)]
struct Report {
    server: String,
    videos: u32,
    load: Load,
    workers: usize,
    /// What `plan` expects at most beside this application.
    forecast_rows_per_second: Option<f64>,
    paces: Vec<Pace>,
}

pub async fn run(database: &str, args: &PaceArgs) -> Result<()> {
    let pool = MySqlPool::connect(database).await?;
    eprintln!("making a platform with {} videos", args.videos);
    platform::create(&pool, args.videos, 1).await?;
    Process::start(database, &["apply", "expand"])?.finish().await?;
    let application = Application::start(database, args.load).await?;
    tokio::time::sleep(WARM_UP).await;

    let mut paces = vec![pace(&pool, &application, args, "nothing").await?];
    let forecast = Process::output(database, &["plan", "--json"]).await?;
    let forecast: serde_json::Value = serde_json::from_slice(&forecast)?;
    let forecast = forecast["expected"]["backfill_rows_per_second"].as_f64();
    eprintln!("plan expects up to {:.0} rows/s", forecast.unwrap_or(f64::NAN));
    Process::start(database, &["enqueue", "backfill"])?.finish().await?;
    let mut workers: Vec<Process> =
        (0..args.workers).map(|_| Process::start(database, &["work"])).collect::<Result<_>>()?;
    for limit in &args.limits {
        let (impact, throttle) = match limit.as_str() {
            "unthrottled" => ("impact=default".to_owned(), "throttle=off"),
            limit => (format!("impact={limit}"), "throttle=default"),
        };
        Process::start(database, &["tune", &impact, throttle])?.finish().await?;
        tokio::time::sleep(Duration::from_secs(args.settle)).await;
        paces.push(pace(&pool, &application, args, limit).await?);
        ensure!(
            open(&pool).await?,
            "the backfill ended before {limit} was measured: more --videos"
        );
    }
    for worker in &mut workers {
        worker.kill().await?;
    }
    tokio::time::sleep(WARM_UP).await;
    paces.push(pace(&pool, &application, args, "nothing, afterwards").await?);
    application.stop().await?;

    println!(
        "| Limit | Rows/s | Transactions/s | Failed | p50 ms | p99 ms | p99.9 ms | Longest ms |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for Pace { rows_per_second, impact } in &paces {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let rate = impact.transactions as f64 / impact.seconds;
        println!(
            "| {} | {rows_per_second:.0} | {rate:.0} | {} | {:.1} | {:.1} | {:.1} | {:.1} |",
            impact.during,
            impact.failed,
            impact.p50_ms,
            impact.p99_ms,
            impact.p999_ms,
            impact.longest_ms
        );
    }
    let server: String = sqlx::query_scalar("SELECT VERSION()").fetch_one(&pool).await?;
    let report = Report {
        server,
        videos: args.videos,
        load: args.load,
        workers: args.workers,
        forecast_rows_per_second: forecast,
        paces,
    };
    println!("\n{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

/// What is written, and what the application notices, from now on for a while.
async fn pace(
    pool: &MySqlPool,
    application: &Application,
    args: &PaceArgs,
    during: &str,
) -> Result<Pace> {
    application.take("settling")?;
    let (began, before) = (Instant::now(), written(pool).await?);
    tokio::time::sleep(Duration::from_secs(args.measure)).await;
    let rows = written(pool).await? - before;
    let rows_per_second = rows / began.elapsed().as_secs_f64();
    let impact = application.take(during)?;
    eprint!("{rows_per_second:.0} rows/s; ");
    impact.announce();
    Ok(Pace { rows_per_second, impact })
}

/// Rows that the backfill has written so far.
async fn written(pool: &MySqlPool) -> Result<f64> {
    let sql = "SELECT COALESCE(SUM(rows_done), 0) + 0e0 FROM reelshift_batches";
    sqlx::query_scalar(sql).fetch_one(pool).await.context("the batches cannot be read")
}

/// Whether any batch is left.
async fn open(pool: &MySqlPool) -> Result<bool> {
    let sql = "SELECT COUNT(*) > 0 FROM reelshift_batches WHERE state IN ('pending', 'leased')";
    Ok(sqlx::query_scalar(sql).fetch_one(pool).await?)
}
