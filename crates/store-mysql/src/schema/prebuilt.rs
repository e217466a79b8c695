//! An index that a person has made, since the server could build it only in a way that the
//! platform would have noticed: on a cluster, node by node.

use reelshift_store::schema::{Object, Step};

use crate::connection::MySqlStore;
use crate::error::{Error, Result};

/// Whether the index that `step` would create is there with the same columns, and was not before
/// expand.
pub(crate) async fn is_prebuilt(store: &MySqlStore, step: &Step) -> Result<bool> {
    let Object::Index { table, name } = &step.creates else { return Ok(false) };
    let columns: Option<String> = sqlx::query_scalar(
        "SELECT CAST(GROUP_CONCAT(CONCAT_WS(' ', COLUMN_NAME, SUB_PART, IF(NON_UNIQUE, NULL, 'UNIQUE')) \
           ORDER BY SEQ_IN_INDEX SEPARATOR ', ') AS CHAR) \
         FROM information_schema.STATISTICS \
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? AND INDEX_NAME = ?",
    )
    .bind(table)
    .bind(name)
    .fetch_one(&store.pool)
    .await?;
    if columns.as_deref() != columns_of(step.statement()) {
        return Ok(false);
    }
    let before = sqlx::query_scalar::<_, i64>(
        "SELECT COUNT(*) FROM reelshift_schema_before WHERE kind = 'index' AND name = ?",
    )
    .bind(format!("{table}.{name}"))
    .fetch_one(&store.pool)
    .await
    .map_err(Error::from);
    match before {
        Err(error) if error.is_unknown_table() => Ok(false),
        before => Ok(before? == 0),
    }
}

/// `project_id, workflow_state` of a statement that adds an index.
fn columns_of(statement: &str) -> Option<&str> {
    Some(statement.split_once('(')?.1.split_once(')')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::shipped_steps;

    #[test]
    fn the_columns_of_the_shipped_indexes_are_read() {
        let steps = shipped_steps();
        let columns = |name: &str| {
            let step = steps.iter().find(|step| step.name == name).expect("it is shipped");
            columns_of(step.statement()).map(str::to_owned)
        };
        assert_eq!(columns("index_video_hash").as_deref(), Some("file_hash"));
        assert_eq!(
            columns("index_video_project_workflow").as_deref(),
            Some("project_id, workflow_state")
        );
    }
}
