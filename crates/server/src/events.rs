//! Events of the fleet: what changed from one overview to the next, told to whoever is
//! configured.
//!
//! - [`change`]: what is compared, and what a difference means;
//! - [`hook`]: where an event goes.
//!
//! One replica does it for all, by a duty of the fleet. What was told is stored with the duty, so
//! that a successor tells the rest: each event at least once, known by its id.

mod change;
mod hook;

use std::sync::Arc;
use std::time::{Duration, Instant};

use reelshift_overview::Overview;
use reelshift_store::duties::DutyLease;
use reelshift_store::{Result, StoreError};

use crate::app::Shared;
pub use change::EVENTS;
use change::Snapshot;
use hook::Sender;
pub use hook::{Hook, HookTarget};

const DUTY: &str = "events";
/// Whoever has the duty and is silent for this long is succeeded: longer than all attempts at
/// an event take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Between two beats while nothing changes.
const BEAT: Duration = Duration::from_secs(10);

/// Starts it among `app.tasks`, until `app.stop`.
pub(crate) fn start(app: &Shared) {
    if app.options.events.is_empty() {
        return;
    }
    let app_of_task = Arc::clone(app);
    app.tasks.spawn(async move {
        let mut teller = Teller { sender: Sender::new(), held: None };
        app_of_task.stop.run_until_cancelled(teller.watch(&app_of_task)).await;
        if let Some(Held { lease, .. }) = &teller.held
            && let Err(error) = app_of_task.store.release_duty(lease).await
        {
            tracing::debug!(%error, "the duty of telling events was not given back");
        }
    });
}

struct Teller {
    sender: Sender,
    /// The duty, while this replica has it.
    held: Option<Held>,
}

struct Held {
    lease: DutyLease,
    /// What was told last; `None` before anything was.
    told: Option<Snapshot>,
    beat: Instant,
}

impl Teller {
    async fn watch(&mut self, app: &Shared) {
        let mut watching = app.overviews.watch();
        let mut trouble = false;
        while let Some(sample) = watching.next().await {
            let Ok(latest) = sample else { continue };
            match self.turn(app, &latest.overview).await {
                Ok(()) => trouble = false,
                Err(StoreError::LeaseLost) => self.held = None,
                Err(error) if !trouble => {
                    tracing::warn!(%error, "events of the fleet cannot be told now");
                    trouble = true;
                }
                Err(_) => {}
            }
        }
    }

    /// Tells what has changed, if that is this replica's to do.
    async fn turn(&mut self, app: &Shared, overview: &Overview) -> Result<()> {
        if self.held.is_none() {
            self.held = take(app).await?;
        }
        let Some(held) = &mut self.held else { return Ok(()) };
        let now = Snapshot::new(overview);
        if held.told.as_ref().is_some_and(|told| told.is_same(&now)) && held.beat.elapsed() < BEAT {
            return Ok(());
        }
        let environment = app.options.environment.as_deref();
        if let Some(told) = &held.told {
            for event in told.changes(&now, overview, environment) {
                tracing::info!(
                    event = event.event,
                    summary = event.summary,
                    "an event of the fleet"
                );
                let at = app.clock.now().or(event.at).unwrap_or_default();
                self.sender.send(&app.options.events, &event, at).await;
            }
        }
        let state = serde_json::to_value(&now)
            .map_err(|error| StoreError::Invalid(format!("what was told is no JSON: {error}")))?;
        app.store.beat_duty(&held.lease, Some(&state)).await?;
        (held.told, held.beat) = (Some(now), Instant::now());
        Ok(())
    }
}

async fn take(app: &Shared) -> Result<Option<Held>> {
    let holder = &app.options.notifications.dispatcher;
    let Some(lease) = app.store.take_duty(DUTY, holder, TIMEOUT).await? else { return Ok(None) };
    let duties = app.store.duties().await?;
    let state = duties.into_iter().find(|duty| duty.name == DUTY).and_then(|duty| duty.state);
    // Of another version: begun anew.
    let told = state.and_then(|state| serde_json::from_value(state).ok());
    Ok(Some(Held { lease, told, beat: Instant::now() }))
}
