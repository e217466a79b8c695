//! The whole migration as an operator types it, phase by phase beside an application.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use crate::application::{Application, Impact};
use crate::process::Process;

/// Statements that were prepared before a phase are executed after it, too.
const AFTERWARDS: Duration = Duration::from_secs(1);
/// `reelshift` changed nothing, for safety.
const REFUSED: i32 = 4;

#[derive(Debug, Args)]
pub struct Migration {
    /// Worker processes during the backfill
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// How long `apply` and `rollback` wait for a free moment, such as 60s; reelshift's own
    /// default otherwise
    #[arg(long, value_name = "DURATION")]
    lock_patience: Option<String>,
}

impl Migration {
    fn patient(&self, command: &[&str]) -> Vec<String> {
        let patience =
            self.lock_patience.iter().flat_map(|time| ["--lock-patience", time.as_str()]);
        command.iter().copied().chain(patience).map(str::to_owned).collect()
    }
}

/// All phases and the proof. A phase that was refused has left everything as it was.
pub async fn run(
    database: &str,
    migration: &Migration,
    application: &Application,
) -> Result<Vec<Impact>> {
    let workers = vec![words(&["work", "--until-idle"]); migration.workers];
    let mut impacts = Vec::new();
    for (phase, steps) in [
        ("expand", vec![vec![migration.patient(&["apply", "expand"])]]),
        ("backfill", vec![vec![words(&["enqueue", "backfill"])], workers]),
        ("index", vec![vec![migration.patient(&["apply", "index"])]]),
        ("automate", vec![vec![migration.patient(&["apply", "automate"])]]),
        ("validate", vec![vec![words(&["validate"])]]),
    ] {
        let (impact, done) = observe(database, application, phase, &steps).await?;
        impacts.push(impact);
        if !done && phase == "expand" {
            // What an operator does then: the same in a quieter hour.
            application.pause();
            let done = execute(database, &steps).await?;
            application.resume();
            if !done {
                bail!("the expansion was refused though nobody used the table");
            }
        }
    }
    Ok(impacts)
}

/// The rollback, with an archive.
pub async fn back(
    database: &str,
    migration: &Migration,
    application: &Application,
) -> Result<Vec<Impact>> {
    let archive = tempfile::tempdir()?;
    let archive = archive.path().to_string_lossy();
    let rollback = migration.patient(&["rollback", "--archive", &archive]);
    let (impact, _) = observe(database, application, "rollback", &[vec![rollback]]).await?;
    Ok(vec![impact])
}

fn words(command: &[&str]) -> Vec<String> {
    command.iter().copied().map(str::to_owned).collect()
}

/// Runs `steps` one after another, the commands of each at once. Returns whether it was done
/// or refused.
async fn execute(database: &str, steps: &[Vec<Vec<String>>]) -> Result<bool> {
    let mut done = true;
    for commands in steps {
        let processes: Result<Vec<_>> =
            commands.iter().map(|command| Process::start(database, command)).collect();
        for (process, command) in processes?.into_iter().zip(commands) {
            match process.end().await?.code() {
                Some(0) => {}
                Some(REFUSED) => done = false,
                code => bail!("reelshift {command:?} ended with {code:?}"),
            }
        }
    }
    Ok(done)
}

/// As [`execute`], with what the application noticed.
async fn observe(
    database: &str,
    application: &Application,
    phase: &str,
    steps: &[Vec<Vec<String>>],
) -> Result<(Impact, bool)> {
    application.take("between two phases")?;
    let done = execute(database, steps).await?;
    // What a phase leaves behind is part of it.
    tokio::time::sleep(AFTERWARDS).await;
    let during = if done { phase.to_owned() } else { format!("{phase} (refused)") };
    let impact = application.take(&during)?;
    impact.announce();
    Ok((impact, done))
}
