//! The dispatcher: claims what is due, publishes it, and has it posted where it should be.
//! Every replica runs one; the claims share the work.

use std::sync::Arc;
use std::time::Duration;

use reelshift_plan::Flag;
use reelshift_store::Result;
use reelshift_store::notifications::{
    MAX_PER_CALL, Notification, NotificationClaim, Then, Undelivered,
};

use super::delivery::Deliveries;
use super::rollout::withholds;
use crate::app::Shared;

/// A dispatcher that falls silent for this long loses what it has.
pub(super) const LEASE: Duration = Duration::from_secs(10);
/// Between two looks at a queue in which nothing is due.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Between two looks at the flag while it is off.
const OFF: Duration = Duration::from_secs(1);
/// The pause after a look that failed.
const TROUBLE: Duration = Duration::from_secs(1);

/// A round that was begun is ended before it stops: what is claimed is not left behind.
pub(super) async fn run(app: Shared, deliveries: Arc<Deliveries>) {
    let mut trouble = false;
    while !app.stop.is_cancelled() {
        let pause = match round(&app, &deliveries).await {
            Ok(pause) => {
                if trouble {
                    tracing::info!("notifications are dispatched again");
                    trouble = false;
                }
                pause
            }
            Err(error) => {
                if !trouble {
                    tracing::warn!(%error, "notifications are not dispatched: they wait in the queue");
                    trouble = true;
                }
                TROUBLE
            }
        };
        app.stop.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
}

/// One claim; how long to rest after it.
async fn round(app: &Shared, deliveries: &Arc<Deliveries>) -> Result<Duration> {
    let flags = app.flags.current().await?;
    if !flags.is_on(Flag::RealtimeNotifications) {
        return Ok(OFF);
    }
    let me = &app.options.notifications.dispatcher;
    let claim = app.store.claim_notifications(me, LEASE, MAX_PER_CALL).await?;
    if claim.notifications.is_empty() {
        return Ok(LOOK_EVERY);
    }
    let NotificationClaim { token, at, notifications } = claim;
    let mut undelivered = Vec::new();
    let mut publish = Vec::new();
    for notification in notifications {
        if withholds(&flags, &notification) {
            let why = "outside the rollout of realtime_notifications";
            undelivered.push(end(&notification, why, Then::Withhold));
        } else if notification.to.is_nobody() && !deliveries.wants(&notification) {
            let why = "it names no room, session or user, is no broadcast, and no webhook wants it";
            undelivered.push(end(&notification, why, Then::Fail));
        } else {
            publish.push(notification);
        }
    }
    let (posted, rest): (Vec<_>, Vec<_>) =
        publish.iter().cloned().partition(|notification| deliveries.wants(notification));
    if posted.is_empty() {
        publish_all(app, token, &publish, true).await?;
    } else {
        // First all of them to subscribers, in their order: they do not wait for a webhook.
        publish_all(app, token, &publish, false).await?;
        publish_all(app, token, &rest, true).await?;
    }
    if !undelivered.is_empty() {
        retry_while_leased(|| app.store.end_undelivered(token, &undelivered)).await?;
    }
    if !posted.is_empty() {
        deliveries.begin(token, at, posted).await?;
    }
    Ok(Duration::ZERO)
}

async fn publish_all(app: &Shared, token: i64, all: &[Notification], sent: bool) -> Result<()> {
    let ids: Vec<String> = all.iter().map(|notification| notification.id.clone()).collect();
    if !ids.is_empty() {
        retry_while_leased(|| app.store.publish_notifications(token, &ids, sent)).await?;
        app.hub.published.notify_one();
    }
    Ok(())
}

fn end(notification: &Notification, why: &str, then: Then) -> Undelivered {
    Undelivered { id: notification.id.clone(), why: why.to_owned(), then }
}

/// Tries a write until the database answers, for as long as the lease may hold; then the
/// notification is somebody else's to deliver again.
pub(super) async fn retry_while_leased<T, F: Future<Output = Result<T>>>(
    mut write: impl FnMut() -> F,
) -> Result<T> {
    let until = tokio::time::Instant::now() + LEASE;
    loop {
        match write().await {
            Err(error) if error.is_transient() && tokio::time::Instant::now() < until => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            written => return written,
        }
    }
}
