//! Statements of the application that fail, or write into the wrong columns, once `videos`
//! has more columns: those that leave out the list of columns, or take all that there are.
//!
//! A view is none of them: the server writes its columns down when it is made.

mod breaking;
mod tokens;

use async_trait::async_trait;
use reelshift_store::preflight::{Decision, Finding};
use reelshift_store::schema::{Object, Schema as _};

use super::{CheckContext, is_on, variable};
use crate::error::{Error, Result};

/// A statement that breaks.
#[derive(Debug, PartialEq, Eq)]
struct Breaking {
    place: String,
    why: &'static str,
    text: String,
}

/// Statements that are named in a finding; of the others their number is.
const MAX_NAMED: usize = 5;

/// Characters that are shown of a statement.
const MAX_SHOWN_CHARS: usize = 120;

/// Where a statement was found, its text, and whether its default database is this one.
/// Digests are of the last seven days; what a CREATE stored is found where it is stored. Both
/// need the performance schema.
const EXECUTED: [&str; 2] = [
    "SELECT CAST(CONCAT('executed ', COUNT_STAR, ' times, last at ', LAST_SEEN) AS CHAR), \
       CAST(DIGEST_TEXT AS CHAR), COALESCE(SCHEMA_NAME = DATABASE(), FALSE) \
     FROM performance_schema.events_statements_summary_by_digest \
     WHERE LAST_SEEN > NOW() - INTERVAL 7 DAY AND DIGEST_TEXT LIKE '%videos%' \
       AND DIGEST_TEXT NOT LIKE 'CREATE %'",
    "SELECT CAST(CONCAT('prepared in session ', t.PROCESSLIST_ID, ' of ', t.PROCESSLIST_USER, '@', \
         t.PROCESSLIST_HOST) AS CHAR), \
       CAST(p.SQL_TEXT AS CHAR), COALESCE(t.PROCESSLIST_DB = DATABASE(), FALSE) \
     FROM performance_schema.prepared_statements_instances p \
     JOIN performance_schema.threads t ON t.THREAD_ID = p.OWNER_THREAD_ID \
     WHERE p.SQL_TEXT LIKE '%videos%' AND t.PROCESSLIST_ID <> CONNECTION_ID()",
];

const RUNNING: &str = "SELECT CAST(CONCAT('running in session ', ID, ' of ', USER, '@', HOST) AS CHAR), \
       CAST(INFO AS CHAR), COALESCE(DB = DATABASE(), FALSE) \
     FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND INFO LIKE '%videos%'";

const STORED: &str = "SELECT CAST(CONCAT('in ', LOWER(ROUTINE_TYPE), ' ', IF(ROUTINE_SCHEMA = DATABASE(), '', CONCAT(ROUTINE_SCHEMA, '.')), ROUTINE_NAME) AS CHAR), \
       CAST(ROUTINE_DEFINITION AS CHAR), ROUTINE_SCHEMA = DATABASE() \
     FROM information_schema.ROUTINES WHERE ROUTINE_DEFINITION LIKE '%videos%' \
     UNION ALL SELECT CAST(CONCAT('in event ', IF(EVENT_SCHEMA = DATABASE(), '', CONCAT(EVENT_SCHEMA, '.')), EVENT_NAME) AS CHAR), \
       CAST(EVENT_DEFINITION AS CHAR), EVENT_SCHEMA = DATABASE() \
     FROM information_schema.EVENTS WHERE EVENT_DEFINITION LIKE '%videos%' \
     UNION ALL SELECT CAST(CONCAT('in trigger ', IF(TRIGGER_SCHEMA = DATABASE(), '', CONCAT(TRIGGER_SCHEMA, '.')), TRIGGER_NAME) AS CHAR), \
       CAST(ACTION_STATEMENT AS CHAR), TRIGGER_SCHEMA = DATABASE() \
     FROM information_schema.TRIGGERS WHERE ACTION_STATEMENT LIKE '%videos%'";

pub(super) struct Check;

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "column_lists"
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
        let database: String =
            sqlx::query_scalar("SELECT DATABASE()").fetch_one(&mut *context.connection).await?;
        let mut breaking = Vec::new();
        let mut sees_history =
            is_on(variable(context.connection, "global.performance_schema").await?.as_deref());
        if sees_history {
            for sql in EXECUTED {
                match read(context, sql, &database).await {
                    Err(error) if error.is_denied() => sees_history = false,
                    found => breaking.extend(found?),
                }
            }
        }
        for sql in [RUNNING, STORED] {
            breaking.extend(read(context, sql, &database).await?);
        }
        Ok(judge(&breaking, sees_history))
    }
}

async fn read(
    context: &mut CheckContext<'_>,
    sql: &'static str,
    database: &str,
) -> Result<Vec<Breaking>> {
    let rows: Vec<(String, Option<String>, i64)> =
        sqlx::query_as(sql).fetch_all(&mut *context.connection).await.map_err(Error::from)?;
    let breaking = rows.into_iter().filter_map(|(place, text, here)| {
        let text = text?;
        let why = breaking::why(&text, database, here != 0)?;
        Some(Breaking { place, why, text })
    });
    Ok(breaking.collect())
}

fn judge(breaking: &[Breaking], sees_history: bool) -> Finding {
    if !breaking.is_empty() {
        let mut list: Vec<String> = breaking
            .iter()
            .take(MAX_NAMED)
            .map(|Breaking { place, why, text }| {
                let words: Vec<&str> = text.split_whitespace().collect();
                let shown: String = words.join(" ").chars().take(MAX_SHOWN_CHARS).collect();
                format!("one {why} ({place}): {shown}")
            })
            .collect();
        if let Some(more) = breaking.len().checked_sub(MAX_NAMED).filter(|more| *more > 0) {
            list.push(format!("and {more} more"));
        }
        return Finding::refusal(
            format!(
                "statements were found that fail or go wrong once videos has more columns: {}",
                list.join("; ")
            ),
            "name the columns in them (executed ones are forgotten with TRUNCATE \
             performance_schema.events_statements_summary_by_digest), or apply with --accept-statements",
        )
        .unless(Decision::AcceptStatements);
    }
    if !sees_history {
        return Finding::warning(
            "no statement that runs now or is stored depends on the number of columns of videos; what ran \
             before could not be read (performance_schema is off, or not readable)",
            "look through the application for INSERT INTO videos VALUES, LOAD DATA without a column list, \
             and SELECT * FROM videos in an INSERT or UNION: they fail once the table has more columns",
        );
    }
    Finding::ok("no statement was found that depends on the number of columns of videos")
}

#[cfg(test)]
mod tests {
    use reelshift_store::preflight::Verdict;

    use super::*;

    #[test]
    fn what_breaks_is_named() {
        assert_eq!(judge(&[], true).verdict, Verdict::Ok);
        assert_eq!(judge(&[], false).verdict, Verdict::Warning);
        let breaking = |n: usize| Breaking {
            place: format!("in procedure p{n}"),
            why: "inserts into videos without a column list",
            text: "INSERT INTO\n  videos VALUES (1)".to_owned(),
        };
        let seven: Vec<Breaking> = (0..7).map(breaking).collect();
        let finding = judge(&seven, false);
        assert_eq!(finding.verdict, Verdict::Refusal);
        assert_eq!(finding.overruled_by, Some(Decision::AcceptStatements));
        assert!(finding.says.contains("(in procedure p0): INSERT INTO videos VALUES (1)"));
        assert!(finding.says.ends_with("and 2 more"), "{}", finding.says);
    }
}
