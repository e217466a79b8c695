//! Batches a second with a handler that does nothing, and how long a claim takes: our queue
//! with an empty ledger and with a million finished batches, and the peers, in one run.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;
use sqlx::{AssertSqlSafe, MySqlPool};

use crate::claims::{self, Latency};
use crate::empty;
use crate::process::Process;

/// A contender that is slow is not waited for to its end.
const MOST: Duration = Duration::from_secs(15);
/// One that never begins is not waited for at all.
const BEGINS: Duration = Duration::from_secs(20);

#[derive(Debug, Args)]
pub struct DispatchArgs {
    /// Jobs of each contender; none leaves the contest out
    #[arg(long, default_value_t = 20_000)]
    jobs: u64,
    /// Jobs of each round of the comparison with finished batches
    #[arg(long, default_value_t = 20_000)]
    own_jobs: u64,
    /// Finished batches to compare an empty ledger with
    #[arg(long, default_value_t = 1_000_000)]
    finished: u64,
    /// Rounds of that comparison, none for no comparison; the median counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Processes of each contender, in turn
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4])]
    processes: Vec<usize>,
    /// The program of crates/bench/peers
    #[arg(long, value_name = "PROGRAM")]
    peers: Option<PathBuf>,
}

/// One contender with some processes.
#[derive(Debug, Serialize)]
struct Line {
    name: String,
    processes: usize,
    jobs_per_second: f64,
    claim: Option<Latency>,
}

/// How a contender is prepared, started and watched.
struct Contender<'a> {
    program: &'a Path,
    work: &'a [&'a str],
    /// Jobs that are not finished.
    left: &'a str,
}

pub async fn run(database: &str, args: &DispatchArgs) -> Result<()> {
    let pool = MySqlPool::connect(database).await?;
    // The ledger needs to know what the key of `videos` is.
    crate::legacy::fill(&pool, 1, 1).await?;
    Process::start(database, &["apply", "expand"])?.finish().await?;
    let this = std::env::current_exe()?;
    let ours = Contender {
        program: &this,
        work: &[empty::COMMAND],
        // By the claim index: looking must not cost more with more that is finished.
        left: "SELECT COUNT(*) FROM reelshift_batches \
               WHERE run_id = (SELECT id FROM reelshift_runs) AND state IN ('pending', 'leased')",
    };

    let mut lines = Vec::new();
    for &processes in args.processes.iter().filter(|_| args.jobs > 0) {
        empty::enqueue(database, &empty::clear(database, 0).await?, args.jobs).await?;
        let claim = claims::ours(database).await?;
        let run = empty::clear(database, 0).await?;
        let enqueued = empty::enqueue(database, &run, args.jobs).await?;
        eprintln!("enqueued at {enqueued:.0} batches/s");
        lines.push(measure(database, &pool, "reelshift", processes, &ours, Some(claim)).await?);
    }
    if let Some(program) = &args.peers {
        peers(database, &pool, program, args, &mut lines).await?;
    }
    for &processes in args.processes.iter().filter(|_| args.rounds > 0) {
        history(database, &pool, args, processes, &ours, &mut lines).await?;
    }
    println!("| Queue | Processes | Jobs/s | Claim p50 ms | Claim p99 ms |");
    println!("|---|---:|---:|---:|---:|");
    for line in &lines {
        let claim = line
            .claim
            .as_ref()
            .map_or(" | ".to_owned(), |claim| format!("{:.2} | {:.2}", claim.p50_ms, claim.p99_ms));
        println!("| {} | {} | {:.0} | {claim} |", line.name, line.processes, line.jobs_per_second);
    }
    println!("\n{}", serde_json::to_string_pretty(&lines)?);
    Ok(())
}

async fn peers(
    database: &str,
    pool: &MySqlPool,
    program: &Path,
    args: &DispatchArgs,
    lines: &mut Vec<Line>,
) -> Result<()> {
    let apalis = "SELECT COUNT(*) FROM jobs WHERE status IN ('Pending', 'Running')";
    for (name, peer, left) in [
        ("apalis-sql 0.7, as it comes", "apalis", apalis),
        ("apalis-sql 0.7, tuned", "apalis-tuned", apalis),
        ("fang 0.11", "fang", "SELECT COUNT(*) FROM fang_tasks"),
    ] {
        let prepare = async || {
            let count = args.jobs.to_string();
            Process::start_program(program, database, &[peer, "prepare", &count])?.finish().await
        };
        prepare().await?;
        let claim = claims::peers(program, database, peer).await?;
        for &processes in &args.processes {
            prepare().await?;
            let contender = Contender { program, work: &[peer, "work"], left };
            let claim = Some(claim.clone());
            lines.push(measure(database, pool, name, processes, &contender, claim).await?);
        }
    }
    Ok(())
}

/// The same number of jobs without and with finished batches of the same run, in turn: each
/// in a database of its own, so that both see the machine as busy.
async fn history(
    database: &str,
    pool: &MySqlPool,
    args: &DispatchArgs,
    processes: usize,
    ours: &Contender<'_>,
    lines: &mut Vec<Line>,
) -> Result<()> {
    let long = format!("{database}_history{processes}");
    let name = long.rsplit_once('/').map_or("", |(_, name)| name);
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE `{name}`"))).execute(pool).await?;
    let long_pool = MySqlPool::connect(&long).await?;
    crate::legacy::fill(&long_pool, 1, 1).await?;
    Process::start(&long, &["apply", "expand"])?.finish().await?;
    let ledgers = [
        (database, pool, empty::clear(database, 0).await?),
        (&long, &long_pool, empty::clear(&long, args.finished).await?),
    ];
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..args.rounds {
        for ((database, pool, run), rates) in ledgers.iter().zip(&mut rates) {
            empty::enqueue(database, run, args.own_jobs).await?;
            empty::settle(database).await?;
            let line = measure(database, pool, "reelshift", processes, ours, None).await?;
            rates.push(line.jobs_per_second);
        }
    }
    let [without, with] = rates.map(median);
    let compared = format!("reelshift, {} finished: {:.2} of that", args.finished, with / without);
    let names = ["reelshift, nothing finished at first".to_owned(), compared];
    for (((database, _, run), name), rate) in ledgers.iter().zip(names).zip([without, with]) {
        empty::enqueue(database, run, args.own_jobs).await?;
        let claim = Some(claims::ours(database).await?);
        lines.push(Line { name, processes, jobs_per_second: rate, claim });
    }
    Ok(())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(0.0)
}

/// Starts the processes; the rate from the first finished job that is seen to the last one.
async fn measure(
    database: &str,
    pool: &MySqlPool,
    name: &str,
    processes: usize,
    contender: &Contender<'_>,
    claim: Option<Latency>,
) -> Result<Line> {
    let left = async || -> Result<i64> {
        Ok(sqlx::query_scalar(AssertSqlSafe(contender.left)).fetch_one(pool).await?)
    };
    let all = left().await?;
    let mut running = (0..processes)
        .map(|_| Process::start_program(contender.program, database, contender.work))
        .collect::<Result<Vec<_>>>()?;
    let started = Instant::now();
    let (began, first) = loop {
        let now = left().await?;
        if now < all {
            break (Instant::now(), now);
        }
        if started.elapsed() > BEGINS {
            bail!("{name} finished no job within {BEGINS:?}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let mut last = first;
    while last > 0 && began.elapsed() < MOST {
        tokio::time::sleep(Duration::from_millis(50)).await;
        for process in &mut running {
            process.runs()?;
        }
        last = left().await?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let jobs_per_second = (first - last) as f64 / began.elapsed().as_secs_f64();
    for mut process in running {
        process.kill().await?;
    }
    eprintln!("{name}, {processes} processes: {jobs_per_second:.0} jobs/s");
    Ok(Line { name: name.to_owned(), processes, jobs_per_second, claim })
}
