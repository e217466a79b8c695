//! The specification's thirteen legacy columns.

use async_trait::async_trait;
use reelshift_store::preflight::Finding;

use super::CheckContext;
use crate::error::Result;

/// The specification's current schema.
const LEGACY_COLUMNS: [&str; 13] = [
    "id",
    "filename",
    "file_path",
    "file_size",
    "duration",
    "fps",
    "resolution",
    "status",
    "processing_status",
    "ground_truth_generated",
    "project_id",
    "created_at",
    "updated_at",
];

pub(super) struct Check;

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "columns"
    }

    fn refuses(&self) -> bool {
        true
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        let columns: Vec<String> = sqlx::query_scalar(
            "SELECT LOWER(CAST(COLUMN_NAME AS CHAR)) FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'videos'",
        )
        .fetch_all(&mut *context.connection)
        .await?;
        Ok(judge(&columns))
    }
}

fn judge(columns: &[String]) -> Finding {
    let missing: Vec<&str> = LEGACY_COLUMNS
        .into_iter()
        .filter(|name| !columns.iter().any(|column| column == name))
        .collect();
    if missing.is_empty() {
        return Finding::ok("table videos has the specification's thirteen columns");
    }
    Finding::refusal(
        format!(
            "table videos lacks {}, which the specification's current schema has",
            missing.join(", ")
        ),
        "add what is missing, or connect to another database",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let columns: Vec<String> = LEGACY_COLUMNS
            .iter()
            .filter(|name| **name != "fps")
            .map(|name| (*name).to_owned())
            .collect();
        assert!(judge(&columns).says.contains("lacks fps,"), "{:?}", judge(&columns));
    }
}
