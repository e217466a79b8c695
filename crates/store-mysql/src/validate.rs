//! Every row compared with what it must hold.
//!
//! A window is first read by one statement that asks whether any row of it differs in
//! anything, and only where one does by one statement a check. What is compared is in
//! [`crate::comparisons`], what a run found in [`crate::differences`].

use async_trait::async_trait;
use reelshift_store::comparisons::{
    CheckCount, Compared, ComparedTable, ComparedWindow, Comparisons, FoundDifference, KeyWindow,
};
use reelshift_store::ledger::Lease;
use reelshift_store::report::{Check, Difference};
use sqlx::{MySql, MySqlConnection, QueryBuilder, Row as _};
use uuid::Uuid;

use crate::comparisons::{Comparison, WALKS, Walk};
use crate::connection::MySqlStore;
use crate::deadline::{LONG, SHORT, within};
use crate::error::Result;
use crate::{differences, plans, row, structure};

#[async_trait]
impl Comparisons for MySqlStore {
    async fn compare_structure(&self) -> reelshift_store::Result<(Check, bool)> {
        within(LONG, structure::check(self)).await
    }

    async fn compare_plans(&self) -> reelshift_store::Result<Vec<Check>> {
        within(LONG, plans::checks(self)).await
    }

    fn row_checks(&self) -> Vec<Check> {
        let mut checks: Vec<Check> = Vec::new();
        for comparison in WALKS.iter().flat_map(|walk| walk.comparisons) {
            if checks.iter().all(|check| check.name != comparison.name) {
                checks.push(Check::new(comparison.name, comparison.description));
            }
        }
        checks
    }

    async fn key_window(
        &self,
        table: ComparedTable,
        after: Option<&str>,
        upto: Option<&str>,
        rows: u32,
    ) -> reelshift_store::Result<Option<KeyWindow>> {
        within(LONG, key_window(self, walk(table), (after, upto), rows)).await
    }

    async fn compare(
        &self,
        table: ComparedTable,
        after: Option<&str>,
        upto: &str,
        limit: u32,
    ) -> reelshift_store::Result<Compared> {
        within(LONG, compare(self, walk(table), (after, Some(upto)), limit)).await
    }

    async fn record_comparison(
        &self,
        lease: Lease,
        window: &ComparedWindow,
    ) -> reelshift_store::Result<()> {
        within(SHORT, differences::record(self, lease, window)).await
    }

    async fn run_checks(&self, run: Uuid) -> reelshift_store::Result<Vec<Check>> {
        within(LONG, differences::checks(self, run)).await
    }

    async fn differing_keys(
        &self,
        run: Uuid,
        table: ComparedTable,
        after: Option<&str>,
        limit: u32,
    ) -> reelshift_store::Result<Vec<String>> {
        within(LONG, differences::keys(self, run, table, after, limit)).await
    }

    async fn differences(
        &self,
        run: Uuid,
        table: ComparedTable,
        keys: &[String],
    ) -> reelshift_store::Result<Vec<FoundDifference>> {
        within(LONG, differences::of_keys(self, run, table, keys)).await
    }
}

fn walk(table: ComparedTable) -> &'static Walk {
    &WALKS[table as usize]
}

/// The keys after the first, up to the second.
type Range<'a> = (Option<&'a str>, Option<&'a str>);

async fn key_window(
    store: &MySqlStore,
    walk: &Walk,
    range: Range<'_>,
    rows: u32,
) -> Result<Option<KeyWindow>> {
    let mut query = QueryBuilder::<MySql>::new(format!(
        "SELECT MAX(w.k) AS upto, COUNT(*) AS counted FROM (SELECT {} AS k",
        walk.key
    ));
    push_range(&mut query, walk.keys, walk.key, range);
    query.push(format_args!(" ORDER BY {} LIMIT ", walk.key)).push_bind(rows).push(") w");
    let window = query.build().fetch_one(&store.pool).await?;
    let upto: Option<String> = window.try_get("upto")?;
    match upto {
        Some(upto) => Ok(Some(KeyWindow { upto, rows: row::count(&window, "counted")? })),
        None => Ok(None),
    }
}

async fn compare(
    store: &MySqlStore,
    walk: &Walk,
    range: Range<'_>,
    limit: u32,
) -> Result<Compared> {
    // A connection a window: nobody else waits for one until the end of the table.
    let mut connection = store.pool.acquire().await?;
    let mut query = QueryBuilder::<MySql>::new("SELECT COUNT(*) AS looked_at, COUNT(CASE WHEN (");
    query.push(any(walk.comparisons)).push(") THEN 1 END) AS different");
    push_range(&mut query, walk.from, walk.key, range);
    let counts = query.build().fetch_one(&mut *connection).await?;
    let rows = row::count(&counts, "looked_at")?;
    let mut compared = Compared::default();
    if row::count(&counts, "different")? == 0 {
        let clean =
            |comparison: &Comparison| CheckCount { check: comparison.name, rows, differences: 0 };
        compared.checks = walk.comparisons.iter().map(clean).collect();
        return Ok(compared);
    }
    for comparison in walk.comparisons {
        let counted = count(&mut connection, walk, comparison, range).await?;
        if counted.differences > 0 {
            let first = first(&mut connection, walk, comparison, range, limit).await?;
            compared.differences.extend(first.into_iter().map(|row| (comparison.name, row)));
        }
        compared.checks.push(counted);
    }
    Ok(compared)
}

/// The condition that a row differs in any part of `comparisons`.
fn any<'a>(comparisons: impl IntoIterator<Item = &'a Comparison>) -> String {
    let parts = comparisons.into_iter().flat_map(|comparison| comparison.parts);
    parts.map(|part| part.differs).collect::<Vec<_>>().join(") OR (")
}

async fn count(
    connection: &mut MySqlConnection,
    walk: &Walk,
    comparison: &Comparison,
    range: Range<'_>,
) -> Result<CheckCount> {
    let key = walk.key;
    let mut query = QueryBuilder::<MySql>::new(format!(
        "SELECT COUNT(DISTINCT {key}) AS looked_at, COUNT(DISTINCT CASE WHEN (",
    ));
    query.push(any([comparison])).push(format_args!(") THEN {key} END) AS different"));
    push_range(&mut query, walk.from, key, range);
    let counts = query.build().fetch_one(connection).await?;
    Ok(CheckCount {
        check: comparison.name,
        rows: row::count(&counts, "looked_at")?,
        differences: row::count(&counts, "different")?,
    })
}

/// The first `limit` differences of a window, in key order and that of the parts.
async fn first(
    connection: &mut MySqlConnection,
    walk: &Walk,
    comparison: &Comparison,
    range: Range<'_>,
    limit: u32,
) -> Result<Vec<Difference>> {
    let key = walk.key;
    let mut query = QueryBuilder::<MySql>::new("");
    for (position, part) in comparison.parts.iter().enumerate() {
        query.push(if position == 0 { "(" } else { " UNION ALL (" });
        query.push(format_args!(
            "SELECT {key} AS video_id, {position} AS part, CAST({} AS CHAR) AS expected, \
             CAST({} AS CHAR) AS found",
            part.expected, part.found
        ));
        push_range(&mut query, walk.from, key, range);
        query.push(" AND (").push(part.differs).push(format_args!(") ORDER BY {key} LIMIT "));
        query.push_bind(limit).push(")");
    }
    query.push(" ORDER BY video_id, part LIMIT ").push_bind(limit);
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

fn push_range(query: &mut QueryBuilder<MySql>, from: &str, key: &str, range: Range<'_>) {
    query.push(format_args!(" FROM {from} WHERE {key} IS NOT NULL"));
    if let Some(after) = range.0 {
        query.push(format_args!(" AND {key} > ")).push_bind(after.to_owned());
    }
    if let Some(upto) = range.1 {
        query.push(format_args!(" AND {key} <= ")).push_bind(upto.to_owned());
    }
}
