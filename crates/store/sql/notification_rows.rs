//! The queue of notifications, page by page, and what its rows say alike to all who read them.

use reelshift_store::notifications::{NotificationReport, NotificationSelection, Target};
use sqlx::{QueryBuilder, Row as _};

use crate::dialect::{Db, Row, Store};
use crate::notifications::{created_at, created_at_column};
use crate::{error, row};

pub(crate) async fn page(
    store: &Store,
    selection: &NotificationSelection,
    after: Option<&str>,
    limit: u32,
) -> error::Result<Vec<NotificationReport>> {
    let mut query = QueryBuilder::<Db>::new(concat!(
        "SELECT q.id, q.event_type, q.priority, q.session_id, q.user_id, q.room_name, \
           COALESCE(q.broadcast_to_all, FALSE) AS broadcast_to_all, \
           COALESCE(q.status, 'pending') AS status, \
           CAST(COALESCE(q.attempts, 0) AS SIGNED) AS attempts, \
           CAST(COALESCE(q.max_attempts, 0) AS SIGNED) AS max_attempts, \
           SUBSTR(q.last_error, 1, 1000) AS last_error, ",
        created_at_column!(),
        " FROM realtime_notification_queue q WHERE TRUE"
    ));
    if let Some(state) = selection.state {
        query.push(" AND q.status = ").push_bind(state.into_str());
    }
    if let Some(event_type) = &selection.event_type {
        query.push(" AND q.event_type = ").push_bind(event_type.clone());
    }
    if let Some(after) = after {
        query.push(" AND q.id > ").push_bind(after.to_owned());
    }
    query.push(" ORDER BY q.id LIMIT ").push_bind(limit);
    query.build().fetch_all(store.reader()).await?.iter().map(read).collect()
}

fn read(row: &Row) -> error::Result<NotificationReport> {
    let count = |column| row::count(row, column).map(|count| u32::try_from(count).unwrap_or(0));
    Ok(NotificationReport {
        id: row.try_get("id")?,
        event_type: row.try_get("event_type")?,
        priority: row.try_get("priority")?,
        to: target(row)?,
        state: row::parsed(row, "status")?,
        attempts: count("attempts")?,
        max_attempts: count("max_attempts")?,
        last_error: row.try_get("last_error")?,
        created_at: created_at(row)?,
    })
}

/// For whom a notification is.
pub(crate) fn target(row: &Row) -> error::Result<Target> {
    Ok(Target {
        room_name: row.try_get("room_name")?,
        session_id: row.try_get("session_id")?,
        user_id: row.try_get("user_id")?,
        broadcast_to_all: row.try_get("broadcast_to_all")?,
    })
}
