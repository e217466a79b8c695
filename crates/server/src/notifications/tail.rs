//! Reading the outbox, whoever published, and handing it to the subscribers of this
//! replica: one query for all of them.

use std::time::Duration;

use reelshift_store::{Result, StoreError};
use tokio::time::timeout;

use super::event::Event;
use crate::app::Shared;

/// How long what another replica published may wait to be looked for. With the dispatcher's
/// own pause it is most of the time from a trigger to a subscriber.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Entries of one query.
const PAGE: u32 = 500;
/// The pause after a look that failed.
const TROUBLE: Duration = Duration::from_secs(1);

pub(super) async fn run(app: Shared) {
    app.stop.run_until_cancelled(follow(&app)).await;
}

async fn follow(app: &Shared) {
    let mut trouble = false;
    loop {
        match look(app).await {
            Ok(more) => {
                if trouble {
                    tracing::info!("published notifications are read again");
                    trouble = false;
                }
                if !more {
                    // Woken by this replica's dispatcher, or not: both are right.
                    timeout(LOOK_EVERY, app.hub.published.notified()).await.ok();
                }
            }
            // Before expand there is none.
            Err(StoreError::NotExpanded(_)) => tokio::time::sleep(TROUBLE).await,
            Err(error) => {
                if !trouble {
                    tracing::warn!(%error, "published notifications cannot be read: subscribers wait");
                    trouble = true;
                }
                tokio::time::sleep(TROUBLE).await;
            }
        }
    }
}

/// Whether there may be more.
async fn look(app: &Shared) -> Result<bool> {
    let Some(position) = app.hub.position() else {
        app.hub.begin(app.store.outbox_span().await?.newest);
        return Ok(true);
    };
    let published = app.store.outbox_after(position, PAGE).await?;
    // A page of large ones is short.
    let more = !published.is_empty();
    app.hub.hand_out(published.iter().map(Event::of));
    Ok(more)
}
