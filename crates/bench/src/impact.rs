//! What the application notices: its latencies and its failed transactions while nothing
//! goes on, during each of reelshift's phases, and during the specification's own
//! statements, in one run.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, MySqlPool};

use crate::application::{Application, Impact, Load};
use crate::migration::{self, Migration};
use crate::{platform, specification};

/// The application runs in before anything is counted.
const WARM_UP: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub struct ImpactArgs {
    #[arg(long, default_value_t = 500_000)]
    videos: u32,
    #[command(flatten)]
    load: Load,
    /// Seconds of load with nothing else going on
    #[arg(long, default_value_t = 30)]
    idle: u64,
    #[command(flatten)]
    migration: Migration,
    /// Leave out the specification's own statements
    #[arg(long)]
    without_specification: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    server: String,
    videos: u32,
    load: Load,
    reelshift: Vec<Impact>,
    specification: Vec<Impact>,
    /// The worst of reelshift's phases against idle.
    p999_above_idle_ms: f64,
    longest_above_idle_ms: f64,
    failed: u64,
    untouched_rows_unchanged: bool,
}

pub async fn run(database: &str, args: &ImpactArgs) -> Result<()> {
    let pool = MySqlPool::connect(database).await?;
    eprintln!("making a platform with {} videos", args.videos);
    platform::create(&pool, args.videos, 1).await?;
    let before = platform::untouched_digest(&pool).await?;
    let application = start(database, args).await?;
    tokio::time::sleep(Duration::from_secs(args.idle)).await;
    let mut reelshift = vec![application.take("idle")?];
    reelshift[0].announce();
    reelshift.extend(migration::run(database, &args.migration, &application).await?);
    reelshift.extend(migration::back(database, &args.migration, &application).await?);
    application.stop().await?;
    let untouched_rows_unchanged = platform::untouched_digest(&pool).await? == before;
    let specification = if args.without_specification {
        Vec::new()
    } else {
        as_written(database, &pool, args).await?
    };

    let server: String = sqlx::query_scalar("SELECT VERSION()").fetch_one(&pool).await?;
    let Some((idle, phases)) = reelshift.split_first() else { bail!("nothing was measured") };
    let worst = |of: fn(&Impact) -> f64| phases.iter().map(of).fold(0.0, f64::max) - of(idle);
    let report = Report {
        server,
        videos: args.videos,
        load: args.load,
        p999_above_idle_ms: worst(|impact| impact.p999_ms),
        longest_above_idle_ms: worst(|impact| impact.longest_ms),
        failed: phases.iter().map(|impact| impact.failed).sum(),
        untouched_rows_unchanged,
        specification,
        reelshift,
    };
    print(&report)
}

async fn start(database: &str, args: &ImpactArgs) -> Result<Application> {
    let application = Application::start(database, args.load).await?;
    tokio::time::sleep(WARM_UP).await;
    application.take("warming up")?;
    Ok(application)
}

/// The specification's statements, in a database of their own.
async fn as_written(database: &str, pool: &MySqlPool, args: &ImpactArgs) -> Result<Vec<Impact>> {
    eprintln!("the specification's own statements, on a platform of its own");
    let name: String = sqlx::query_scalar("SELECT DATABASE()").fetch_one(pool).await?;
    pool.execute(AssertSqlSafe(format!("CREATE DATABASE `{name}_specification`"))).await?;
    let database = format!("{database}_specification");
    platform::create(&MySqlPool::connect(&database).await?, args.videos, 1).await?;
    let application = start(&database, args).await?;
    let mut connection = MySqlConnection::connect(&database).await?;
    let mut impacts = Vec::new();
    for (phase, statements) in specification::phases() {
        for statement in statements {
            // Raw: several of these cannot be prepared.
            sqlx::raw_sql(statement)
                .execute(&mut connection)
                .await
                .with_context(|| format!("the specification's {phase}: {statement}"))?;
        }
        let impact = application.take(&format!("specification {phase}"))?;
        impact.announce();
        impacts.push(impact);
    }
    connection.close().await?;
    application.stop().await?;
    Ok(impacts)
}

fn print(report: &Report) -> Result<()> {
    println!(
        "| During | Seconds | Transactions | Failed | p50 ms | p99 ms | p99.9 ms | Longest ms |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for impact in report.reelshift.iter().chain(&report.specification) {
        println!("{}", impact.row());
    }
    println!("\n{}", serde_json::to_string_pretty(report)?);
    Ok(())
}
