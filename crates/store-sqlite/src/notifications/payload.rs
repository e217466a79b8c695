//! Notifications by their ids, as many as one answer may hold: what the application queues may
//! be megabytes each.

use std::collections::HashMap;

use reelshift_store::notifications::{Notification, PayloadBudget};
use sqlx::{Row as _, SqliteConnection};

use super::{columns, read};
use crate::error::Result;
use crate::id_list::id_array;
use crate::row;

/// The first of `ids` for which there is room. A length is read from a row's header.
pub(super) async fn fitting<'a>(
    connection: &mut SqliteConnection,
    ids: &'a [String],
    budget: &mut PayloadBudget,
) -> Result<&'a [String]> {
    let rows = sqlx::query(
        "SELECT id, LENGTH(CAST(event_data AS BLOB))
             + COALESCE(LENGTH(CAST(event_metadata AS BLOB)), 0) AS bytes
         FROM realtime_notification_queue WHERE id IN (SELECT value FROM json_each(?))",
    )
    .bind(id_array(ids))
    .fetch_all(connection)
    .await?;
    let mut sizes: HashMap<String, u64> = HashMap::new();
    for row in &rows {
        sizes.insert(row.try_get("id")?, row::count(row, "bytes")?);
    }
    let fits = |id: &&String| budget.take(sizes.get(*id).copied().unwrap_or(0));
    let fitting = ids.iter().take_while(fits).count();
    Ok(&ids[..fitting])
}

/// Those of `ids` that are there, in their order.
pub(super) async fn read_all(
    connection: &mut SqliteConnection,
    ids: &[String],
) -> Result<Vec<Notification>> {
    let rows = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM realtime_notification_queue q WHERE q.id IN (SELECT value FROM json_each(?))"
    ))
    .bind(id_array(ids))
    .fetch_all(connection)
    .await?;
    let mut found = HashMap::new();
    for row in &rows {
        let notification = read(row)?;
        found.insert(notification.id.clone(), notification);
    }
    Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
}
