//! Whether what a step creates is there, also where somebody has dropped a part of it.

use super::{Object, Step};
use crate::{Result, StoreError};

/// Refuses a schema in which a part of what a journaled step made is gone.
///
/// # Errors
/// `Refused` with the statements that make it whole.
pub async fn require_whole(store: &dyn crate::Store) -> Result<()> {
    let journal = store.journal().await?;
    for step in store.steps() {
        if journal.iter().any(|entry| entry.number == step.number) {
            is_there(store, step).await?;
        }
    }
    Ok(())
}

/// Whether what `step` created is there.
///
/// # Errors
/// `Refused` where only some of its columns are. The step itself makes all or none: somebody has
/// dropped or renamed the others since, and neither of its statements fits what is left.
pub(super) async fn is_there(store: &dyn crate::Store, step: &Step) -> Result<bool> {
    let Object::Column { table, .. } = &step.creates else {
        return store.exists(&step.creates).await;
    };
    let (mut missing, mut found) = (Vec::new(), false);
    for (name, definition) in step.columns() {
        let column = Object::Column { table: table.clone(), name: name.clone() };
        if store.exists(&column).await? { found = true } else { missing.push((name, definition)) }
    }
    if !found || missing.is_empty() {
        return Ok(found);
    }
    let names: Vec<_> = missing.iter().map(|(name, _)| name.as_str()).collect();
    // One statement each: SQLite adds no two columns in one.
    let statements: Vec<_> = missing
        .iter()
        .map(|(name, definition)| {
            format!("ALTER TABLE {table} ADD COLUMN {name} {}", in_words(definition))
        })
        .collect();
    Err(StoreError::Refused(format!(
        "step {:04} {} made columns of table {table} that somebody has dropped or renamed since: {}: add them \
         again with {}, then run the same command again",
        step.number,
        step.name,
        names.join(", "),
        statements.join("; ")
    )))
}

/// `VARCHAR(50)`; where the type follows another column's, that column.
fn in_words(definition: &str) -> String {
    match definition.strip_prefix('{').and_then(|rest| rest.strip_suffix("_type}")) {
        Some(source) => format!("(as {source})"),
        None => definition.to_owned(),
    }
}
