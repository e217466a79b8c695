//! Columns of `videos` that change with every UPDATE by themselves.

use async_trait::async_trait;
use reelshift_store::preflight::Finding;

use super::CheckContext;
use crate::error::Result;

pub(super) struct Check;

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "updated_at"
    }

    fn refuses(&self) -> bool {
        false
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        let columns: Vec<String> = sqlx::query_scalar(
            "SELECT CAST(COLUMN_NAME AS CHAR) FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'videos' \
               AND LOWER(EXTRA) LIKE '%on update%' ORDER BY ORDINAL_POSITION",
        )
        .fetch_all(&mut *context.connection)
        .await?;
        Ok(judge(&columns))
    }
}

fn judge(columns: &[String]) -> Finding {
    let others: Vec<&str> =
        columns.iter().map(String::as_str).filter(|name| *name != "updated_at").collect();
    if !others.is_empty() {
        return Finding::warning(
            format!(
                "{} of table videos changes with every UPDATE (ON UPDATE CURRENT_TIMESTAMP), the \
                 application's too",
                others.join(", ")
            ),
            "the backfill keeps updated_at and created_at as they are; check that the others are meant so",
        );
    }
    if columns.is_empty() {
        return Finding::ok("updated_at does not change by itself");
    }
    Finding::ok("updated_at follows every UPDATE by itself; the backfill keeps it as it is")
}

#[cfg(test)]
mod tests {
    use reelshift_store::preflight::Verdict;

    use super::*;

    #[test]
    fn another_column_that_moves_is_told() {
        let named = |names: &[&str]| {
            judge(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).verdict
        };
        assert_eq!(named(&[]), Verdict::Ok);
        assert_eq!(named(&["updated_at"]), Verdict::Ok);
        assert_eq!(named(&["created_at"]), Verdict::Warning);
    }
}
