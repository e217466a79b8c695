//! gh-ost and spirit beside the same application: the same columns and indexes in one change,
//! each on a platform of its own, and reelshift with all that it does besides.
//!
//! Both copy the table, so the platform has no foreign keys here: with them they refuse it.
//! Their programs are given by path.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;
use sqlx::{AssertSqlSafe, Executor, MySqlPool};
use url::Url;

use crate::application::{Application, Impact, Load};
use crate::migration::{self, Migration};
use crate::process::Process;
use crate::{platform, specification};

/// The application runs in before anything is counted.
const WARM_UP: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub struct PeersArgs {
    #[arg(long, default_value_t = 200_000)]
    videos: u32,
    #[command(flatten)]
    load: Load,
    /// Seconds of load with nothing else going on
    #[arg(long, default_value_t = 30)]
    idle: u64,
    /// The program gh-ost; it needs MySQL with its binary log in ROW format
    #[arg(long, value_name = "PATH")]
    gh_ost: Option<PathBuf>,
    /// The program spirit
    #[arg(long, value_name = "PATH")]
    spirit: Option<PathBuf>,
    #[command(flatten)]
    migration: Migration,
}

#[derive(Debug, Serialize)]
struct Report {
    server: String,
    videos: u32,
    load: Load,
    impacts: Vec<Impact>,
}

pub async fn run(database: &str, args: &PeersArgs) -> Result<()> {
    let pool = MySqlPool::connect(database).await?;
    let url = Url::parse(database).context("the database's URL cannot be read")?;
    let mut impacts = Vec::new();
    for (contender, program) in [
        ("nothing", None),
        ("gh-ost", args.gh_ost.as_deref()),
        ("spirit", args.spirit.as_deref()),
        ("reelshift", None),
    ] {
        let measured = match (contender, program) {
            ("gh-ost" | "spirit", None) => continue,
            _ => measure(&pool, &url, args, contender, program).await,
        };
        impacts.extend(measured.with_context(|| format!("{contender} was not measured"))?);
    }
    println!(
        "| During | Seconds | Transactions | Failed | p50 ms | p99 ms | p99.9 ms | Longest ms |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for impact in &impacts {
        println!("{}", impact.row());
    }
    let server: String = sqlx::query_scalar("SELECT VERSION()").fetch_one(&pool).await?;
    let report = Report { server, videos: args.videos, load: args.load, impacts };
    println!("\n{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

/// One contender, in a database of its own.
async fn measure(
    pool: &MySqlPool,
    url: &Url,
    args: &PeersArgs,
    contender: &str,
    program: Option<&Path>,
) -> Result<Vec<Impact>> {
    eprintln!("{contender}: making a platform with {} videos", args.videos);
    let name = format!("{}_{}", url.path().trim_matches('/'), contender.replace('-', "_"));
    pool.execute(AssertSqlSafe(format!("CREATE DATABASE `{name}`"))).await?;
    let mut url = url.clone();
    url.set_path(&name);
    let own = MySqlPool::connect(url.as_str()).await?;
    platform::create(&own, args.videos, 1).await?;
    platform::drop_foreign_keys(&own).await?;

    let application = Application::start(url.as_str(), args.load).await?;
    tokio::time::sleep(WARM_UP).await;
    application.take("warming up")?;
    let impacts = match (contender, program) {
        (_, Some(program)) => {
            let arguments = if contender == "gh-ost" { gh_ost(&url) } else { spirit(&url) };
            let process = Process::start_program(program, url.as_str(), &arguments)?;
            let status = process.end().await?;
            ensure!(status.success(), "it ended with {status}");
            vec![application.take(contender)?]
        }
        ("reelshift", None) => {
            let mut impacts = migration::run(url.as_str(), &args.migration, &application).await?;
            impacts.extend(migration::back(url.as_str(), &args.migration, &application).await?);
            impacts
        }
        _ => {
            tokio::time::sleep(Duration::from_secs(args.idle)).await;
            vec![application.take(contender)?]
        }
    };
    application.stop().await?;
    if contender != "reelshift" {
        impacts.iter().for_each(Impact::announce);
    }
    pool.execute(AssertSqlSafe(format!("DROP DATABASE `{name}`"))).await?;
    Ok(impacts)
}

fn gh_ost(url: &Url) -> Vec<String> {
    let mut arguments: Vec<String> = [
        format!("--host={}", url.host_str().unwrap_or_default()),
        format!("--port={}", url.port().unwrap_or(3306)),
        format!("--user={}", url.username()),
        format!("--password={}", url.password().unwrap_or_default()),
        format!("--database={}", url.path().trim_matches('/')),
        format!("--alter={}", specification::whole_alter()),
    ]
    .into();
    arguments.extend(
        ["--table=videos", "--allow-on-master", "--execute", "--initially-drop-socket-file"]
            .map(str::to_owned),
    );
    arguments
}

fn spirit(url: &Url) -> Vec<String> {
    [
        "migrate".to_owned(),
        format!("--host={}:{}", url.host_str().unwrap_or_default(), url.port().unwrap_or(3306)),
        format!("--username={}", url.username()),
        format!("--password={}", url.password().unwrap_or_default()),
        format!("--database={}", url.path().trim_matches('/')),
        format!("--statement=ALTER TABLE videos {}", specification::whole_alter()),
    ]
    .into()
}
