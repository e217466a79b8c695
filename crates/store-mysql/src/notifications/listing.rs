//! The queue, page by page.

use reelshift_store::notifications::{NotificationReport, NotificationSelection, Target};
use sqlx::mysql::MySqlRow;
use sqlx::{MySql, QueryBuilder, Row as _};

use crate::connection::MySqlStore;
use crate::{error, row};

pub(super) async fn page(
    store: &MySqlStore,
    selection: &NotificationSelection,
    after: Option<&str>,
    limit: u32,
) -> error::Result<Vec<NotificationReport>> {
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT id, event_type, priority, session_id, user_id, room_name, \
           COALESCE(broadcast_to_all, FALSE) AS broadcast_to_all, \
           COALESCE(status, 'pending') AS status, CAST(COALESCE(attempts, 0) AS SIGNED) AS attempts, \
           CAST(COALESCE(max_attempts, 0) AS SIGNED) AS max_attempts, \
           LEFT(last_error, 1000) AS last_error, CAST(IF(created_at = '0000-00-00 00:00:00', NULL, created_at) AS DATETIME(6)) AS created_at \
         FROM realtime_notification_queue WHERE TRUE",
    );
    if let Some(state) = selection.state {
        query.push(" AND status = ").push_bind(state.as_str());
    }
    if let Some(event_type) = &selection.event_type {
        query.push(" AND event_type = ").push_bind(event_type.clone());
    }
    if let Some(after) = after {
        query.push(" AND id > ").push_bind(after.to_owned());
    }
    query.push(" ORDER BY id LIMIT ").push_bind(limit);
    query.build().fetch_all(&store.pool).await?.iter().map(read).collect()
}

fn read(row: &MySqlRow) -> error::Result<NotificationReport> {
    let count = |name: &str| {
        let value: i64 = row.try_get(name)?;
        Ok::<_, sqlx::Error>(u32::try_from(value).unwrap_or(0))
    };
    Ok(NotificationReport {
        id: row.try_get("id")?,
        event_type: row.try_get("event_type")?,
        priority: row.try_get("priority")?,
        to: Target {
            room_name: row.try_get("room_name")?,
            session_id: row.try_get("session_id")?,
            user_id: row.try_get("user_id")?,
            broadcast_to_all: row.try_get("broadcast_to_all")?,
        },
        state: row::parsed(row, "status")?,
        attempts: count("attempts")?,
        max_attempts: count("max_attempts")?,
        last_error: row.try_get("last_error")?,
        created_at: row.try_get("created_at")?,
    })
}
