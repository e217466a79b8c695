//! What any worker does for the fleet beside its batches: runs whose batches are done are
//! settled, backfills are swept, plans whose producer died are finished, runs that mostly
//! fail are paused; and a worker that is to return at some end notices it.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use reelshift_plan::{JobKind, RunState};
use reelshift_producer::{Planned, Producer};
use reelshift_queue::{Fatal, Lottery};
use reelshift_store::{Result, SharedStore};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Until;
use crate::controls::Controls;

/// How often a worker looks after the runs; jittered, so that a fleet does not do it in step.
const PERIOD: Duration = Duration::from_millis(500);
/// How often a worker without a media root says that hash batches wait for another.
const REMIND: Duration = Duration::from_secs(30);

/// What the upkeep of this worker needs.
#[derive(Debug)]
pub(crate) struct UpkeepOptions {
    pub until: Until,
    /// Whether this worker takes hash batches.
    pub hashes: bool,
    /// Where an error that ends the worker is told.
    pub fatal: Arc<Fatal>,
    pub lottery: Arc<Lottery>,
}

/// Looks after the fleet until `stop` is cancelled, which it does itself when idle.
pub(crate) async fn run(
    producer: Producer,
    store: SharedStore,
    controls: Controls,
    duties: UpkeepOptions,
    stop: CancellationToken,
) {
    let mut reminded: Option<Instant> = None;
    while !stop.is_cancelled() {
        // Who waits for the end has to look for it.
        let looks = duties.until != Until::Stopped || duties.lottery.wins();
        match maybe(looks, round(&producer, &store, &controls, duties.until, &stop)).await {
            Ok(None) => {}
            Ok(Some(Round::Over)) => {
                stop.cancel();
                return;
            }
            Ok(Some(Round::Open { hash })) => {
                let remind = reminded.is_none_or(|at| at.elapsed() >= REMIND);
                let waits = matches!(duties.until, Until::Stopped | Until::Idle);
                if hash && waits && !duties.hashes && remind {
                    tracing::warn!(
                        "hash batches wait for a worker with --media-root; this one has none"
                    );
                    reminded = Some(Instant::now());
                }
            }
            Err(error) if duties.fatal.stop_if_fatal(&error) => return,
            Err(error) => tracing::warn!(%error, "could not look after the runs, trying again"),
        }
        let pause = PERIOD.mul_f64(rand::rng().random_range(0.5..1.5));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn maybe<T>(looks: bool, round: impl Future<Output = Result<T>>) -> Result<Option<T>> {
    if looks { round.await.map(Some) } else { Ok(None) }
}

/// What was found in the fleet.
enum Round {
    /// This worker is to return.
    Over,
    /// Whether hash runs are active.
    Open { hash: bool },
}

async fn round(
    producer: &Producer,
    store: &SharedStore,
    controls: &Controls,
    until: Until,
    stop: &CancellationToken,
) -> Result<Round> {
    for run in store.pause_failing().await? {
        tracing::error!(run = %run.id, reason = run.reason, "the run paused itself");
    }
    let mut hash = false;
    for run in store.active_runs(None).await? {
        hash |= run.kind == JobKind::Hash;
        let state = match run.state {
            RunState::Running => store.settle(run.id).await?,
            state => state,
        };
        if matches!(state, RunState::Planning | RunState::Sweeping)
            && !controls.paused()
            && let Some(Planned::Complete(state)) = plan(producer, controls, run.id, stop).await?
        {
            tracing::info!(run = %run.id, %state, "all batches of the run are planned");
        }
    }
    let is_over = match until {
        Until::Stopped => false,
        Until::Idle => !store.has_open_work().await?,
        Until::Ended(run) => store.run(run).await?.is_none_or(|run| !run.state.is_active()),
    };
    Ok(if is_over { Round::Over } else { Round::Open { hash } })
}

/// Plans for the fleet until the fleet is paused.
async fn plan(
    producer: &Producer,
    controls: &Controls,
    run: Uuid,
    stop: &CancellationToken,
) -> Result<Option<Planned>> {
    let stop = stop.child_token();
    let mut planning = pin!(producer.resume(run, &stop));
    tokio::select! {
        planned = &mut planning => planned,
        () = controls.until_paused() => {
            stop.cancel();
            planning.await
        }
    }
}
