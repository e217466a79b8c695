//! What the throttle leaves to a process that is no worker but writes to the same tables.
//!
//! It goes by what a live worker publishes. Where none is, it samples for itself: nothing is
//! published then, since no duty of the fleet's is taken.

use reelshift_plan::throttle::{Allowance, MIN_CHUNKS};
use reelshift_store::report::throttle::fresh_state;
use reelshift_store::{Result, SharedStore};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::{Sampling, SignalSources, TICK, TICKS};

/// Follows the throttle until the task is dropped, for a process that would write up to
/// `capacity` chunks at once. The first answer is there when this returns.
///
/// # Errors
/// When the database cannot be asked.
pub async fn watch_allowance(
    store: SharedStore,
    sources: SignalSources,
    capacity: u32,
) -> Result<(watch::Receiver<Allowance>, AbortOnDropHandle<()>)> {
    let (first, mut reason) = {
        let mut sampling = Sampling::new(&store, &sources, capacity, None);
        allowance(&store, &mut sampling).await?
    };
    let (sender, allowed) = watch::channel(first);
    let task = tokio::spawn(async move {
        let mut sampling = Sampling::new(&store, &sources, capacity, None);
        let mut logged = None;
        loop {
            if reason != logged {
                match &reason {
                    Some(reason) => tracing::warn!(reason, "writing is held back"),
                    None => tracing::info!("writing is no longer held back"),
                }
                logged.clone_from(&reason);
            }
            for _ in 0..TICKS {
                sampling.tick().await;
                tokio::time::sleep(TICK).await;
            }
            let (allowance, why) = match allowance(&store, &mut sampling).await {
                Ok(sampled) => sampled,
                Err(error) => {
                    let last = *sender.borrow();
                    let chunks = last.chunks.min(MIN_CHUNKS);
                    let why = format!("the throttle cannot be read: {error}");
                    (Allowance { chunks, ..last }, Some(why))
                }
            };
            sender.send_replace(allowance);
            reason = why;
        }
    });
    Ok((allowed, AbortOnDropHandle::new(task)))
}

/// What is allowed, and why it is not everything.
async fn allowance(
    store: &SharedStore,
    sampling: &mut Sampling<'_>,
) -> Result<(Allowance, Option<String>)> {
    let view = store.fleet_view(Uuid::nil()).await?;
    let allowed = |chunks| Allowance { chunks, target: view.tuning.chunk_target };
    if view.paused.is_some() {
        return Ok((allowed(0.0), Some("the fleet is paused".to_owned())));
    }
    if !view.tuning.throttle {
        return Ok((allowed(f64::from(sampling.capacity)), None));
    }
    let state = match fresh_state(&view.duties) {
        Some(published) => published,
        None => sampling.sample(&view.tuning).await?,
    };
    // The signal without its figure, which changes with every sample.
    let throttled = state.level.is_throttled() && state.chunks < 1.0;
    let signal = state.reason.as_ref().filter(|_| throttled);
    Ok((allowed(state.chunks), signal.map(|reading| reading.signal.name().to_owned())))
}
