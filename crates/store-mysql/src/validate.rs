//! Every row compared with what it must hold.
//!
//! Rows are read a window of the key range at a time, so that no statement and no read
//! view lasts long, and nothing is locked. What is compared is in [`crate::comparisons`].

use reelshift_store::report::{Check, Difference, FIRST_DIFFERENCES};
use reelshift_store::structure;
use sqlx::{MySql, MySqlConnection, QueryBuilder, Row as _};

use crate::comparisons::{Comparison, WALKS};
use crate::connection::MySqlStore;
use crate::deadline::{LONG, within};
use crate::error::Result;
use crate::{plans, row};

/// Rows in a window: some tens of milliseconds for each check.
const WINDOW_ROWS: u32 = 5_000;

pub(crate) async fn validate(store: &MySqlStore) -> Result<Vec<Check>> {
    let (structure, readable) = within(LONG, crate::structure::check(store)).await?;
    // The others would fail at the first table or column that is not there.
    let begin = if readable { Check::new } else { structure::not_looked_at };
    let mut checks: Vec<Check> = vec![structure];
    for comparison in WALKS.iter().flat_map(|(_, comparisons)| *comparisons) {
        if checks.iter().all(|check| check.name != comparison.name) {
            checks.push(begin(comparison.name, comparison.description));
        }
    }
    if !readable {
        return Ok(checks);
    }
    for (table, comparisons) in WALKS {
        let mut after: Option<String> = None;
        loop {
            let upto =
                within(LONG, window(store, table, comparisons, after.as_deref(), &mut checks))
                    .await?;
            if upto.is_none() {
                break;
            }
            after = upto;
        }
    }
    checks.extend(within(LONG, plans::checks(store)).await?);
    Ok(checks)
}

/// Compares the next window of `table` and returns its end.
async fn window(
    store: &MySqlStore,
    table: &str,
    comparisons: &[Comparison],
    after: Option<&str>,
    checks: &mut [Check],
) -> Result<Option<String>> {
    // A connection a window: nobody else waits for one until the end of the table.
    let mut connection = store.pool.acquire().await?;
    let upto = boundary(&mut connection, table, after, WINDOW_ROWS).await?;
    for check in checks {
        for comparison in comparisons {
            if comparison.name == check.name {
                compare(&mut connection, comparison, (after, upto.as_deref()), check).await?;
            }
        }
    }
    Ok(upto)
}

/// The last id of the next full window of `rows`; `None` where less is left. The last window is
/// open, so that it covers rows of other tables that belong to no video.
pub(crate) async fn boundary(
    connection: &mut MySqlConnection,
    table: &str,
    after: Option<&str>,
    rows: u32,
) -> Result<Option<String>> {
    let mut query = QueryBuilder::<MySql>::new("SELECT t.id FROM ");
    query.push(table).push(" t FORCE INDEX (PRIMARY) WHERE TRUE");
    if let Some(after) = after {
        query.push(" AND t.id > ").push_bind(after.to_owned());
    }
    query.push(" ORDER BY t.id LIMIT 1 OFFSET ").push_bind(rows.saturating_sub(1));
    Ok(query.build_query_scalar().fetch_optional(connection).await?)
}

/// The ids after the first, up to the second.
type Window<'a> = (Option<&'a str>, Option<&'a str>);

async fn compare(
    connection: &mut MySqlConnection,
    comparison: &Comparison,
    window: Window<'_>,
    check: &mut Check,
) -> Result<()> {
    let differs =
        comparison.parts.iter().map(|part| part.differs).collect::<Vec<_>>().join(") OR (");
    let mut query = QueryBuilder::<MySql>::new("SELECT COUNT(*) AS looked_at, COUNT(CASE WHEN (");
    query.push(differs).push(") THEN 1 END) AS different");
    push_window(&mut query, comparison, window);
    let counts = query.build().fetch_one(&mut *connection).await?;
    let different = row::count(&counts, "different")?;
    check.count(row::count(&counts, "looked_at")?, different);
    let room = (FIRST_DIFFERENCES as usize).saturating_sub(check.first.len());
    if different > 0 && room > 0 {
        check.first.extend(first(connection, comparison, window, room).await?);
    }
    Ok(())
}

/// The first `room` differences of a window, in key order and that of the parts.
async fn first(
    connection: &mut MySqlConnection,
    comparison: &Comparison,
    window: Window<'_>,
    room: usize,
) -> Result<Vec<Difference>> {
    let mut query = QueryBuilder::<MySql>::new("");
    for (position, part) in comparison.parts.iter().enumerate() {
        query.push(if position == 0 { "(" } else { " UNION ALL (" });
        query.push(format_args!(
            "SELECT {} AS video_id, {position} AS part, CAST({} AS CHAR) AS expected, \
             CAST({} AS CHAR) AS found",
            comparison.id, part.expected, part.found
        ));
        push_window(&mut query, comparison, window);
        query.push(" AND (").push(part.differs).push(") ORDER BY ").push(comparison.id);
        query.push(" LIMIT ").push_bind(room as u64).push(")");
    }
    query.push(" ORDER BY video_id, part LIMIT ").push_bind(room as u64);
    let rows = query.build().persistent(false).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let part: i64 = row.try_get("part")?;
            Ok(Difference {
                video_id: row.try_get("video_id")?,
                column: usize::try_from(part)
                    .ok()
                    .and_then(|part| comparison.parts.get(part))
                    .map_or_else(String::new, |part| part.column.to_owned()),
                expected: row.try_get("expected")?,
                found: row.try_get("found")?,
            })
        })
        .collect()
}

fn push_window(query: &mut QueryBuilder<MySql>, comparison: &Comparison, window: Window<'_>) {
    let id = comparison.id;
    query.push(format_args!(" FROM {} WHERE {id} IS NOT NULL", comparison.from));
    if let Some(after) = window.0 {
        query.push(format_args!(" AND {id} > ")).push_bind(after.to_owned());
    }
    if let Some(upto) = window.1 {
        query.push(format_args!(" AND {id} <= ")).push_bind(upto.to_owned());
    }
}
