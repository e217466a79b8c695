//! How SQLite would execute the specification's two queries, from EXPLAIN QUERY PLAN.

use reelshift_store::plans::{Access, PlannedQuery, QUERIES, QueryPlan, is_indexed, judge};
use reelshift_store::report::Check;

use crate::SqliteStore;
use crate::error::Result;
use crate::schema::{journal, steps};

pub(crate) async fn checks(store: &SqliteStore) -> Result<Vec<Check>> {
    let indexed = is_indexed(steps(), &journal(store).await?);
    let mut checks = Vec::with_capacity(QUERIES.len());
    for query in &QUERIES {
        checks.push(judge(query, indexed, &explain(store, query).await?));
    }
    Ok(checks)
}

async fn explain(store: &SqliteStore, query: &PlannedQuery) -> Result<QueryPlan> {
    let sql = format!("EXPLAIN QUERY PLAN {}", query.sql);
    // Not kept: a prepared EXPLAIN tells of the indexes that were there when it was prepared.
    let rows: Vec<(i64, i64, i64, String)> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .persistent(false)
        .fetch_all(&store.readers)
        .await?;
    Ok(plan(rows.iter().map(|(.., detail)| detail.as_str())))
}

/// `SEARCH v USING INDEX …` uses an index, `SCAN v` reads all; SQLite prefers an index
/// wherever there is one.
fn plan<'a>(details: impl Iterator<Item = &'a str>) -> QueryPlan {
    let mut plan = QueryPlan::default();
    for detail in details {
        plan.sorts |= detail.starts_with("USE TEMP B-TREE");
        let Some((verb @ ("SCAN" | "SEARCH"), rest)) = detail.split_once(' ') else { continue };
        plan.accesses.push(Access {
            table: rest.split(' ').next().unwrap_or_default().to_owned(),
            full_scan: verb == "SCAN",
            avoidable: false,
            rows: None,
        });
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlites_words_are_understood() {
        let details = [
            "SEARCH v USING INDEX idx_video_workflow_updated (workflow_state=?)",
            "SCAN vps",
            "USE TEMP B-TREE FOR ORDER BY",
        ];
        let plan = plan(details.into_iter());
        assert!(plan.sorts);
        let scans: Vec<_> =
            plan.accesses.iter().map(|access| (access.table.as_str(), access.full_scan)).collect();
        assert_eq!(scans, [("v", false), ("vps", true)]);
    }
}
