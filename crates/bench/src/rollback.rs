//! There and back: a backfill, `validate`, a rollback with an archive, and `restore`, each
//! timed with nothing beside it.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;
use sqlx::MySqlPool;

use crate::legacy;
use crate::process::Process;

#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// Videos in the table
    #[arg(long, default_value_t = 100_000)]
    videos: u32,
}

/// One command: its time, and videos in a second of it.
#[derive(Debug, Serialize)]
struct Timed {
    seconds: f64,
    videos_per_second: f64,
    largest_mib: u64,
}

#[derive(Debug, Serialize)]
struct Figures {
    videos: u32,
    backfill: Timed,
    validate: Timed,
    rollback_with_archive: Timed,
    restore: Timed,
    /// Everything is there already.
    restore_again: Timed,
}

pub async fn run(database: &str, args: &RollbackArgs) -> Result<()> {
    let pool = MySqlPool::connect(database).await?;
    eprintln!("making {} legacy videos", args.videos);
    legacy::fill(&pool, args.videos, 1).await?;
    let scratch = tempfile::tempdir()?;
    let archive = scratch.path().join("archive");
    let archive = archive.to_str().context("the temporary directory is not UTF-8")?;

    run_quietly(database, &["apply", "expand"]).await?;
    run_quietly(database, &["enqueue", "backfill"]).await?;
    let backfill = timed(database, args.videos, &["work", "--until-idle"]).await?;
    // What a hash run and the platform leave behind: values of each video's own.
    sqlx::query(
        "UPDATE videos SET file_hash = SHA2(id, 256), processing_node_id = LEFT(id, 8), \
         updated_at = updated_at",
    )
    .execute(&pool)
    .await?;
    let validate = timed(database, args.videos, &["validate"]).await?;
    let back = ["rollback", "--archive", archive];
    let rollback_with_archive = timed(database, args.videos, &back).await?;
    run_quietly(database, &["apply", "expand"]).await?;
    let restore = timed(database, args.videos, &["restore", archive]).await?;
    let there: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM videos v JOIN video_processing_status s ON s.video_id = v.id \
         WHERE v.file_hash = SHA2(v.id, 256)",
    )
    .fetch_one(&pool)
    .await?;
    ensure!(there == i64::from(args.videos), "{there} videos came back");
    let restore_again = timed(database, args.videos, &["restore", archive]).await?;
    let figures = Figures {
        videos: args.videos,
        backfill,
        validate,
        rollback_with_archive,
        restore,
        restore_again,
    };
    println!("{}", serde_json::to_string_pretty(&figures)?);
    Ok(())
}

async fn run_quietly(database: &str, arguments: &[&str]) -> Result<()> {
    Process::start(database, arguments)?.finish().await.map(|_| ())
}

async fn timed(database: &str, videos: u32, arguments: &[&str]) -> Result<Timed> {
    eprintln!("reelshift {}", arguments.join(" "));
    let began = Instant::now();
    let largest = Process::start(database, arguments)?.finish().await?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(Timed {
        seconds,
        videos_per_second: f64::from(videos) / seconds,
        largest_mib: largest >> 20,
    })
}
