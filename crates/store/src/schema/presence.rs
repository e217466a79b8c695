//! Whether what a step creates is there, also where somebody has dropped a part of it.

use super::{Object, Step};
use crate::{Result, StoreError};

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
        let column = Object::Column { table: table.clone(), name: name.to_owned() };
        if store.exists(&column).await? { found = true } else { missing.push((name, definition)) }
    }
    if !found || missing.is_empty() {
        return Ok(found);
    }
    let names: Vec<_> = missing.iter().map(|(name, _)| *name).collect();
    let columns: Vec<_> = missing
        .iter()
        .map(|(name, definition)| format!("ADD COLUMN {name} {}", definition_in_words(definition)))
        .collect();
    Err(StoreError::Refused(format!(
        "step {:04} {} made columns of table {table} that somebody has dropped or renamed since: {}: add them \
         again with ALTER TABLE {table} {}, then run the same command again",
        step.number,
        step.name,
        names.join(", "),
        columns.join(", ")
    )))
}

/// `VARCHAR(50)`; where the type follows another column's, that column.
fn definition_in_words(definition: &str) -> String {
    match definition.strip_prefix('{').and_then(|rest| rest.strip_suffix("_type}")) {
        Some(source) => format!("(as {source})"),
        None => definition.to_owned(),
    }
}
