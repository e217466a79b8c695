//! The specification's `realtime_notification_queue`, the leases on it, and the outbox.
//!
//! Who locks what, in this order: rows of the queue that are `pending`, or leases and then
//! their rows of the queue; the outbox's position last. Two that follow it never wait for
//! each other in a circle.

mod claim;
mod ending;
mod outbox;
mod payload;
mod upkeep;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reelshift_store::Result;
use reelshift_store::length::{HOLDER_CHARACTERS, cut};
use reelshift_store::notifications::{
    DueNotifications, NewNotification, Notification, NotificationClaim, NotificationReport,
    NotificationSelection, Notifications, OutboxSpan, Published, Undelivered,
};
use sqlx::Row as _;
use sqlx::mysql::MySqlRow;

use crate::connection::MySqlStore;
use crate::deadline::{LONG, SHORT, within};
use crate::timestamp::microseconds;
use crate::{audit, error, notification_rows};

#[async_trait]
impl Notifications for MySqlStore {
    async fn queue_notification(&self, notification: &NewNotification, by: &str) -> Result<()> {
        within(SHORT, queue(self, notification, by)).await
    }

    async fn claim_notifications(
        &self,
        dispatcher: &str,
        lease: Duration,
        max: usize,
    ) -> Result<NotificationClaim> {
        let dispatcher = cut(dispatcher, HOLDER_CHARACTERS);
        within(SHORT, claim::claim(self, dispatcher, lease, max)).await
    }

    async fn due_notifications(&self) -> Result<DueNotifications> {
        within(SHORT, upkeep::due(self)).await
    }

    async fn extend_notifications(&self, token: i64, lease: Duration) -> Result<u64> {
        within(SHORT, claim::extend(self, token, lease)).await
    }

    async fn publish_notifications(&self, token: i64, ids: &[String], sent: bool) -> Result<u64> {
        within(SHORT, outbox::publish(self, token, ids, sent)).await
    }

    async fn end_undelivered(&self, token: i64, undelivered: &[Undelivered]) -> Result<u64> {
        within(SHORT, ending::undelivered(self, token, undelivered)).await
    }

    async fn take_back_notifications(&self, abandoned: Duration) -> Result<u64> {
        within(SHORT, upkeep::take_back(self, abandoned)).await
    }

    async fn expire_notifications(&self, within_last: Duration) -> Result<u64> {
        within(SHORT, upkeep::expire(self, within_last)).await
    }

    async fn notifications(
        &self,
        selection: &NotificationSelection,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<NotificationReport>> {
        within(SHORT, notification_rows::page(self, selection, after, limit)).await
    }

    async fn outbox_span(&self) -> Result<OutboxSpan> {
        within(SHORT, outbox::span(self)).await
    }

    async fn outbox_after(&self, seq: i64, limit: u32) -> Result<Vec<Published>> {
        within(SHORT, outbox::after(self, seq, limit)).await
    }

    async fn prunable_notifications(&self, older_than: Duration) -> Result<u64> {
        within(LONG, upkeep::prunable(self, older_than)).await
    }

    async fn prune_notifications(&self, older_than: Duration, limit: u32) -> Result<u64> {
        within(SHORT, upkeep::prune(self, older_than, limit)).await
    }
}

async fn queue(store: &MySqlStore, notification: &NewNotification, by: &str) -> error::Result<()> {
    let NewNotification { to, .. } = notification;
    let mut transaction = store.pool.begin().await?;
    let expires_in = notification.expires_in.map(microseconds);
    sqlx::query(
        "INSERT INTO realtime_notification_queue (id, event_type, priority, session_id, user_id, \
           room_name, broadcast_to_all, event_data, event_metadata, max_attempts, scheduled_at, \
           process_after, expires_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NOW() + INTERVAL ? MICROSECOND, \
           NOW() + INTERVAL ? MICROSECOND, NOW() + INTERVAL ? MICROSECOND) \
         ON DUPLICATE KEY UPDATE id = realtime_notification_queue.id",
    )
    .bind(&notification.id)
    .bind(&notification.event_type)
    .bind(notification.priority)
    .bind(&to.session_id)
    .bind(&to.user_id)
    .bind(&to.room_name)
    .bind(to.broadcast_to_all)
    .bind(notification.event_data.to_string())
    .bind(notification.event_metadata.as_ref().map(serde_json::Value::to_string))
    .bind(notification.max_attempts)
    .bind(microseconds(notification.after))
    .bind(microseconds(notification.after))
    .bind(expires_in)
    .execute(&mut *transaction)
    .await?;
    audit::record(&mut transaction, notification.queued(), None, by).await?;
    Ok(transaction.commit().await?)
}

/// When a notification was queued, read by [`created_at`].
macro_rules! created_at_column {
    () => {
        "CAST(IF(q.created_at = '0000-00-00 00:00:00', NULL, q.created_at) AS DATETIME(6)) \
           AS created_at"
    };
}
pub(crate) use created_at_column;

pub(crate) fn created_at(row: &MySqlRow) -> error::Result<Option<DateTime<Utc>>> {
    Ok(row.try_get("created_at")?)
}

/// The columns that [`read`] reads, of the queue under the name `q`.
macro_rules! columns {
    () => {
        concat!(
            "q.id, q.event_type, q.priority, q.session_id, q.user_id, q.room_name, \
             COALESCE(q.broadcast_to_all, FALSE) AS broadcast_to_all, \
             CAST(q.event_data AS CHAR) AS event_data, \
             CAST(q.event_metadata AS CHAR) AS event_metadata, q.attempts, ",
            $crate::notifications::created_at_column!()
        )
    };
}
use columns;

fn read(row: &MySqlRow) -> error::Result<Notification> {
    let attempts: Option<i32> = row.try_get("attempts")?;
    Ok(Notification {
        id: row.try_get("id")?,
        event_type: row.try_get("event_type")?,
        priority: row.try_get("priority")?,
        to: notification_rows::target(row)?,
        event_data: json(row.try_get("event_data")?),
        event_metadata: row.try_get::<Option<String>, _>("event_metadata")?.map(json),
        attempts: u32::try_from(attempts.unwrap_or(0)).unwrap_or(0),
        created_at: created_at(row)?,
    })
}

/// What the column's own check lets through is JSON to the server; should it not be to us,
/// it is delivered as the text that it is.
fn json(text: String) -> serde_json::Value {
    serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text))
}
