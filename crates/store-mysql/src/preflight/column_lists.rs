//! Statements that insert into `videos` without naming its columns: the new columns make
//! them fail (error 1136), so that the application could no longer upload.

use async_trait::async_trait;
use reelshift_store::preflight::Finding;
use reelshift_store::schema::{Object, Schema as _};

use super::{Look, is_on, variable};
use crate::error::{Error, Result};

/// Where such a statement was seen.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    place: String,
    text: String,
}

/// Statements, with where they come from. Digests are of the last seven days.
const DIGESTS: &str = "SELECT CAST(CONCAT('executed ', COUNT_STAR, ' times, last at ', LAST_SEEN) AS CHAR), \
       CAST(DIGEST_TEXT AS CHAR) FROM performance_schema.events_statements_summary_by_digest \
     WHERE SCHEMA_NAME = DATABASE() AND LAST_SEEN > NOW() - INTERVAL 7 DAY \
       AND (DIGEST_TEXT LIKE 'INSERT%videos%' OR DIGEST_TEXT LIKE 'REPLACE%videos%')";

const RUNNING: &str = "SELECT CAST(CONCAT('running in session ', ID, ' of ', USER, '@', HOST) AS CHAR), \
       CAST(INFO AS CHAR) FROM information_schema.PROCESSLIST \
     WHERE DB = DATABASE() AND ID <> CONNECTION_ID() \
       AND (INFO LIKE '%INSERT%videos%' OR INFO LIKE '%REPLACE%videos%')";

const STORED: &str = "SELECT CAST(CONCAT('in ', LOWER(ROUTINE_TYPE), ' ', ROUTINE_NAME) AS CHAR), \
       CAST(ROUTINE_DEFINITION AS CHAR) FROM information_schema.ROUTINES \
     WHERE ROUTINE_SCHEMA = DATABASE() AND ROUTINE_DEFINITION LIKE '%videos%' \
     UNION ALL SELECT CAST(CONCAT('in event ', EVENT_NAME) AS CHAR), CAST(EVENT_DEFINITION AS CHAR) \
     FROM information_schema.EVENTS \
     WHERE EVENT_SCHEMA = DATABASE() AND EVENT_DEFINITION LIKE '%videos%' \
     UNION ALL SELECT CAST(CONCAT('in trigger ', TRIGGER_NAME) AS CHAR), CAST(ACTION_STATEMENT AS CHAR) \
     FROM information_schema.TRIGGERS \
     WHERE TRIGGER_SCHEMA = DATABASE() AND ACTION_STATEMENT LIKE '%videos%'";

pub(super) struct Check;

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "column_lists"
    }

    fn refuses(&self) -> bool {
        true
    }

    async fn look(&self, at: &mut Look<'_>) -> Result<Finding> {
        let added = at.store.steps.iter().find(
            |step| matches!(&step.creates, Object::Column { table, .. } if table == "videos"),
        );
        if let Some(step) = added
            && at.store.exists(&step.creates).await?
        {
            return Ok(Finding::ok("the new columns of table videos are there"));
        }
        let history = is_on(variable(at.connection, "global.performance_schema").await?.as_deref());
        let database: String =
            sqlx::query_scalar("SELECT DATABASE()").fetch_one(&mut *at.connection).await?;
        let mut seen = Vec::new();
        let mut looked_at_history = history;
        for (sql, is_history) in [(DIGESTS, true), (RUNNING, false), (STORED, false)] {
            if is_history && !history {
                continue;
            }
            let rows: Result<Vec<(String, Option<String>)>> =
                sqlx::query_as(sql).fetch_all(&mut *at.connection).await.map_err(Error::from);
            match rows {
                Err(error) if error.is_denied() && is_history => looked_at_history = false,
                rows => seen.extend(rows?.into_iter().filter_map(|(place, text)| {
                    let text = text.filter(|text| inserts_without_columns(text, &database))?;
                    Some(Seen { place, text })
                })),
            }
        }
        Ok(judge(&seen, looked_at_history))
    }
}

fn judge(seen: &[Seen], looked_at_history: bool) -> Finding {
    if !seen.is_empty() {
        let list: Vec<String> = seen
            .iter()
            .map(|Seen { place, text }| {
                let text: String = text.chars().take(120).collect();
                format!("{place}: {text}")
            })
            .collect();
        return Finding::refusal(
            format!(
                "statements insert into videos without a column list, and fail once it has more columns: {}",
                list.join("; ")
            ),
            "name the columns in them; digests of executed statements are forgotten with TRUNCATE \
             performance_schema.events_statements_summary_by_digest",
        );
    }
    if !looked_at_history {
        return Finding::warning(
            "no statement that runs now or is stored inserts into videos without a column list; what ran \
             before could not be looked at (performance_schema is off, or not readable)",
            "look through the application for INSERT INTO videos VALUES or SELECT: it fails once the table \
             has more columns",
        );
    }
    Finding::ok("no statement was seen that inserts into videos without a column list")
}

/// Whether `text` has an INSERT or REPLACE of `database`'s `videos` that names no columns: what
/// follows the table is neither SET nor an opening parenthesis with a name behind it.
fn inserts_without_columns(text: &str, database: &str) -> bool {
    let database = database.to_uppercase();
    let words = words(text);
    (0..words.len()).any(|at| {
        let verb = words[at].to_uppercase();
        if verb != "INSERT" && verb != "REPLACE" {
            return false;
        }
        let mut rest = words[at + 1..].iter().map(|word| word.to_uppercase()).peekable();
        let modifiers = ["LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE", "INTO"];
        while rest.next_if(|word| modifiers.contains(&word.as_str())).is_some() {}
        let Some(mut table) = rest.next() else { return false };
        if rest.next_if(|word| word == ".").is_some() {
            if table != database {
                return false;
            }
            table = rest.next().unwrap_or_default();
        }
        if table != "VIDEOS" {
            return false;
        }
        match rest.next().as_deref() {
            Some("VALUES" | "VALUE" | "SELECT" | "TABLE" | "WITH") => true,
            Some("(") => matches!(rest.next().as_deref(), Some("SELECT" | "WITH" | "(")),
            _ => false,
        }
    })
}

/// Names without their quotes, and single signs.
fn words(text: &str) -> Vec<&str> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if is_name(first) {
            rest.find(|c| !is_name(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        if is_name(first) || (!first.is_whitespace() && first != '`') {
            words.push(&rest[..length]);
        }
        rest = &rest[length..];
    }
    words
}

#[cfg(test)]
mod tests {
    use reelshift_store::preflight::Verdict;

    use super::*;

    #[test]
    fn inserts_without_columns_are_known() {
        for breaks in [
            "INSERT INTO videos VALUES (1, 2)",
            "insert ignore into `platform`.`videos` values ( ... )",
            "REPLACE videos SELECT * FROM old",
            "INSERT INTO `videos` (SELECT 1)",
            "BEGIN INSERT INTO log (a) VALUES (1); INSERT INTO videos VALUES (1); END",
        ] {
            assert!(inserts_without_columns(breaks, "platform"), "{breaks}");
        }
        for fine in [
            "INSERT INTO videos (id, filename) VALUES (1, 2)",
            "INSERT INTO `videos` ( `id` ) SELECT 1",
            "INSERT INTO videos SET id = 1",
            "INSERT INTO videos () VALUES ()",
            "INSERT INTO videos_old VALUES (1)",
            "INSERT INTO other.videos VALUES (1)",
            "INSERT INTO log VALUES (SELECT 1 FROM videos)",
            "SELECT * FROM videos",
        ] {
            assert!(!inserts_without_columns(fine, "platform"), "{fine}");
        }
    }

    #[test]
    fn what_was_not_seen_is_said() {
        assert_eq!(judge(&[], true).verdict, Verdict::Ok);
        assert_eq!(judge(&[], false).verdict, Verdict::Warning);
        let seen = Seen {
            place: "in procedure p".to_owned(),
            text: "INSERT INTO videos VALUES (1)".to_owned(),
        };
        assert_eq!(judge(&[seen], false).verdict, Verdict::Refusal);
    }
}
