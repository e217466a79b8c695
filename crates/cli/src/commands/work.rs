//! `work`: this process as a worker of the fleet.

mod health;
mod progress;

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::Result;
use rand::RngExt as _;
use reelshift_plan::connections::of_pool;
use reelshift_queue::{Pulse, retry_start};
use reelshift_store::{SharedStore, StoreError};
use reelshift_store_mysql::has_no_connection_left;
use reelshift_worker::{ExitReport, FileOptions, HashOptions, Until, WorkerError, WorkerOptions};

use crate::args::WorkArgs;
use crate::commands::status;
use crate::context::{Context, host};
use crate::exit::{Failed, Interrupted, Outcome};
use crate::style::plural;

/// Between two looks for a place in the fleet.
const ROOM_PAUSE: Duration = Duration::from_secs(4);

pub async fn run(context: &Context, args: &WorkArgs) -> Result<Outcome> {
    let hashing = HashOptions {
        backend: args.backend.choose()?,
        checkpoint_every: args.checkpoint_every,
        stall_timeout: args.stall_timeout,
        trust_checksums: context.trusted_checksums(&args.checksums)?,
    };
    let files = context.media_root.clone().map(|media_root| FileOptions {
        media_root,
        media_prefix: context.media_prefix.clone(),
        hashing,
    });
    let concurrency = args
        .concurrency
        .or(context.concurrency)
        .map_or_else(|| available_parallelism().map_or(1, usize::from), usize::from);
    let connections = of_pool(u32::try_from(concurrency).unwrap_or(u32::MAX));
    let pulse = Arc::new(Pulse::default());
    let served = match args.health {
        Some(address) => Some(health::serve(context, address, Arc::clone(&pulse)).await?),
        None => None,
    };
    let options = || -> Result<WorkerOptions> {
        Ok(WorkerOptions {
            id: context.process.instance,
            pulse: Arc::clone(&pulse),
            concurrency,
            files: files.clone(),
            until: if args.until_idle { Until::Idle } else { Until::Stopped },
            times: args.lease.times(),
            signals: context.signals(&args.replicas)?,
            host: host(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    };
    let (store, left) = loop {
        let why = match work(context, connections, options()?).await {
            Err(error) if wants_room(&error) => error.to_string(),
            worked => break worked?,
        };
        if !wait_for_room(context, &why).await {
            return if args.until_idle {
                Err(Interrupted::GOES_ON.into())
            } else {
                Ok(Outcome::Done)
            };
        }
    };
    tracing::info!("this worker has left the fleet");
    drop(served);
    if left.unrecorded > 0 {
        return Err(Failed(format!(
            "{} did not get into the error log, since the database was away: their batches go on \
             elsewhere",
            plural(left.unrecorded, "failure", "failures")
        ))
        .into());
    }
    if !args.until_idle {
        return Ok(Outcome::Done);
    }
    if context.stop.is_cancelled() {
        return Err(Interrupted::GOES_ON.into());
    }
    let snapshot = store.ledger_report(status::RUNS).await?;
    if context.json {
        context.print_json(&snapshot)?;
    }
    let aside: u64 = snapshot.runs.iter().map(|run| run.quarantined).sum();
    if aside > 0 && context.draws() {
        let aside = plural(aside, "item is", "items are");
        crate::output::note!("{aside} set aside. Next: reelshift errors");
    }
    Ok(status::outcome(&snapshot))
}

/// Works in the fleet until its end; returns the store, and what is left behind.
async fn work(
    context: &Context,
    connections: u32,
    options: WorkerOptions,
) -> Result<(SharedStore, ExitReport)> {
    let is_transient =
        |error: &anyhow::Error| error.downcast_ref().is_some_and(StoreError::is_transient);
    let open = retry_start(is_transient, async || context.writing_store(connections).await);
    let store = context.until_stopped(open).await?;
    let until = options.until;
    let work = reelshift_worker::run(store.clone(), options, context.stop.child_token());
    let worked = if context.draws() {
        progress::beside(store.clone(), context.process.instance, work).await
    } else {
        work.await
    };
    let left = match worked {
        // Others have done what there was to do.
        Err(WorkerError::NoRoom(_)) if until == Until::Idle && !store.has_open_work().await? => {
            ExitReport { unrecorded: 0 }
        }
        worked => worked?,
    };
    Ok((store, left))
}

/// Waits before the worker tries again to join the fleet. Returns `false` when somebody
/// stops the process before that.
pub async fn wait_for_room(context: &Context, why: &str) -> bool {
    tracing::warn!(why, "this worker waits for connections of the server");
    // Not all workers look at once.
    let pause = ROOM_PAUSE.mul_f64(rand::rng().random_range(0.5..1.5));
    context.stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some()
}

/// Whether the server has no connections for this worker. By now it has given its own back.
fn wants_room(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(WorkerError::NoRoom(_)))
        || error.downcast_ref().is_some_and(has_no_connection_left)
}
