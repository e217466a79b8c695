//! The database's clock as this process knows it, who has logged out by then, and whether the
//! database answers: asked every two seconds beside the requests, so that neither a probe nor
//! a login has to.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use reelshift_store::Store;
use reelshift_telemetry::probes::Probe;
use tokio::time::Instant;

use crate::app::Shared;

/// As often as a worker's heartbeat.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// Without an answer for this long the server is not ready: four times asked.
const SILENT: Duration = Duration::from_secs(8);

#[derive(Debug, Clone, Copy)]
struct Answer {
    time: DateTime<Utc>,
    at: Instant,
}

/// What the database said last.
#[derive(Debug, Default)]
pub struct Clock(Mutex<Option<Answer>>);

impl Clock {
    /// Now, by the database's clock; `None` while it has never answered.
    #[must_use]
    pub fn now(&self) -> Option<DateTime<Utc>> {
        let answer = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(answer.time + answer.at.elapsed())
    }

    async fn ask(&self, store: &dyn Store) -> reelshift_store::Result<DateTime<Utc>> {
        // The answer is at least as old as the question.
        let at = Instant::now();
        let time = store.now().await?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Answer { time, at });
        Ok(time)
    }
}

impl Probe for Clock {
    fn live(&self) -> Result<(), String> {
        Ok(())
    }

    fn ready(&self) -> Result<(), String> {
        let answer = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match answer.map(|answer| answer.at.elapsed()) {
            Some(age) if age < SILENT => Ok(()),
            Some(age) => Err(format!("the database has not answered for {} s", age.as_secs())),
            None => Err("the database has not answered yet".to_owned()),
        }
    }
}

/// Asks for the time, and for who has logged out.
async fn ask(app: &Shared) -> reelshift_store::Result<()> {
    let now = app.clock.ask(&*app.store).await?;
    app.sessions.refresh(&*app.store, now).await;
    Ok(())
}

/// Asks until `app.stop`; the first answer is there when this returns, if there is one.
pub(crate) async fn start(app: &Shared) {
    let first = ask(app).await;
    let app = app.clone();
    app.tasks.clone().spawn(async move {
        let mut trouble = first.err();
        if let Some(error) = &trouble {
            tracing::warn!(%error, "the database does not answer");
        }
        loop {
            tokio::select! {
                () = tokio::time::sleep(ASK_EVERY) => {}
                () = app.stop.cancelled() => return,
            }
            match ask(&app).await {
                Ok(()) => {
                    if trouble.take().is_some() {
                        tracing::info!("the database answers again");
                        app.overviews.wake();
                    }
                }
                Err(error) => {
                    if trouble.is_none() {
                        tracing::warn!(%error, "the database does not answer");
                    }
                    trouble = Some(error);
                }
            }
        }
    });
}
