//! Posting notifications to webhooks, beside the dispatcher: subscribers never wait for a
//! receiver that does not answer.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::join_all;
use rand::RngExt;
use reelshift_plan::backoff::Backoff;
use reelshift_store::Result;
use reelshift_store::notifications::{Notification, Then, Undelivered};
use reqwest::Client;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::dispatcher::{LEASE, retry_while_leased};
use super::event::json;
use super::webhook::Webhook;
use crate::app::Shared;
use crate::http;

/// Notifications that are being posted at once. What else is due is put off meanwhile, so
/// that a receiver that does not answer costs neither memory nor attempts.
const MAX_POSTS_IN_FLIGHT: usize = 64;
/// The shortest and the longest time for which a notification is put off, in seconds: drawn
/// evenly, so that what was put off together does not come back together.
const PUT_OFF: std::ops::RangeInclusive<u64> = 2..=10;

/// What posts notifications.
pub(super) struct Deliveries {
    app: Shared,
    client: Option<Client>,
    places: Arc<Semaphore>,
}

impl Deliveries {
    pub(super) fn new(app: Shared) -> Self {
        let wanted = !app.options.notifications.webhooks.is_empty();
        let client = wanted.then(http::client).flatten();
        Self { app, client, places: Arc::new(Semaphore::new(MAX_POSTS_IN_FLIGHT)) }
    }

    fn webhooks(&self, notification: &Notification) -> impl Iterator<Item = &Webhook> {
        let all = &self.app.options.notifications.webhooks;
        all.iter().filter(|webhook| webhook.wants(&notification.event_type))
    }

    /// Whether any webhook wants this notification.
    pub(super) fn wants(&self, notification: &Notification) -> bool {
        self.client.is_some() && self.webhooks(notification).next().is_some()
    }

    /// Begins to post notifications of a claim, in a task of its own; those for which there
    /// is no place now are put off.
    pub(super) async fn begin(
        self: &Arc<Self>,
        token: i64,
        at: DateTime<Utc>,
        notifications: Vec<Notification>,
    ) -> Result<()> {
        let mut begun = Vec::new();
        let mut put_off = Vec::new();
        for notification in notifications {
            match Arc::clone(&self.places).try_acquire_owned() {
                Ok(place) => begun.push((notification, place)),
                Err(_) => {
                    let seconds = rand::rng().random_range(PUT_OFF);
                    put_off.push(Undelivered {
                        id: notification.id,
                        why: "put off: too many wait for webhooks that are slow".to_owned(),
                        then: Then::Defer(Duration::from_secs(seconds)),
                    });
                }
            }
        }
        if !begun.is_empty() {
            let deliveries = Arc::clone(self);
            self.app.tasks.spawn(async move { deliveries.post_all(token, at, begun).await });
        }
        if !put_off.is_empty() {
            retry_while_leased(|| self.app.store.end_undelivered(token, &put_off)).await?;
        }
        Ok(())
    }

    /// Posts, keeping the lease meanwhile. Both go on side by side: either may wait for what
    /// the other holds in the database.
    async fn post_all(
        &self,
        token: i64,
        at: DateTime<Utc>,
        notifications: Vec<(Notification, OwnedSemaphorePermit)>,
    ) {
        let posting = notifications
            .into_iter()
            .map(|(notification, place)| self.post_and_end(token, at, notification, place));
        tokio::select! {
            _ = join_all(posting) => {}
            () = self.keep(token) => {}
        }
    }

    /// Puts off the end of the lease, again and again.
    async fn keep(&self, token: i64) {
        loop {
            tokio::time::sleep(LEASE / 3).await;
            if let Err(error) = self.app.store.extend_notifications(token, LEASE).await {
                tracing::warn!(%error, "the lease on notifications was not extended");
            }
        }
    }

    async fn post_and_end(
        &self,
        token: i64,
        at: DateTime<Utc>,
        notification: Notification,
        _place: OwnedSemaphorePermit,
    ) {
        let body = json(&notification);
        let posts = self.webhooks(&notification).map(|to| self.post(to, at, &notification, &body));
        let failed: Vec<String> =
            join_all(posts).await.into_iter().filter_map(Result::err).collect();
        let ids = [notification.id.clone()];
        let store = &self.app.store;
        let written = if failed.is_empty() {
            retry_while_leased(|| store.publish_notifications(token, &ids, true)).await
        } else {
            let delay = Backoff::default().delay(notification.attempts + 1, &mut rand::rng());
            let why = failed.join("; ");
            let undelivered = [Undelivered { id: notification.id, why, then: Then::Retry(delay) }];
            retry_while_leased(|| store.end_undelivered(token, &undelivered)).await
        };
        if let Err(error) = written {
            let [id] = ids;
            tracing::warn!(%error, id, "how a notification was delivered is not recorded: it may be delivered again");
        }
    }

    /// Posts to one webhook; what to write to `last_error` when it did not take it.
    async fn post(
        &self,
        webhook: &Webhook,
        at: DateTime<Utc>,
        notification: &Notification,
        body: &str,
    ) -> Result<(), String> {
        let failed = |why: String| format!("webhook {}: {why}", webhook.place());
        let Some(client) = &self.client else { return Err(failed("no client".to_owned())) };
        let request = client.post(webhook.url.clone());
        let signed = webhook.signer.sign(request, &notification.id, at, body.to_owned());
        let answer = signed
            .map_err(failed)?
            .send()
            .await
            // The URL may hold a secret, and the causes say what happened.
            .map_err(|error| failed(sentence(&error.without_url())))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(failed(format!("answered {status}"))),
        }
    }
}

/// An error with its causes.
fn sentence(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said.push_str(": ");
        said.push_str(&error.to_string());
        cause = error.source();
    }
    said
}
