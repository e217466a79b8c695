//! Foreign keys from and to `videos`. What they cascade happens without triggers.

use async_trait::async_trait;
use reelshift_store::preflight::Finding;

use super::CheckContext;
use crate::error::Result;

/// What the bridge reads and writes.
const BRIDGED: [&str; 3] = ["processing_status", "ground_truth_generated", "workflow_state"];

/// Tables of the specification, whose keys are reelshift's own.
const OURS: [&str; 2] = ["video_processing_status", "processing_error_log"];

pub(super) struct Check;

/// A column of a foreign key.
#[derive(Debug)]
struct Key {
    name: String,
    table_name: String,
    column_name: String,
    to_table: String,
    to_column: String,
}

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "foreign_keys"
    }

    fn refuses(&self) -> bool {
        false
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        let keys: Vec<(String, String, String, String, String)> = sqlx::query_as(
            "SELECT CAST(CONSTRAINT_NAME AS CHAR) AS name, CAST(IF(TABLE_SCHEMA = DATABASE(), TABLE_NAME, CONCAT(TABLE_SCHEMA, '.', TABLE_NAME)) AS CHAR) AS table_name, \
               CAST(COLUMN_NAME AS CHAR) AS column_name, CAST(REFERENCED_TABLE_NAME AS CHAR) AS to_table, \
               CAST(REFERENCED_COLUMN_NAME AS CHAR) AS to_column \
             FROM information_schema.KEY_COLUMN_USAGE \
             WHERE REFERENCED_TABLE_NAME IS NOT NULL \
               AND ((TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'videos') \
                 OR (REFERENCED_TABLE_SCHEMA = DATABASE() AND REFERENCED_TABLE_NAME = 'videos')) \
             ORDER BY TABLE_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, ORDINAL_POSITION",
        )
        .fetch_all(&mut *context.connection)
        .await?;
        let keys = keys.into_iter().map(|(name, table_name, column_name, to_table, to_column)| {
            Key { name, table_name, column_name, to_table, to_column }
        });
        Ok(judge(&keys.collect::<Vec<_>>()))
    }
}

fn judge(keys: &[Key]) -> Finding {
    let theirs: Vec<&Key> =
        keys.iter().filter(|key| !OURS.contains(&key.table_name.as_str())).collect();
    let list: Vec<String> = theirs
        .iter()
        .map(|key| {
            let Key { name, table_name, column_name, to_table, to_column } = key;
            format!("{name} ({table_name}.{column_name} to {to_table}.{to_column})")
        })
        .collect();
    if theirs.is_empty() {
        return Finding::ok("no foreign key leads from or to table videos");
    }
    let bridged = theirs
        .iter()
        .any(|key| key.table_name == "videos" && BRIDGED.contains(&key.column_name.as_str()));
    if bridged {
        return Finding::warning(
            format!(
                "foreign keys of table videos hold columns that the bridge keeps in step: {}",
                list.join(", ")
            ),
            "what such a key cascades fires no trigger: run `reelshift validate` after changing the table \
             that it leads to",
        );
    }
    Finding::ok(format!(
        "foreign keys from and to table videos: {}; they stay as they are",
        list.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use reelshift_store::preflight::Verdict;

    use super::*;

    fn key(table: &str, column: &str, to: &str) -> Key {
        Key {
            name: "fk".to_owned(),
            table_name: table.to_owned(),
            column_name: column.to_owned(),
            to_table: to.to_owned(),
            to_column: "id".to_owned(),
        }
    }

    #[test]
    fn only_a_key_over_bridged_columns_matters() {
        assert!(
            judge(&[key("video_processing_status", "video_id", "videos")]).says.starts_with("no ")
        );
        let project = judge(&[key("videos", "project_id", "projects")]);
        assert!(
            project.verdict == Verdict::Ok && project.says.contains("projects.id"),
            "{project:?}"
        );
        let bridged = judge(&[key("videos", "processing_status", "statuses")]);
        assert_eq!(bridged.verdict, Verdict::Warning);
    }
}
