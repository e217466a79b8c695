//! The specification's `realtime_notification_queue`, the leases on it, and the outbox.
//!
//! The queue's times are the application's too: text in whole seconds, as CURRENT_TIMESTAMP
//! writes it.

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
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::timestamp::{hence, parse};
use crate::{SqliteStore, audit, error, notification_rows};

#[async_trait]
impl Notifications for SqliteStore {
    async fn queue_notification(&self, notification: &NewNotification, by: &str) -> Result<()> {
        self.short(queue(self, notification, by)).await
    }

    async fn claim_notifications(
        &self,
        dispatcher: &str,
        lease: Duration,
        max: usize,
    ) -> Result<NotificationClaim> {
        self.short(claim::claim(self, cut(dispatcher, HOLDER_CHARACTERS), lease, max)).await
    }

    async fn due_notifications(&self) -> Result<DueNotifications> {
        self.short(upkeep::due(self)).await
    }

    async fn extend_notifications(&self, token: i64, lease: Duration) -> Result<u64> {
        self.short(claim::extend(self, token, lease)).await
    }

    async fn publish_notifications(&self, token: i64, ids: &[String], sent: bool) -> Result<u64> {
        self.short(outbox::publish(self, token, ids, sent)).await
    }

    async fn end_undelivered(&self, token: i64, undelivered: &[Undelivered]) -> Result<u64> {
        self.short(ending::undelivered(self, token, undelivered)).await
    }

    async fn take_back_notifications(&self, abandoned: Duration) -> Result<u64> {
        self.short(upkeep::take_back(self, abandoned)).await
    }

    async fn expire_notifications(&self, within: Duration) -> Result<u64> {
        self.short(upkeep::expire(self, within)).await
    }

    async fn notifications(
        &self,
        selection: &NotificationSelection,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<NotificationReport>> {
        self.short(notification_rows::page(self, selection, after, limit)).await
    }

    async fn outbox_span(&self) -> Result<OutboxSpan> {
        self.short(outbox::span(self)).await
    }

    async fn outbox_after(&self, seq: i64, limit: u32) -> Result<Vec<Published>> {
        self.short(outbox::after(self, seq, limit)).await
    }

    async fn prunable_notifications(&self, older_than: Duration) -> Result<u64> {
        self.short(upkeep::prunable(self, older_than)).await
    }

    async fn prune_notifications(&self, older_than: Duration, limit: u32) -> Result<u64> {
        self.short(upkeep::prune(self, older_than, limit)).await
    }
}

async fn queue(store: &SqliteStore, notification: &NewNotification, by: &str) -> error::Result<()> {
    let NewNotification { to, .. } = notification;
    let mut tx = store.write().await?;
    sqlx::query(
        "INSERT INTO realtime_notification_queue (id, event_type, priority, session_id, user_id,
             room_name, broadcast_to_all, event_data, event_metadata, max_attempts, scheduled_at,
             process_after, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, datetime('now', ?11), datetime('now', ?11),
             datetime('now', ?12))
         ON CONFLICT (id) DO NOTHING",
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
    .bind(hence(notification.after))
    .bind(notification.expires_in.map(hence))
    .execute(&mut *tx)
    .await?;
    audit::record(&mut tx, notification.queued(), None, by).await?;
    Ok(tx.commit().await?)
}

/// When a notification was queued, read by [`created_at`].
macro_rules! created_at_column {
    () => {
        "CAST(q.created_at AS TEXT) AS created_at"
    };
}
pub(crate) use created_at_column;

pub(crate) fn created_at(row: &SqliteRow) -> error::Result<Option<DateTime<Utc>>> {
    let text: Option<String> = row.try_get("created_at")?;
    Ok(text.and_then(|text| parse(&text)))
}

/// The columns that [`read`] reads, of the queue under the name `q`.
macro_rules! columns {
    () => {
        concat!(
            "q.id, q.event_type, q.priority, q.session_id, q.user_id, q.room_name, \
             COALESCE(q.broadcast_to_all, 0) AS broadcast_to_all, q.event_data, q.event_metadata, \
             COALESCE(q.attempts, 0) AS attempts, ",
            $crate::notifications::created_at_column!()
        )
    };
}
use columns;

fn read(row: &SqliteRow) -> error::Result<Notification> {
    let attempts: i64 = row.try_get("attempts")?;
    Ok(Notification {
        id: row.try_get("id")?,
        event_type: row.try_get("event_type")?,
        priority: row.try_get("priority")?,
        to: notification_rows::target(row)?,
        event_data: json(row.try_get("event_data")?),
        event_metadata: row.try_get::<Option<String>, _>("event_metadata")?.map(json),
        attempts: u32::try_from(attempts).unwrap_or(0),
        created_at: created_at(row)?,
    })
}

/// What the column's own check lets through is JSON to SQLite; should it not be to us, it
/// is delivered as the text that it is.
fn json(text: String) -> serde_json::Value {
    serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text))
}
