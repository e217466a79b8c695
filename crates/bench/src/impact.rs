//! What the application notices: its latencies while nothing goes on, during each of
//! reelshift's phases, and during the specification's own statements, in one run.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, MySqlPool};

use crate::application::{Application, Impact, touched, untouched_digest};
use crate::legacy;
use crate::process::Process;

/// The specification's statements as written; `-- phase NAME` begins each phase, a line
/// `;;` ends each statement.
const SPECIFICATION: &str = include_str!("specification.sql");

/// Statements that were prepared before a phase are executed after it, too.
const AFTERWARDS: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub struct ImpactArgs {
    #[arg(long, default_value_t = 500_000)]
    videos: u32,
    #[arg(long, default_value_t = 4)]
    threads: u64,
    /// Seconds of load with nothing else going on
    #[arg(long, default_value_t = 30)]
    idle: u64,
    /// Worker processes during the backfill
    #[arg(long, default_value_t = 2)]
    workers: usize,
}

#[derive(Debug, Serialize)]
struct Report {
    server: String,
    videos: u32,
    reelshift: Vec<Impact>,
    specification: Vec<Impact>,
    /// The worst of reelshift's phases against idle, and against the specification's worst.
    p999_above_idle_ms: f64,
    p999_share_of_specification: f64,
    longest_share_of_specification: f64,
    untouched_rows_unchanged: bool,
}

pub async fn run(database: &str, args: &ImpactArgs) -> Result<()> {
    let pool = MySqlPool::connect(database).await?;
    eprintln!("making {} legacy videos", args.videos);
    legacy::fill(&pool, args.videos, 1).await?;
    let before = untouched_digest(&pool).await?;
    let application = Application::start(database, args.threads, touched(&pool).await?).await?;
    let mut reelshift = Vec::new();
    tokio::time::sleep(Duration::from_secs(2)).await;
    application.take("warming up")?;
    tokio::time::sleep(Duration::from_secs(args.idle)).await;
    reelshift.push(say(application.take("idle")?));
    let archive = tempfile::tempdir()?;
    let archive = archive.path().to_string_lossy();
    let phases: [(&str, &[&[&str]]); 5] = [
        ("expand", &[&["apply", "expand"]]),
        ("backfill", &[&["enqueue", "backfill"], &["work", "--until-idle"]]),
        ("index", &[&["apply", "index"]]),
        ("automate", &[&["apply", "automate"]]),
        ("rollback", &[&["validate"], &["rollback", "--archive", &archive]]),
    ];
    for (phase, commands) in phases {
        for command in commands {
            let workers = if command[0] == "work" { args.workers } else { 1 };
            let processes: Result<Vec<_>> =
                (0..workers).map(|_| Process::start(database, command)).collect();
            for process in processes? {
                process.finish().await.with_context(|| format!("reelshift {command:?}"))?;
            }
        }
        // What a phase leaves behind is part of it.
        tokio::time::sleep(AFTERWARDS).await;
        reelshift.push(say(application.take(phase)?));
    }
    application.stop().await?;
    let unchanged = untouched_digest(&pool).await? == before;

    eprintln!("the specification's own statements, on a table of its own");
    let name: String = sqlx::query_scalar("SELECT DATABASE()").fetch_one(&pool).await?;
    pool.execute(AssertSqlSafe(format!(
        "CREATE DATABASE `{name}_specification` CHARACTER SET utf8mb4"
    )))
    .await?;
    let database = format!("{database}_specification");
    let own = MySqlPool::connect(&database).await?;
    legacy::fill(&own, args.videos, 1).await?;
    let application = Application::start(&database, args.threads, touched(&own).await?).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    application.take("warming up")?;
    let mut specification = Vec::new();
    let mut connection = MySqlConnection::connect(&database).await?;
    for phase in SPECIFICATION.split("-- phase ").skip(1) {
        let (phase, statements) = phase.split_once('\n').unwrap_or((phase, ""));
        for statement in statements.split(";;").map(str::trim).filter(|text| !text.is_empty()) {
            // Raw: several of these cannot be prepared.
            sqlx::raw_sql(statement)
                .execute(&mut connection)
                .await
                .with_context(|| format!("the specification's {phase}: {statement}"))?;
        }
        specification.push(say(application.take(&format!("specification {phase}"))?));
    }
    connection.close().await?;
    application.stop().await?;

    let server: String = sqlx::query_scalar("SELECT VERSION()").fetch_one(&pool).await?;
    report(server, args.videos, reelshift, specification, unchanged)
}

fn worst(impacts: &[Impact], of: impl Fn(&Impact) -> f64) -> f64 {
    impacts.iter().map(of).fold(0.0, f64::max)
}

fn report(
    server: String,
    videos: u32,
    reelshift: Vec<Impact>,
    specification: Vec<Impact>,
    untouched_rows_unchanged: bool,
) -> Result<()> {
    let Some((idle, phases)) = reelshift.split_first() else { bail!("nothing was measured") };
    let p999 = worst(phases, |impact| impact.p999_ms);
    let longest = worst(phases, |impact| impact.longest_ms);
    println!("| During | Seconds | Queries | Failed | p50 ms | p99 ms | p99.9 ms | Longest ms |");
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for impact in reelshift.iter().chain(&specification) {
        println!(
            "| {} | {:.1} | {} | {} | {:.1} | {:.1} | {:.1} | {:.1} |",
            impact.during,
            impact.seconds,
            impact.queries,
            impact.failed,
            impact.p50_ms,
            impact.p99_ms,
            impact.p999_ms,
            impact.longest_ms
        );
    }
    let report = Report {
        server,
        videos,
        p999_above_idle_ms: p999 - idle.p999_ms,
        p999_share_of_specification: p999 / worst(&specification, |impact| impact.p999_ms),
        longest_share_of_specification: longest / worst(&specification, |impact| impact.longest_ms),
        untouched_rows_unchanged,
        reelshift,
        specification,
    };
    println!("\n{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

fn say(impact: Impact) -> Impact {
    eprintln!(
        "{}: {} queries, {} failed, p99.9 {:.1} ms, longest {:.1} ms",
        impact.during, impact.queries, impact.failed, impact.p999_ms, impact.longest_ms
    );
    if let Some(failure) = &impact.first_failure {
        eprintln!("  the first failure: {failure}");
    }
    impact
}
