//! How long every page takes beside a fleet at work on a large ledger, and how large the
//! updates are that a browser gets of it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use serde::Serialize;
use sqlx::MySqlPool;
use tokio::time::sleep;

use super::ServeArgs;
use super::http::{Connection, bursts};
use crate::legacy;
use crate::process::Process;

/// A batch has so few, so that there are many batches.
const ROWS_OF_A_BATCH: u32 = 10;

/// The pages whose address is the same in each database, and the API's answers like them.
const PATHS: [&str; 19] = [
    "/",
    "/runs",
    "/failures",
    "/workers",
    "/controls",
    "/activity",
    "/history",
    "/duplicates",
    "/report",
    "/failures?query=cause:database_error",
    "/api/v1/status",
    "/api/v1/runs",
    "/api/v1/batches",
    "/api/v1/errors",
    "/api/v1/errors/groups",
    "/api/v1/quarantine",
    "/api/v1/workers",
    "/api/v1/audit",
    "/metrics",
];

/// What a browser holds open.
const STREAMS: [&str; 6] = [
    "/live/overview",
    "/live/runs",
    "/live/failures",
    "/live/workers",
    "/live/controls",
    "/api/v1/status/stream",
];

/// A row in 64 is refused, so that there are failures to show.
const REFUSES: &str = "CREATE TRIGGER bench_refuses BEFORE UPDATE ON videos FOR EACH ROW
    IF LEFT(NEW.id, 2) IN ('1f', '5f', '9f', 'df') THEN
      SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'refused by the benchmark';
    END IF";

#[derive(Debug, Serialize)]
struct Figures {
    server: String,
    videos: u32,
    batches: i64,
    batches_done: i64,
    quarantined: i64,
    pages: Vec<Page>,
    streams: Vec<Stream>,
}

#[derive(Debug, Serialize)]
struct Page {
    path: String,
    p50_ms: f64,
    p95_ms: f64,
    longest_ms: f64,
    kib: usize,
}

#[derive(Debug, Serialize)]
struct Stream {
    path: &'static str,
    updates: usize,
    /// The first one, which has everything.
    first_kib: f64,
    /// The largest of the others.
    largest_kib: f64,
}

pub async fn run(database: &str, pool: &MySqlPool, args: &ServeArgs) -> Result<()> {
    eprintln!("making {} legacy videos", args.videos);
    legacy::fill(pool, args.videos, 1).await?;
    Process::start(database, &["apply", "expand"])?.finish().await?;
    sqlx::raw_sql(REFUSES).execute(pool).await?;
    let rows = ROWS_OF_A_BATCH.to_string();
    Process::start(database, &["enqueue", "backfill", "--batch-size", &rows])?.finish().await?;
    let (_server, port) = super::replica(database).await?;
    let mut workers = [Process::start(database, &["work"])?, Process::start(database, &["work"])?];
    let wanted = i64::from(args.videos / ROWS_OF_A_BATCH / 3);
    while batches(pool, "done").await? < wanted {
        for worker in &mut workers {
            worker.runs()?;
        }
        sleep(Duration::from_secs(2)).await;
    }

    eprintln!("reading every page for {} s", args.seconds);
    let mut paths: Vec<String> = PATHS.map(str::to_owned).into();
    for (of, sql) in [
        ("runs", "SELECT id FROM reelshift_runs LIMIT 1"),
        ("batches", "SELECT id FROM reelshift_batches WHERE state = 'done' LIMIT 1"),
        ("videos", "SELECT id FROM videos LIMIT 1"),
        ("workers", "SELECT id FROM reelshift_workers LIMIT 1"),
        ("errors", "SELECT id FROM processing_error_log LIMIT 1"),
    ] {
        let id: String = sqlx::query_scalar(sql).fetch_one(pool).await?;
        if of == "runs" {
            paths.push(format!("/api/v1/runs/{id}"));
            paths.push(format!("/api/v1/batches?run={id}&state=pending&summary=true"));
        }
        paths.push(format!("/{of}/{id}"));
    }
    let mut connection = Connection::open(port).await?;
    let mut times = vec![Histogram::<u64>::new(3)?; paths.len()];
    let mut sizes = vec![0; paths.len()];
    let until = Instant::now() + Duration::from_secs(args.seconds);
    while Instant::now() < until {
        for ((path, times), size) in paths.iter().zip(&mut times).zip(&mut sizes) {
            let began = Instant::now();
            let status = connection.get(path).await?;
            if status != 200 {
                bail!("{path} was answered with {status}");
            }
            times.record(u64::try_from(began.elapsed().as_micros())?)?;
            *size = connection.body().len() / 1_024;
        }
    }
    let mut streams = Vec::new();
    for path in STREAMS {
        let sizes = bursts(port, path, Duration::from_secs(8)).await?;
        let [first, others @ ..] = &sizes[..] else { bail!("{path} says nothing") };
        let largest = others.iter().max().with_context(|| format!("{path} says nothing new"))?;
        let (first_kib, largest_kib) = (kib(*first), kib(*largest));
        streams.push(Stream { path, updates: others.len(), first_kib, largest_kib });
    }
    let quarantined = "SELECT COUNT(*) FROM reelshift_quarantine";
    let figures = Figures {
        server: sqlx::query_scalar("SELECT VERSION()").fetch_one(pool).await?,
        videos: args.videos,
        batches: sqlx::query_scalar("SELECT COUNT(*) FROM reelshift_batches")
            .fetch_one(pool)
            .await?,
        batches_done: batches(pool, "done").await?,
        quarantined: sqlx::query_scalar(quarantined).fetch_one(pool).await?,
        pages: paths.into_iter().zip(&times).zip(sizes).map(page).collect(),
        streams,
    };
    println!("{}", serde_json::to_string_pretty(&figures)?);
    if !workers.iter_mut().any(|worker| worker.runs().unwrap_or(false)) {
        bail!("the workers ended before the reading did");
    }
    if figures.batches == figures.batches_done {
        bail!("the backfill ended before the reading did: use more videos");
    }
    Ok(())
}

async fn batches(pool: &MySqlPool, state: &str) -> Result<i64> {
    let sql = "SELECT COUNT(*) FROM reelshift_batches WHERE state = ?";
    Ok(sqlx::query_scalar(sql).bind(state).fetch_one(pool).await?)
}

fn page(((path, times), kib): ((String, &Histogram<u64>), usize)) -> Page {
    #[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
    let ms = |micros: u64| micros as f64 / 1_000.0;
    Page {
        path,
        p50_ms: ms(times.value_at_quantile(0.5)),
        p95_ms: ms(times.value_at_quantile(0.95)),
        longest_ms: ms(times.max()),
        kib,
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn kib(bytes: usize) -> f64 {
    bytes as f64 / 1_024.0
}
