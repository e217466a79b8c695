//! Objects that have the name of one that a pending step would create.

use async_trait::async_trait;
use reelshift_store::preflight::{Finding, in_the_way};
use reelshift_store::schema::{Object, Schema as _, Step};

use super::CheckContext;
use crate::error::Result;
use crate::schema::prebuilt::is_prebuilt;

pub(super) struct Check;

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "in_the_way"
    }

    fn refuses(&self) -> bool {
        true
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        let mut found = Vec::new();
        // The journal's own table cannot be journaled before it exists.
        for step in context.store.steps.iter().skip(1) {
            for object in created(step) {
                if context.store.exists(&object).await? {
                    found.push((step, object.to_string()));
                }
            }
        }
        let keys = foreign_keys(context).await?;
        found.extend(keys);
        // Read last: what another operator has just made was journaled before.
        let journal = context.store.journal().await?;
        found.retain(|(step, _)| journal.iter().all(|entry| entry.number != step.number));
        let mut prebuilt = Vec::new();
        for (step, _) in &found {
            if is_prebuilt(context.store, step).await? {
                prebuilt.push(step.number);
            }
        }
        found.retain(|(step, _)| !prebuilt.contains(&step.number));
        if !found.is_empty() {
            return Ok(in_the_way(&found));
        }
        Ok(judge_triggers(&others(context).await?))
    }
}

/// Every object that a step creates, the one that it is recognised by among them.
fn created(step: &Step) -> Vec<Object> {
    let mut objects = vec![step.creates.clone()];
    let more: Vec<Object> = match &step.creates {
        Object::Column { table, .. } => step
            .columns()
            .into_iter()
            .map(|(name, _)| Object::Column { table: table.clone(), name })
            .collect(),
        _ => Vec::new(),
    };
    for object in more {
        if !objects.contains(&object) {
            objects.push(object);
        }
    }
    objects
}

/// Foreign keys of other tables that have the name of one of ours: a database has each name once.
async fn foreign_keys<'a>(context: &mut CheckContext<'a>) -> Result<Vec<(&'a Step, String)>> {
    let mut found = Vec::new();
    let store = context.store;
    for step in store.steps.iter() {
        let Object::ForeignKey { table, name } = &step.creates else { continue };
        let other: Option<String> = sqlx::query_scalar(
            "SELECT CAST(TABLE_NAME AS CHAR) FROM information_schema.TABLE_CONSTRAINTS \
             WHERE CONSTRAINT_SCHEMA = DATABASE() AND CONSTRAINT_TYPE = 'FOREIGN KEY' \
               AND CONSTRAINT_NAME = ? AND TABLE_NAME <> ? LIMIT 1",
        )
        .bind(name)
        .bind(table)
        .fetch_optional(&mut *context.connection)
        .await?;
        found.extend(other.map(|other| (step, format!("foreign key {name} of table {other}"))));
    }
    Ok(found)
}

/// Triggers on `videos` that are not reelshift's.
async fn others(context: &mut CheckContext<'_>) -> Result<Vec<String>> {
    let triggers: Vec<String> = sqlx::query_scalar(
        "SELECT CAST(TRIGGER_NAME AS CHAR) FROM information_schema.TRIGGERS \
         WHERE EVENT_OBJECT_SCHEMA = DATABASE() AND EVENT_OBJECT_TABLE = 'videos' ORDER BY TRIGGER_NAME",
    )
    .fetch_all(&mut *context.connection)
    .await?;
    let ours = |name: &String| {
        context.store.steps.iter().any(|step| step.creates == Object::Trigger(name.clone()))
    };
    Ok(triggers.into_iter().filter(|name| !ours(name)).collect())
}

fn judge_triggers(others: &[String]) -> Finding {
    if others.is_empty() {
        return Finding::ok("no column, table, index, trigger or view is in the way");
    }
    Finding::warning(
        format!("table videos has triggers already: {}", others.join(", ")),
        "they stay; look whether they write processing_status or ground_truth_generated",
    )
}

#[cfg(test)]
mod tests {
    use reelshift_store::preflight::Verdict;

    use super::*;
    use crate::schema::shipped_steps;

    #[test]
    fn every_column_of_a_statement_is_looked_for() {
        let steps = shipped_steps();
        let step = steps.iter().find(|step| step.name == "expand_videos_columns");
        let names: Vec<_> =
            created(step.expect("it is shipped")).iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), 19, "{names:?}");
        assert!(names.contains(&"column videos.file_hash".to_owned()), "{names:?}");
    }

    #[test]
    fn other_triggers_refuse_nothing() {
        assert_eq!(judge_triggers(&["theirs".to_owned()]).verdict, Verdict::Warning);
        assert_eq!(judge_triggers(&[]).verdict, Verdict::Ok);
    }
}
