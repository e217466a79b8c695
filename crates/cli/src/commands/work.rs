//! `work`: this process as a worker of the fleet.

mod health;
mod progress;

use std::sync::Arc;
use std::thread::available_parallelism;

use anyhow::Result;
use reelshift_plan::tuning::MAX_CONCURRENCY;
use reelshift_queue::{Pulse, retry_start};
use reelshift_store::StoreError;
use reelshift_worker::{FileOptions, HashOptions, Until, WorkerOptions};

use crate::args::WorkArgs;
use crate::commands::status;
use crate::context::{Context, host};
use crate::exit::{Failed, Outcome};
use crate::style::plural;

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
    // A connection for each chunk that is being written, and some for claiming, ending,
    // beating and upkeep, so that none of these waits for a chunk.
    // They are opened as they are needed: what `tune concurrency=…` may ask for costs
    // nothing until then.
    let most = u32::try_from(concurrency).unwrap_or(u32::MAX).max(MAX_CONCURRENCY);
    let connections = most.saturating_add(5);
    let is_transient =
        |error: &anyhow::Error| error.downcast_ref().is_some_and(StoreError::is_transient);
    let open = retry_start(is_transient, async || context.writing_store(connections).await);
    let store = context.until_stopped(open).await?;
    let pulse = Arc::new(Pulse::default());
    let served = match args.health {
        Some(address) => Some(health::serve(context, address, Arc::clone(&pulse)).await?),
        None => None,
    };
    let options = WorkerOptions {
        id: context.process.instance,
        pulse,
        concurrency,
        files,
        until: if args.until_idle { Until::Idle } else { Until::Stopped },
        times: args.lease.times(),
        signals: context.signals(&args.replicas)?,
        host: host(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let work = reelshift_worker::run(store.clone(), options, context.stop.clone());
    let left = if context.draws() {
        progress::beside(store.clone(), context.process.instance, work).await?
    } else {
        work.await?
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
    let snapshot = store.ledger_report(status::RUNS).await?;
    if context.json {
        context.print_json(&snapshot)?;
    }
    Ok(status::outcome(&snapshot))
}
