//! Whether `videos` takes new columns instantly, as its row format, the server's settings
//! and the changes that it has had before allow.

use async_trait::async_trait;
use reelshift_store::preflight::{Decision, Finding};
use reelshift_store::schema::{Object, Schema as _};
use sqlx::AssertSqlSafe;

use super::{CheckContext, variable};
use crate::error::{Error, Result};
use crate::server::Product;

/// Instant changes that a table of MySQL takes before it must be rebuilt: before 9.1, and
/// from there on.
const ROW_VERSIONS: [i64; 2] = [64, 255];

/// Instant changes that expand and its rollback make: all columns come in one statement and
/// go in another.
const ROW_VERSIONS_NEEDED: i64 = 2;

pub(super) struct Check;

/// What decides.
#[derive(Debug, Default)]
struct TableFormat {
    row_format: Option<String>,
    /// MariaDB's `innodb_instant_alter_column_allowed`.
    allowed: Option<String>,
    /// MySQL's count of instant changes so far.
    versions: Option<i64>,
    /// How many this server takes.
    most_versions: i64,
    has_full_text: bool,
}

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "instant"
    }

    fn refuses(&self) -> bool {
        true
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        let added = context.store.steps.iter().find(
            |step| matches!(&step.creates, Object::Column { table, .. } if table == "videos"),
        );
        if let Some(step) = added
            && context.store.exists(&step.creates).await?
        {
            return Ok(Finding::ok("the new columns of table videos are there"));
        }
        finding(context).await
    }
}

/// Whether the table takes them, before they are there.
pub(super) async fn finding(context: &mut CheckContext<'_>) -> Result<Finding> {
    Ok(judge(&read_format(context).await?))
}

async fn read_format(context: &mut CheckContext<'_>) -> Result<TableFormat> {
    let row_format: Option<String> = sqlx::query_scalar(
        "SELECT UPPER(CAST(ROW_FORMAT AS CHAR)) FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'videos'",
    )
    .fetch_one(&mut *context.connection)
    .await?;
    let full_text: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM information_schema.STATISTICS \
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'videos' AND INDEX_TYPE = 'FULLTEXT'",
    )
    .fetch_one(&mut *context.connection)
    .await?;
    let versions = match context.store.server.product {
        Product::MariaDb => None,
        Product::MySql => row_versions(context).await?,
    };
    Ok(TableFormat {
        row_format,
        allowed: variable(context.connection, "global.innodb_instant_alter_column_allowed").await?,
        versions,
        most_versions: ROW_VERSIONS[usize::from(context.store.server.is_at_least((9, 1, 0)))],
        has_full_text: full_text > 0,
    })
}

/// `None` where this user may not see it.
async fn row_versions(context: &mut CheckContext<'_>) -> Result<Option<i64>> {
    let sql = "SELECT CAST(TOTAL_ROW_VERSIONS AS SIGNED) FROM information_schema.INNODB_TABLES \
               WHERE NAME = CONCAT(DATABASE(), '/videos')";
    match sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_optional(&mut *context.connection)
        .await
        .map_err(Error::from)
    {
        Err(error) if error.is_denied() => Ok(None),
        versions => versions,
    }
}

fn judge(format: &TableFormat) -> Finding {
    let copy =
        "in a quiet hour, apply with --allow-copy videos, which keeps writers out while it lasts";
    let refused = |why: String, what: &str| {
        Finding::refusal(format!("table videos takes no new columns instantly: {why}"), what)
            .unless(Decision::AllowCopy("videos".to_owned()))
    };
    if format.row_format.as_deref() == Some("COMPRESSED") {
        return refused("its row format is COMPRESSED".to_owned(), copy);
    }
    if let Some(allowed) =
        format.allowed.as_deref().filter(|allowed| *allowed != "add_drop_reorder")
    {
        return refused(
            format!("innodb_instant_alter_column_allowed is {allowed}"),
            "SET GLOBAL innodb_instant_alter_column_allowed = 'add_drop_reorder'",
        );
    }
    if format.has_full_text {
        return refused("it has a FULLTEXT index".to_owned(), copy);
    }
    match format.versions {
        Some(versions) if versions + ROW_VERSIONS_NEEDED > format.most_versions => refused(
            format!(
                "it has had {versions} instant changes, the server takes {}, and expand and its \
                 rollback need {ROW_VERSIONS_NEEDED}",
                format.most_versions
            ),
            "rebuild it with OPTIMIZE TABLE videos, in place and online, in a quiet hour",
        ),
        _ => Finding::ok("table videos takes the new columns instantly"),
    }
}

#[cfg(test)]
mod tests {
    use reelshift_store::preflight::Verdict;

    use super::*;

    #[test]
    fn what_forbids_instant_columns_is_told() {
        let verdict = |format: TableFormat| judge(&format).verdict;
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            verdict(TableFormat { row_format: text("DYNAMIC"), ..TableFormat::default() }),
            Verdict::Ok
        );
        assert_eq!(
            verdict(TableFormat { row_format: text("COMPRESSED"), ..TableFormat::default() }),
            Verdict::Refusal
        );
        assert_eq!(
            verdict(TableFormat { allowed: text("add_last"), ..TableFormat::default() }),
            Verdict::Refusal
        );
        assert_eq!(
            verdict(TableFormat { allowed: text("add_drop_reorder"), ..TableFormat::default() }),
            Verdict::Ok
        );
        let versions = |versions, most_versions| {
            verdict(TableFormat {
                versions: Some(versions),
                most_versions,
                ..TableFormat::default()
            })
        };
        assert_eq!((versions(62, 64), versions(63, 64)), (Verdict::Ok, Verdict::Refusal));
        assert_eq!((versions(253, 255), versions(254, 255)), (Verdict::Ok, Verdict::Refusal));
        assert_eq!(
            verdict(TableFormat { has_full_text: true, ..TableFormat::default() }),
            Verdict::Refusal
        );
    }
}
