//! How the server would execute the specification's two queries, from EXPLAIN.

use reelshift_store::plans::{Access, PlannedQuery, QUERIES, QueryPlan, is_indexed, judge};
use reelshift_store::report::Check;
use reelshift_store::schema::Schema as _;
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, Row as _};

use crate::connection::MySqlStore;
use crate::error::Result;

pub(crate) async fn checks(store: &MySqlStore) -> Result<Vec<Check>> {
    let indexed = is_indexed(&store.steps, &store.journal().await?);
    let mut checks = Vec::with_capacity(QUERIES.len());
    for query in &QUERIES {
        checks.push(judge(query, indexed, &explain(store, query).await?));
    }
    Ok(checks)
}

async fn explain(store: &MySqlStore, query: &PlannedQuery) -> Result<QueryPlan> {
    // The format is named: servers differ in their default. The text protocol, since they
    // also differ in the types of EXPLAIN's columns.
    let sql = format!("EXPLAIN FORMAT=TRADITIONAL {}", query.sql);
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&store.pool).await?;
    let mut plan = QueryPlan::default();
    for row in &rows {
        // A query that needs no table (an impossible WHERE) has no access type.
        let Some(kind) = text(row, "type")? else { continue };
        plan.accesses.push(Access {
            table: text(row, "table")?.unwrap_or_default(),
            full_scan: matches!(kind.as_str(), "ALL" | "index"),
            avoidable: text(row, "possible_keys")?.is_some(),
            rows: text(row, "rows")?.and_then(|rows| rows.parse().ok()),
        });
        plan.sorts |= text(row, "Extra")?.is_some_and(|extra| extra.contains("filesort"));
    }
    Ok(plan)
}

fn text(row: &MySqlRow, column: &str) -> Result<Option<String>> {
    Ok(row.try_get_unchecked(column)?)
}
