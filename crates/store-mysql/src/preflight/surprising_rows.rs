//! Rows that map as the specification says and not as an operator would expect: finished
//! without ground truth, and sizes that cannot be true. Counted a window of the key range
//! at a time, so that no statement lasts long.

use async_trait::async_trait;
use reelshift_store::preflight::Finding;
use sqlx::{MySql, QueryBuilder, Row as _};

use super::CheckContext;
use crate::error::Result;
use crate::{inspection, row};

/// Rows of one statement: some tens of milliseconds.
const WINDOW: u32 = 20_000;

pub(super) struct Check;

#[derive(Debug, Default)]
struct Counts {
    rows: u64,
    /// `processing_status` is `completed` without ground truth.
    without_truth: u64,
    /// `file_size` at its column's limit, negative, NULL.
    at_limit: u64,
    negative: u64,
    null: u64,
}

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "surprising_rows"
    }

    fn refuses(&self) -> bool {
        false
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        let limit = inspection::file_size_limit(context.connection).await?;
        let mut counts = Counts::default();
        let mut after: Option<String> = None;
        loop {
            let mut query = QueryBuilder::<MySql>::new(
                "SELECT COUNT(*) AS looked_at, MAX(id) AS last_id, \
                   COUNT(CASE WHEN processing_status = 'completed' \
                     AND NOT (ground_truth_generated <=> TRUE) THEN 1 END) AS without_truth, \
                   COUNT(CASE WHEN file_size >= ",
            );
            query.push_bind(limit).push(
                " THEN 1 END) AS at_limit, COUNT(CASE WHEN file_size < 0 THEN 1 END) AS negative, \
                   COUNT(CASE WHEN file_size IS NULL THEN 1 END) AS is_null \
                 FROM (SELECT id, processing_status, ground_truth_generated, file_size \
                   FROM videos FORCE INDEX (PRIMARY)",
            );
            if let Some(after) = &after {
                query.push(" WHERE id > ").push_bind(after.clone());
            }
            query.push(" ORDER BY id LIMIT ").push_bind(WINDOW).push(") w");
            let read = query.build().fetch_one(&mut *context.connection).await?;
            counts.rows += row::count(&read, "looked_at")?;
            counts.without_truth += row::count(&read, "without_truth")?;
            counts.at_limit += row::count(&read, "at_limit")?;
            counts.negative += row::count(&read, "negative")?;
            counts.null += row::count(&read, "is_null")?;
            after = read.try_get("last_id")?;
            if after.is_none() {
                return Ok(judge(&counts));
            }
        }
    }
}

fn judge(counts: &Counts) -> Finding {
    let Counts { rows, without_truth, at_limit, negative, null } = *counts;
    if without_truth + at_limit + negative + null == 0 {
        return Finding::ok(format!("none of {rows} rows maps surprisingly"));
    }
    let mut says = Vec::new();
    if without_truth > 0 {
        says.push(format!(
            "{without_truth} with processing_status 'completed' and no ground truth, which become 'failed'"
        ));
    }
    if at_limit + negative + null > 0 {
        says.push(format!(
            "{at_limit} with a file_size at its column's limit, {negative} negative, {null} NULL"
        ));
    }
    Finding::warning(
        format!("of {rows} rows, {}", says.join("; ")),
        "if that is not meant, correct those rows first; hashing records the true size of each file",
    )
}

#[cfg(test)]
mod tests {
    use reelshift_store::preflight::Verdict;

    use super::*;

    #[test]
    fn each_kind_is_counted() {
        assert_eq!(judge(&Counts { rows: 9, ..Counts::default() }).verdict, Verdict::Ok);
        let finding =
            judge(&Counts { rows: 9, without_truth: 2, negative: 1, ..Counts::default() });
        assert_eq!(finding.verdict, Verdict::Warning);
        assert!(finding.says.contains("2 with processing_status 'completed'"), "{finding:?}");
        assert!(finding.says.contains("0 with a file_size at its column's limit, 1 negative"));
    }
}
