//! The table `videos`: that it is one, of an engine with transactions, and in one piece.

use async_trait::async_trait;
use reelshift_store::preflight::Finding;
use sqlx::Row as _;

use super::CheckContext;
use crate::error::Result;

pub(super) struct Check;

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "engine"
    }

    fn refuses(&self) -> bool {
        true
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        let row = sqlx::query(
            "SELECT CAST(TABLE_TYPE AS CHAR) AS kind, CAST(ENGINE AS CHAR) AS engine_name, \
               COALESCE(CREATE_OPTIONS LIKE '%partitioned%', FALSE) AS partitioned \
             FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'videos'",
        )
        .fetch_optional(&mut *context.connection)
        .await?;
        let Some(row) = row else { return Ok(judge(None)) };
        let (kind, engine): (String, Option<String>) =
            (row.try_get("kind")?, row.try_get("engine_name")?);
        if row.try_get::<i64, _>("partitioned")? != 0 {
            return Ok(Finding::refusal(
                "table videos is partitioned, and the server takes no foreign key that leads to such a table",
                "remove the partitions (ALTER TABLE videos REMOVE PARTITIONING copies the table)",
            ));
        }
        Ok(judge(Some((&kind, engine.as_deref()))))
    }
}

/// The table's kind and engine.
fn judge(table: Option<(&str, Option<&str>)>) -> Finding {
    match table {
        None => {
            Finding::refusal("this database has no table `videos`", "check the database in the URL")
        }
        Some(("BASE TABLE", Some("InnoDB"))) => Finding::ok("table videos is of engine InnoDB"),
        Some(("BASE TABLE", engine)) => Finding::refusal(
            format!(
                "the engine of table videos is {}, which has no transactions",
                engine.unwrap_or("unknown")
            ),
            "convert it with ALTER TABLE videos ENGINE=InnoDB",
        ),
        // MariaDB
        Some(("SYSTEM VERSIONED", _)) => Finding::refusal(
            "table videos keeps a history of its rows (SYSTEM VERSIONING), and the server adds no column \
             to such a table",
            "ALTER TABLE videos DROP SYSTEM VERSIONING, which deletes the history: save it first",
        ),
        Some((kind, _)) => Finding::refusal(
            format!("videos is a {}, not a table", kind.to_lowercase()),
            "connect to the database that holds the table",
        ),
    }
}

#[cfg(test)]
mod tests {
    use reelshift_store::preflight::Verdict;

    use super::*;

    #[test]
    fn only_a_table_of_innodb_will_do() {
        assert_eq!(judge(Some(("BASE TABLE", Some("InnoDB")))).verdict, Verdict::Ok);
        for refused in [
            None,
            Some(("VIEW", None)),
            Some(("SYSTEM VERSIONED", Some("InnoDB"))),
            Some(("BASE TABLE", Some("MyISAM"))),
            Some(("BASE TABLE", None)),
        ] {
            assert_eq!(judge(refused).verdict, Verdict::Refusal, "{refused:?}");
        }
    }
}
