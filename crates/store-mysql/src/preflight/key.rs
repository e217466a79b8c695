//! The key of `videos`: one whole column `id` of a text type. New tables take over its
//! type, charset and collation.

use async_trait::async_trait;
use reelshift_store::preflight::Finding;
use sqlx::Row as _;

use super::CheckContext;
use crate::error::Result;
use crate::legacy;

pub(super) struct Check;

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "key"
    }

    fn refuses(&self) -> bool {
        true
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        let rows = sqlx::query(
            "SELECT LOWER(CAST(COLUMN_NAME AS CHAR)) AS name, CAST(SUB_PART AS SIGNED) AS prefix \
             FROM information_schema.STATISTICS \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'videos' AND INDEX_NAME = 'PRIMARY' \
             ORDER BY SEQ_IN_INDEX",
        )
        .fetch_all(&mut *context.connection)
        .await?;
        let mut key = Vec::new();
        for row in &rows {
            let name: String = row.try_get("name")?;
            let prefix: Option<i64> = row.try_get("prefix")?;
            key.push(prefix.map_or(name.clone(), |length| format!("{name}({length})")));
        }
        let declared = legacy::column_type(context.connection, "videos", "id").await?;
        Ok(judge(&key, declared.as_deref().unwrap_or_default()))
    }
}

/// The columns of the primary key, and `VARCHAR(36) CHARACTER SET … COLLATE …`.
fn judge(key: &[String], declared: &str) -> Finding {
    if key != ["id"] {
        return Finding::refusal(
            format!(
                "the primary key of table videos is ({}), but batches need the single whole column id",
                key.join(", ")
            ),
            "make id the primary key",
        );
    }
    // TEXT can be a key by a prefix only, which is refused above.
    if !(declared.starts_with("CHAR(") || declared.starts_with("VARCHAR(")) {
        return Finding::refusal(
            format!(
                "videos.id is of type {declared}, but reelshift handles ids of type CHAR and VARCHAR"
            ),
            "change the column's type",
        );
    }
    Finding::ok(format!("videos.id is {declared}: the new tables' video_id will be the same"))
}

#[cfg(test)]
mod tests {
    use reelshift_store::preflight::Verdict;

    use super::*;

    #[test]
    fn keys_are_told_apart() {
        let text = "VARCHAR(36) CHARACTER SET latin1 COLLATE latin1_bin";
        for (key, declared, verdict) in [
            (&["id"][..], text, Verdict::Ok),
            (&["id"], "CHAR(36) CHARACTER SET ascii COLLATE ascii_bin", Verdict::Ok),
            (&["id"], "BIGINT(20)", Verdict::Refusal),
            (&["id"], "BINARY(16)", Verdict::Refusal),
            (&["id", "project_id"], text, Verdict::Refusal),
            (&["id(8)"], text, Verdict::Refusal),
            (&[], text, Verdict::Refusal),
        ] {
            let key: Vec<_> = key.iter().map(|&name| name.to_owned()).collect();
            assert_eq!(judge(&key, declared).verdict, verdict, "{key:?} {declared}");
        }
    }
}
