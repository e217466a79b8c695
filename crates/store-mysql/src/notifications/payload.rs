//! Notifications by their ids, as many as one answer may hold: what the application queues may
//! be megabytes each.

use std::collections::HashMap;

use reelshift_store::notifications::{Notification, PayloadBudget};
use sqlx::{MySql, MySqlConnection, QueryBuilder, Row as _};

use super::{columns, read};
use crate::error::Result;
use crate::{id_list, row};

/// Notifications whose sizes are asked for first; then four times as many. The server reads
/// them to say how large they are.
const FIRST_SIZES: usize = 16;

/// The first of `ids` for which there is room.
pub(super) async fn fitting<'a>(
    connection: &mut MySqlConnection,
    ids: &'a [String],
    budget: &mut PayloadBudget,
) -> Result<&'a [String]> {
    let (mut fitting, mut asked) = (0, FIRST_SIZES);
    while fitting < ids.len() {
        let some = &ids[fitting..ids.len().min(fitting + asked)];
        let sizes = sizes(connection, some).await?;
        for id in some {
            if !budget.take(sizes.get(id).copied().unwrap_or(0)) {
                return Ok(&ids[..fitting]);
            }
            fitting += 1;
        }
        asked *= 4;
    }
    Ok(ids)
}

async fn sizes(connection: &mut MySqlConnection, ids: &[String]) -> Result<HashMap<String, u64>> {
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT id, CAST(LENGTH(event_data) + COALESCE(LENGTH(event_metadata), 0) AS SIGNED) \
           AS bytes \
         FROM realtime_notification_queue WHERE id IN ",
    );
    id_list::push(&mut query, ids);
    let rows = query.build().fetch_all(connection).await?;
    rows.iter().map(|row| Ok((row.try_get("id")?, row::count(row, "bytes")?))).collect()
}

/// Those of `ids` that are there, in their order.
pub(super) async fn read_all(
    connection: &mut MySqlConnection,
    ids: &[String],
) -> Result<Vec<Notification>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = QueryBuilder::<MySql>::new(concat!(
        "SELECT ",
        columns!(),
        " FROM realtime_notification_queue q WHERE q.id IN "
    ));
    id_list::push(&mut query, ids);
    let rows = query.build().fetch_all(connection).await?;
    let mut found = HashMap::new();
    for row in &rows {
        let notification = read(row)?;
        found.insert(notification.id.clone(), notification);
    }
    Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
}
