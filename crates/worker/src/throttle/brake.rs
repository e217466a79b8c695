//! What this worker makes of the throttle: how many chunks it runs at once, and how long
//! it rests between two.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reelshift_plan::Tuning;
use reelshift_plan::throttle::{MIN_CHUNKS, at_once, rest};
use reelshift_store::controls::FleetView;
use reelshift_store::report::ThrottleReport;
use reelshift_store::report::throttle::STALE;
use tokio_util::sync::CancellationToken;

use crate::controls::{Controls, FleetState};

/// How many batches of a kind a worker works on at once that was started with `own`: its part of
/// the fleet's, by its rank; none where the server's connections are enough for others only.
pub(crate) fn batches_here(view: &FleetView, own: u32, throttle: &ThrottleReport) -> u32 {
    share(view, own, throttle, u32::MAX)
}

/// How many of them are backfill chunks: its part of those that the throttle leaves the fleet.
pub(crate) fn chunks_here(view: &FleetView, own: u32, throttle: &ThrottleReport) -> u32 {
    share(view, own, throttle, at_once(throttle.chunks))
}

fn share(view: &FleetView, own: u32, throttle: &ThrottleReport, fleet: u32) -> u32 {
    let working = throttle.workers.map_or(view.live, |workers| workers.min(view.live));
    if view.rank >= working.max(1) {
        return 0;
    }
    let fleet = view.tuning.fleet_concurrency.map_or(fleet, |tuned| tuned.min(fleet));
    let tuning = Tuning { fleet_concurrency: Some(fleet), ..view.tuning.clone() };
    tuning.share(own, view.rank, working)
}

/// Holds chunks back.
pub(crate) struct Brake {
    controls: Controls,
    /// When the last chunk ended, and how long it took. Where the fleet rests it runs one
    /// chunk at a time, so there is but one last chunk.
    last: Mutex<Option<(Instant, Duration)>>,
}

impl Brake {
    pub(crate) fn new(controls: Controls) -> Self {
        Self { controls, last: Mutex::new(None) }
    }

    /// A chunk took `time`.
    pub(crate) fn took(&self, time: Duration) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), time));
    }

    /// Waits until the next chunk may start, which is in no rest of the whole fleet; or until
    /// `stop` is cancelled, or none may start at all, which the gate then says.
    pub(crate) async fn rest(&self, stop: &CancellationToken) {
        let mut state = self.controls.changes();
        loop {
            let (chunks, fleet_rests) = {
                let state = state.borrow_and_update();
                (chunks_of(&state), state.rest_left())
            };
            let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let own = last.map_or(Duration::ZERO, |(ended, took)| {
                rest(chunks, took).unwrap_or_default().saturating_sub(ended.elapsed())
            });
            let left = own.max(fleet_rests);
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                changed = state.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
        }
    }
}

fn chunks_of(state: &FleetState) -> f64 {
    // While the controls cannot be read, what was read last grows old here too.
    if state.at.elapsed() > STALE { MIN_CHUNKS } else { state.throttle.chunks }
}
